"""Compaction with the aims of a test: small memory, one thread."""

from indexer.ann.index import Family
from indexer.collection.collection import Collection
from indexer.collection.compaction import Aims, CompactReport, compact

AIMS = Aims(memory_bytes=1 << 30)


def build(collection: Collection, family: Family | None, *, reclaim: bool = False) -> CompactReport:
    return compact(collection, AIMS, family=family, reclaim=reclaim)
