"""When a model is learned, kept, and learned anew."""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from rerank.axes.statistics import MomentsCache
from rerank.match.cache import MatchCache
from rerank.match.file import load_model
from rerank.match.model import MatchModel
from tests.support.concepts import ConceptEncoder, add_things, collection_of


def cache_of(path: Path | None = None) -> MatchCache:
    return MatchCache(ConceptEncoder(), MomentsCache(), path)


def test_the_first_search_is_not_kept_waiting_and_later_ones_have_a_model(tmp_path: Path) -> None:
    snapshot = collection_of(tmp_path, range(120)).snapshot()
    cache = cache_of()
    assert cache.of(snapshot) == "it is being learned"
    model = cache.wait(snapshot)
    assert isinstance(model, MatchModel)
    assert cache.of(snapshot) is model
    cache.close()


def test_a_small_collection_has_a_reason(tmp_path: Path) -> None:
    snapshot = collection_of(tmp_path, range(20)).snapshot()
    assert cache_of().of(snapshot) == "20 pictures: 50 are needed to learn from"


def test_growth_is_learned_from_while_the_old_model_serves(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, range(100))
    cache = cache_of()
    first = cache.wait(collection.snapshot())
    add_things(collection, range(100, 102))
    assert cache.of(collection.snapshot()) is first  # two of a hundred are within the drift
    add_things(collection, range(102, 140))
    assert cache.of(collection.snapshot()) is first
    second = cache.wait(collection.snapshot())
    assert isinstance(second, MatchModel)
    assert second is not first
    assert second.learned_from > 100
    cache.close()


def test_the_next_process_begins_with_what_was_learned(tmp_path: Path) -> None:
    snapshot = collection_of(tmp_path / "data", range(120)).snapshot()
    path = tmp_path / "match.safetensors"
    learned = cache_of(path).wait(snapshot)
    assert isinstance(learned, MatchModel)
    found = cache_of(path).of(snapshot)
    assert isinstance(found, MatchModel)
    assert np.array_equal(found.background.vectors_BD, learned.background.vectors_BD)


def test_a_file_with_the_former_names_of_the_features_is_read(tmp_path: Path) -> None:
    path = tmp_path / "match.safetensors"
    cache = cache_of(path)
    assert isinstance(cache.wait(collection_of(tmp_path / "data", range(120)).snapshot()), MatchModel)
    cache.close()
    with safe_open(path, framework="numpy") as file:
        tensors, text = {"bank": file.get_tensor("bank")}, file.metadata()["match"]
    document = json.loads(text) | {"features": ["score", "z", "h", "lead"]}
    path.write_bytes(save(tensors, metadata={"match": json.dumps(document)}))
    model, _ = load_model(path)
    assert np.array_equal(model.background.vectors_BD, tensors["bank"])


def test_a_broken_file_is_made_again(tmp_path: Path) -> None:
    snapshot = collection_of(tmp_path / "data", range(120)).snapshot()
    path = tmp_path / "match.safetensors"
    path.write_bytes(b"nonsense")
    cache = cache_of(path)
    assert cache.of(snapshot) == "it is being learned"
    assert isinstance(cache.wait(snapshot), MatchModel)
    load_model(path)
    cache.close()
