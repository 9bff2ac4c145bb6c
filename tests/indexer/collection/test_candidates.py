"""An index proposes, exact scores decide, and where it proposes too few all are scanned."""

from pathlib import Path

import numpy as np
import pytest

from indexer.ann.index import FAMILIES, Family
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.build import build
from tests.support.numpy_search import DIM, fill, open_collection, oracle
from tests.support.pictures import new_image, unit_vectors


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_an_index_reaches_the_recall_that_was_asked_for(tmp_path: Path, family: Family) -> None:
    collection = open_collection(tmp_path)
    ids, vectors_ND = fill(collection, 4000)
    build(collection, family)
    stored = dict(zip(ids, vectors_ND, strict=True))
    snapshot = collection.snapshot()
    hits = 0
    for query in range(0, 4000, 80):
        matches = snapshot.nearest(vectors_ND[query], 10, recall=0.95)
        assert matches.mode == "top_k"
        have = {row.id for row in snapshot.rows(matches.ids_K)}
        hits += len(have & set(oracle(stored, vectors_ND[query], 10)))
    # 500 results at a true recall of 0.95 fall below 0.90 once in a million runs.
    assert hits / 500 >= 0.90


@pytest.mark.parametrize("family", FAMILIES)
def test_when_an_index_finds_too_few_all_are_scanned(tmp_path: Path, family: Family) -> None:
    """Of half of the collection, the half that is farthest: an index may show hardly any of them."""
    collection = open_collection(tmp_path)
    vectors_ND = unit_vectors(3000, DIM)
    query_D = unit_vectors(1, DIM, seed=41)[0]
    far_N = vectors_ND @ query_D < np.median(vectors_ND @ query_D)
    ids = collection.add([new_image(n, far=bool(far)) for n, far in enumerate(far_N)], vectors_ND)
    build(collection, family)
    snapshot = collection.snapshot()
    found = snapshot.nearest(query_D, 10, Matching(parse_filter({"match": {"far": True}})), recall=0.95)
    stored = {ids[n]: vectors_ND[n] for n in np.flatnonzero(far_N)}
    assert found.ids_K.tolist() == oracle(stored, query_D, 10)
    if family == "hnsw":  # whose walk stays near the query
        assert found.mode == "exact"
