"""The local store as tests of the contract open it: its index is searched however few the pictures are."""

from pathlib import Path

from indexer.ann.index import Family
from indexer.collection.collection import Collection
from indexer.protocols import Store
from tests.support.build import build
from tests.support.store_questions import DIM


def open_local(folder: Path) -> Collection:
    return Collection.open(folder, model_id="m", dim=DIM, exact_rows=0)


def close(store: Store) -> None:
    if isinstance(store, Collection):
        store.close()


def tidy(store: Store, *, reclaim: bool, family: Family | None = "ivf_sq8") -> None:
    """What a store does on its own account: nobody who reads may notice."""
    if isinstance(store, Collection):
        build(store, family, reclaim=reclaim)
