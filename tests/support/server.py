"""A real Kallos on a real port, over a folder of pictures with known colours."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from PIL import Image

from indexer.sources.open import open_source
from rerank.generate.request import Generator
from service.app import create_app
from service.settings import Settings
from service.wiring import open_server
from tests.support.files import encoded, halves, noise
from tests.support.processes import PATIENCE_S, until

# Things that the builtin encoder can tell apart, drawn by hand.
COLOURS = {"red": (220, 30, 40), "green": (20, 160, 60), "blue": (30, 60, 200), "black": (10, 10, 10)}


def write_pictures(folder: Path) -> None:
    """Twenty pictures: plain colours with captions and dates, and coloured squares."""
    folder.mkdir(parents=True, exist_ok=True)
    for year, (name, colour) in enumerate(COLOURS.items(), start=2001):
        (folder / f"{name}.png").write_bytes(encoded(Image.new("RGB", (120, 90), colour)))
        caption = (
            f'{{"caption": "a {name} card", "taken_at": "{year}-05-06T12:00:00Z", "stars": {year - 2000}}}'
        )
        (folder / f"{name}.json").write_text(caption)
    for seed in range(15):
        (folder / f"squares{seed:02}.png").write_bytes(encoded(noise(seed)))
    (folder / "halves.jpg").write_bytes(encoded(halves(), "JPEG"))


@contextmanager
def kallos_server(
    root: Path, *, generator: Generator | None = None, **options: object
) -> Iterator[httpx.Client]:
    """Index `root/pictures` and serve it; the client's base URL is the server."""
    pictures = root / "pictures"
    write_pictures(pictures)
    settings = Settings.model_validate(
        {"data_dir": root / "data", "sources": (pictures,), "threads": 2, "allow_private_urls": True}
        | options
    )
    with open_server(settings) as services:
        services.intake.ingest().run(open_source(pictures, limits=services.pictures.limits))
    with served(settings, generator=generator) as client:
        yield client


@contextmanager
def served(settings: Settings, *, generator: Generator | None = None) -> Iterator[httpx.Client]:
    """A client of a server with these settings, once it answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(create_app(settings, generator=generator), log_level="warning", lifespan="on")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = httpx.HTTPTransport(retries=10)
        try:
            with httpx.Client(base_url=address, timeout=PATIENCE_S, transport=transport) as client:
                assert until(lambda: _is_ready(client), bool), "the server did not become ready"
                yield client
        finally:
            server.should_exit = True
            thread.join()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.HTTPError:
        return False
