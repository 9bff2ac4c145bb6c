"""A collection of yours in place of generated vectors: a copy without some pictures, which are the queries.

Dimension key   Q queries, D embedding
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from benchmarks.generated import BLOCK, numbered_image, open_generated
from benchmarks.vectors import VectorSource
from indexer.collection.collection import DATABASE, Collection
from indexer.disk.files import remove_tree
from indexer.errors import InvalidInputError, NotFoundError
from indexer.tables.collections import State
from indexer.tables.database import Database

QUERIES = "queries.npy"
FEWEST = 1000  # pictures that are left: there is nothing to measure over fewer


def copy_of_own(data_dir: Path, name: str, queries: int, work: Path) -> Path:
    """A folder in `work` with the vectors of a collection, less `queries` of them; made once for each state.

    The collection is only read. Which pictures become queries is the same in every run.

    Raises:
        NotFoundError: There is no such collection.
        InvalidInputError: It has too few pictures.
    """
    state = _state(data_dir, name)  # whatever its model: nothing is encoded
    collection = Collection.open(data_dir, name, model_id=state.model_id, dim=state.dim)
    try:
        snapshot = collection.snapshot()
        pictures = snapshot.images
        if pictures < queries + FEWEST:
            raise InvalidInputError(
                f"collection {name!r} has {pictures} pictures: expected at least {FEWEST}, "
                f"and the {queries} that are asked for"
            )
        key = hashlib.sha256(
            f"{data_dir.resolve()}/{name}/{snapshot.version.number}/{queries}".encode()
        ).hexdigest()
        folder = work / f"own-{key[:12]}"
        if not (folder / QUERIES).exists():  # it is written last
            remove_tree(folder)
            asked_N = np.zeros(pictures, bool)
            asked_N[np.random.default_rng(0).choice(pictures, queries, replace=False)] = True
            copy = open_generated(folder, collection.dim)
            query_parts, first = [], 0
            for block_ND in snapshot.live_rows(BLOCK):
                asked_B = asked_N[first : first + len(block_ND)]
                kept_ND = block_ND[~asked_B].astype(np.float32)
                copy.add([numbered_image(first + i) for i in range(len(kept_ND))], kept_ND)
                query_parts.append(block_ND[asked_B].astype(np.float32))
                first += len(block_ND)
            copy.close()
            np.save(folder / QUERIES, np.concatenate(query_parts))
    finally:
        collection.close()
    return folder


def queries_for(folder: Path, dim: int, count: int) -> Float32[ndarray, "q d"]:
    """Those that belong to the rows in `folder`, none of which it holds."""
    kept = folder / QUERIES
    return np.load(kept)[:count] if kept.exists() else VectorSource(dim).queries(count)


def shape_of(data_dir: Path, name: str = "default") -> tuple[int, int]:
    """(rows, numbers of each) of a collection."""
    state = _state(data_dir, name)
    return state.rows, state.dim


def _state(data_dir: Path, name: str) -> State:
    if not (data_dir / DATABASE).is_file():
        raise NotFoundError(f"{data_dir} holds no Kallos data: {DATABASE} is missing")
    database = Database(data_dir / DATABASE)
    try:
        with database.read() as connection:
            return State.read(connection, name)
    finally:
        database.close()
