"""Under a filter the few matches are scanned, the many are found through the index."""

from pathlib import Path

from indexer.collection.collection import Collection
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.build import build as rebuild
from tests.support.pictures import new_image, unit_vectors

DIM = 24


def test_few_matches_are_scanned_and_a_whole_collection_is_searched_through_its_index(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="test-1", dim=DIM)  # scans as many as it does by default
    ids = collection.add([new_image(i, odd=bool(i % 2)) for i in range(4000)], unit_vectors(4000, DIM))
    rebuild(collection, "ivf_sq8")
    query_D = unit_vectors(1, DIM, seed=43)[0]
    odd = Matching(parse_filter({"match": {"odd": True}}))
    assert collection.snapshot().nearest(query_D, 10).mode == "top_k"
    assert collection.snapshot().nearest(query_D, 10, odd).mode == "exact"
    collection.delete(ids[300:])
    assert collection.snapshot().nearest(query_D, 10).mode == "exact"
