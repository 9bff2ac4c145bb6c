from pathlib import Path

import numpy as np
import pytest

from indexer.collection.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError, ModelMismatchError, NotFoundError, UnknownAxisError
from indexer.imaging.decode import WORKING_SIDE, Limits, decode, working_copy
from indexer.tables.axes import AxisStore
from rerank.axes.statistics import MomentsCache
from rerank.engine import Engine
from rerank.match.cache import MatchCache
from rerank.rephrase.rephraser import Rephraser
from rerank.types import RankQuery
from tests.support.files import encoded, noise
from tests.support.taught_collection import indexed, taught_collection
from tests.support.tiny_clip import DIM, tiny_encoder
from training.rewards.axis import load_axis
from training.rewards.registry import kind_of
from training.rewards.reward import Reward

CARD = kind_of("axis:calm")[0].card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taught")
    taught_collection(path)
    return path


def axis(name: str, folder: Path, collection: str = "default") -> Reward:
    return load_axis(name, folder, collection, tiny_encoder(), CARD)


def ranked(name: str, folder: Path) -> dict[int, float | None]:
    """What the service says of each picture, by id."""
    encoder, moments = tiny_encoder(), MomentsCache()
    collection = Collection.open(folder, model_id=encoder.model_id, dim=DIM)
    engine = Engine(
        collection,
        encoder,
        AxisStore(collection.database, collection.name),
        Limits(1 << 20, 1 << 20),
        rephraser=Rephraser(encoder, None),
        moments=moments,
        matches=MatchCache(encoder, moments),
    )
    hits = engine.rank(RankQuery(axes={name: 1.0}, limit=100)).hits
    collection.close()
    return {hit.image.id: hit.score for hit in hits}


@pytest.mark.parametrize("name", ["like", "head", "colour"])
def test_a_picture_of_the_collection_is_worth_what_the_service_says(name: str, folder: Path) -> None:
    scores = ranked(name, folder)
    expected_N = [scores[image_id] for image_id in sorted(scores)]
    assert len(expected_N) == len(indexed())
    score_N = axis(name, folder).score(indexed(), [""] * len(indexed()))
    np.testing.assert_allclose(score_N, np.array(expected_N, float), atol=1e-5)
    assert np.std(score_N) == pytest.approx(1.0, abs=1e-3)


def test_an_older_version_can_be_asked_for(folder: Path) -> None:
    assert "version 1" in axis("like@1", folder).card.source
    with pytest.raises(UnknownAxisError):
        axis("like@9", folder)


def test_a_stored_field_that_new_pictures_lack_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="'price', which a new picture does not have"):
        axis("price", folder)


def test_a_collection_that_is_not_there_is_not_made(folder: Path, tmp_path: Path) -> None:
    for where, name in ((tmp_path, "default"), (folder, "nowhere")):
        with pytest.raises(NotFoundError, match="there is no collection"):
            axis("like", where, name)
        assert not (where / name).exists()
    assert not list(tmp_path.iterdir())


def test_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelMismatchError):
        load_axis("like", folder, "default", load_encoder("builtin"), CARD)


def test_an_axis_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    taught_collection(tmp_path)
    collection = Collection.open(tmp_path, model_id=tiny_encoder().model_id, dim=DIM)
    collection.delete([row.id for row in collection.snapshot().scroll()][1:])
    collection.close()
    with pytest.raises(InvalidInputError, match="does not tell the pictures"):
        axis("like", tmp_path)


@pytest.mark.parametrize("size", [(64, 64), (700, 300), (1500, 1100)])
def test_a_large_picture_is_seen_as_it_would_be_indexed(size: tuple[int, int]) -> None:
    image = noise(1, size)
    indexed_HW3 = decode(encoded(image), Limits(1 << 24, 1 << 24)).pixels
    assert max(indexed_HW3.shape) <= WORKING_SIDE
    assert np.array_equal(working_copy(np.asarray(image)), indexed_HW3)
