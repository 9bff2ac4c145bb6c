"""`kallos serve` and `kallos demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import ERR
from service.cli.options import Collection, DataDir, Model, settings_from

if TYPE_CHECKING:
    from service.settings import Settings

GRACE_S = 3  # for open answers when it is stopped: who watches a job's events would never end
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")]


def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    model: Model = None,
) -> None:
    """Serve the REST interface and the gallery page."""
    _serve(settings_from(host=host, port=port, data_dir=data_dir, collection=collection, model=model))


def demo(
    data_dir: DataDir = None,
    samples: Annotated[Path, typer.Option("--samples", help="Where the sample pictures are kept.")] = Path(
        ".cache/samples"
    ),
    host: Host = None,
    port: Port = None,
) -> None:
    """Fetch a sample gallery from the package manager, index it, and serve it."""
    from service.cli.indexing import run_sources
    from service.samples import find_samples

    settings = settings_from(host=host, port=port, data_dir=data_dir)
    found = find_samples(samples)
    ERR.print(f"sample pictures: {found.description}")
    report = run_sources(settings, [str(found.folder)], sync=False)
    ERR.print(f"{report.indexed} pictures indexed, {report.unchanged} unchanged, {len(report.failed)} failed")
    _serve(settings)


def _serve(settings: "Settings") -> None:
    import uvicorn

    from indexer.disk.files import writing
    from service.app import create_app

    with writing(settings.data_dir):  # here it is one line, in the server's start a traceback
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    ERR.print(f"Kallos on http://{settings.host}:{settings.port}/  (documentation: /docs)")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
    )
