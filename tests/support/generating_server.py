"""A server with a slow generator, to be killed while it draws.

Usage: python -m tests.support.generating_server DATA_DIR PAUSE_S

Prints its address once it answers.
"""

import socket
import sys
import threading
from pathlib import Path

import uvicorn

from service.app import create_app
from service.settings import Settings
from tests.support.painter import Painter


def main(data_dir: str, pause_s: str) -> None:
    settings = Settings(data_dir=Path(data_dir), threads=1, job_lease_s=3.0)
    app = create_app(settings, generator=Painter(float(pause_s), default_steps=10))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        threading.Thread(target=tell, args=(server, listener.getsockname()[1]), daemon=True).start()
        server.run(sockets=[listener])


def tell(server: uvicorn.Server, port: int) -> None:
    while not server.started:
        threading.Event().wait(0.01)
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
