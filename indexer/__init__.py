"""Pixels and text → vectors and rows on disk → nearest neighbours.

    ingest       pictures from a source into a collection
    collection   the local store: snapshots, index, compaction, backup, verification
    sources      where pictures come from: folders, shards, lists, sidecars, URLs
    tables       everything that is SQL, a module for each table
    blobs        files named by their content: originals, thumbnails, deployed generators
    encoders     models that map pictures and text into one vector space
    ann          exact scan and approximate indexes over rows; knows no tables
    imaging      bytes → pixels, EXIF, measures; knows no disk
    disk         files, locks, vectors and slots
    filters      the filter language, and columns that evaluate it

The layers above speak to `protocols` (Store, Snapshot, Encoder), `where` and `attributes`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from indexer.supported import check_platform

if TYPE_CHECKING:
    from indexer.collection.collection import Collection as Collection
    from indexer.encoders.registry import load_encoder as load_encoder
    from indexer.errors import KallosError as KallosError
    from indexer.filters.language import parse_filter as parse_filter
    from indexer.ingest.ingest import Ingest as Ingest
    from indexer.protocols import Encoder as Encoder
    from indexer.protocols import Snapshot as Snapshot
    from indexer.protocols import Store as Store
    from indexer.protocols import Version as Version

_EXPORTS = {
    "Collection": "indexer.collection.collection",
    "Encoder": "indexer.protocols",
    "Ingest": "indexer.ingest.ingest",
    "KallosError": "indexer.errors",
    "Snapshot": "indexer.protocols",
    "Store": "indexer.protocols",
    "Version": "indexer.protocols",
    "load_encoder": "indexer.encoders.registry",
    "parse_filter": "indexer.filters.language",
}


def __getattr__(name: str) -> object:
    """Imported when it is asked for: `import indexer` alone loads nothing heavy."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


check_platform()
