"""The gallery page at `/`."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from indexer.errors import NotFoundError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "gallery"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Everything that the page needs is served here: nothing else may load or run.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/")
def index() -> FileResponse:
    return _file("index.html")


@router.get("/gallery/{name:path}")
def asset(name: str) -> FileResponse:
    return _file(name)


def _file(name: str) -> FileResponse:
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER) or path.suffix not in TYPES or not path.is_file():
        raise NotFoundError(f"the gallery has no file {name!r}")
    return FileResponse(path, media_type=TYPES[path.suffix], headers=HEADERS)
