"""Where pictures come from: folders, tar shards, lists of paths or URLs, single files.

    /photos                   every picture below it, in natural order
    shard-000.tar[.gz]        webdataset: members with one stem belong together
    list.parquet|csv|tsv      img2dataset: a column of URLs or paths, one of captions, the rest is metadata
    photo.jpg

A source names what it cannot offer (`SourceFailure`) and goes on.
"""

import os
from pathlib import Path

from indexer.errors import InvalidInputError
from indexer.imaging.decode import EXTENSIONS, Limits
from indexer.sources.fetch import Fetch
from indexer.sources.folder import FileSource, FolderSource
from indexer.sources.listing import LIST_SUFFIXES, ListSource
from indexer.sources.source import Source
from indexer.sources.tar import TAR_SUFFIXES, TarSource


def open_source(source: str | Path, *, limits: Limits, fetch: Fetch | None = None) -> Source:
    """Choose by what the path is.

    Args:
        source: A path; links in it are kept, because they are part of the URIs.
        limits: `max_bytes` also bounds the members of tar shards, which are read ahead.
        fetch: How lists get pictures by URL; without it such rows fail as `unreachable`.

    Raises:
        InvalidInputError: No such path, or a file of a kind that holds no pictures.
    """
    path = Path(os.path.abspath(source))  # noqa: PTH100  # keeps links in the path: they are part of the URI
    if path.is_dir():
        return FolderSource(path, limits)
    if not path.exists():
        raise InvalidInputError(f"{source}: no such file or folder")
    name = path.name.lower()
    if name.endswith(TAR_SUFFIXES):
        return TarSource(path, limits)
    if name.endswith(LIST_SUFFIXES):
        return ListSource(path, limits, fetch)
    if path.suffix.lower() in EXTENSIONS:
        return FileSource(path, limits)
    raise InvalidInputError(
        f"{source}: expected a folder, a picture, {', '.join(TAR_SUFFIXES)} or {', '.join(LIST_SUFFIXES)}"
    )
