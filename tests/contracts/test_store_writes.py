"""The law of changes to a `indexer.protocols.Store`, on every implementation."""

import numpy as np
import pytest

from indexer.errors import InvalidInputError, NotFoundError
from indexer.protocols import Store
from indexer.types import ImageId
from tests.support.pictures import new_image
from tests.support.store_questions import DIM, assert_agree, mirror, picture, vectors


def test_an_id_is_for_life_and_none_is_used_twice(store: Store) -> None:
    first = store.add([picture(0), picture(1), picture(2)], vectors(3))
    assert first == sorted(set(first))
    assert store.add([picture(1, seed=1)], vectors(1, seed=1)) == [first[1]]
    store.patch(first[0], {"n": 1})
    assert store.delete([first[2]]) == [first[2]]
    again = store.add([picture(2), picture(0)], vectors(2))
    assert again[1] == first[0]
    assert again[0] > max(first)
    store.delete(again)
    assert store.add([picture(9)], vectors(1))[0] > max(again)


def test_of_a_uri_that_stands_twice_the_last_counts(store: Store) -> None:
    ids = store.add([picture(0), picture(1), picture(0, seed=3)], vectors(3))
    assert ids[0] == ids[2] != ids[1]
    assert store.snapshot().images == 2
    (row,) = store.snapshot().rows([ids[0]])
    assert row.metadata == picture(0, seed=3).metadata
    np.testing.assert_array_equal(store.snapshot().vectors([ids[0]])[0], vectors(3)[2].astype(np.float16))


def test_what_was_added_is_what_is_stored(store: Store) -> None:
    images = [picture(name) for name in range(20)]
    ids = store.add(images, vectors(20))
    snapshot = store.snapshot()
    for image, row in zip(images, snapshot.rows(ids), strict=True):
        for name in image.__slots__:
            assert getattr(row, name) == getattr(image, name)
    np.testing.assert_array_equal(snapshot.vectors(ids), vectors(20).astype(np.float16))
    known = store.known()
    assert {uri: one.id for uri, one in known.items()} == dict(zip([i.uri for i in images], ids, strict=True))
    assert store.known([images[3].uri, "nowhere"]) == {images[3].uri: known[images[3].uri]}
    assert store.known([]) == {}


def test_pictures_and_vectors_come_in_equal_numbers(store: Store) -> None:
    with pytest.raises(InvalidInputError, match="2"):
        store.add([picture(0)], vectors(2))
    with pytest.raises(InvalidInputError):
        store.add([picture(0)], np.zeros((1, DIM + 1), np.float32))
    assert store.add([], vectors(1)[:0]) == []
    assert store.snapshot().images == 0


def test_pictures_are_found_by_the_hash_of_their_file_the_oldest_first(store: Store) -> None:
    twins = [new_image("a"), new_image("b")]
    digest = twins[0].sha256
    ids = store.add([new_image("b"), new_image("a")], vectors(2))
    more = store.add(
        [type(twins[0])(**{n: getattr(twins[0], n) for n in twins[0].__slots__} | {"uri": "c"})], vectors(1)
    )
    found = store.find_by_sha256([digest, "0" * 64])
    assert {key: [row.id for row in rows] for key, rows in found.items()} == {digest: [ids[1], more[0]]}


def test_a_patch_merges_and_none_removes(store: Store) -> None:
    (image_id,) = store.add([new_image(0, taken_at=5.0, a=1, b=2)], vectors(1))
    row = store.patch(image_id, {"a": None, "c": [1], "taken_at": "1970-01-01T00:01:00"})
    assert (row.metadata, row.taken_at, row.id) == ({"b": 2, "c": [1]}, 60.0, image_id)
    assert store.snapshot().rows([image_id]) == [row]
    assert store.patch(image_id, {"taken_at": None}).taken_at is None
    with pytest.raises(NotFoundError, match="999"):
        store.patch(ImageId(999), {"a": 1})


def test_what_is_there_is_never_replaced_by_filling(store: Store) -> None:
    ids = store.add([new_image(0, a=1, deep={"x": 1}), new_image(1, a=3)], vectors(2))
    assert (
        store.fill({ids[0]: {"a": 2, "deep": {"x": 2, "y": 3}}, ids[1]: {"a": 4}, ImageId(999): {"a": 1}})
        == 1
    )
    rows = store.snapshot().rows(ids)
    assert [row.metadata for row in rows] == [{"a": 1, "deep": {"x": 1, "y": 3}}, {"a": 3}]
    assert store.fill({}) == 0


def test_what_is_deleted_is_gone_and_the_rest_stays(store: Store) -> None:
    ids = store.add([picture(n) for n in range(6)], vectors(6))
    assert store.delete([ids[4], ImageId(999), ids[1], ids[4]]) == [ids[1], ids[4]]
    assert store.delete([]) == store.delete([ids[1]]) == []
    snapshot = store.snapshot()
    assert snapshot.ids() == [ids[n] for n in (0, 2, 3, 5)]
    with pytest.raises(NotFoundError, match=str(ids[1])):
        snapshot.rows([ids[0], ids[1]])
    assert_agree(snapshot, mirror(snapshot))


def test_every_change_makes_a_later_version(store: Store) -> None:
    versions = [store.snapshot().version]
    (image_id,) = store.add([picture(0)], vectors(1))
    versions.append(store.snapshot().version)
    store.patch(image_id, {"a": 1})
    versions.append(store.snapshot().version)
    store.fill({image_id: {"b": 1}})
    versions.append(store.snapshot().version)
    store.delete([image_id])
    versions.append(store.snapshot().version)
    assert versions == sorted(set(versions))
    assert store.snapshot().version == versions[-1]
    assert (store.model_id, store.dim) == ("m", DIM)
