"""The stores that the contract of `indexer.protocols.Store` is proved on, as one writes to them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.protocols import Store
from tests.support.memory_store import MemoryStore
from tests.support.store_questions import DIM
from tests.support.stores import close, open_local

IMPLEMENTATIONS: dict[str, Callable[[Path], Store]] = {
    "local": open_local,
    "memory": lambda folder: MemoryStore("m", DIM),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Empty."""
    made = IMPLEMENTATIONS[request.param](tmp_path)
    yield made
    close(made)
