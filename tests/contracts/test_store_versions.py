"""The law of versions: a snapshot never changes, and an earlier one can be had again."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from indexer.attributes import Linear, Term
from indexer.collection.collection import DATABASE, Collection
from indexer.errors import InvalidCursorError, NotFoundError
from indexer.protocols import EXACT, Snapshot, Store, Version
from indexer.types import ImageId
from indexer.where import Ids
from tests.support.build import build
from tests.support.memory_store import Kept, MemorySnapshot
from tests.support.pictures import new_image, unit_vectors
from tests.support.store_questions import ROUNDING, answers, assert_agree, mirror, picture, vectors
from tests.support.stores import open_local, tidy

OLD_STORE = Path(__file__).parents[1] / "golden" / "store-v1"
COUNT = 60
assert_alike = partial(assert_agree, step=4)  # every fourth of the conditions


def change(store: Store, ids: list[ImageId]) -> None:
    """Delete, edit in every way, and add."""
    store.delete(ids[::6])
    store.patch(ids[1], {"n": 99, "tags": ["new"], "taken_at": None})
    store.patch(ids[1], {"n": 100})
    store.fill({image_id: {"filled": 1, "n": 3} for image_id in ids[2::6]})
    uris = [row.uri for row in store.snapshot().rows(ids[3::6])]
    names = [int(uri.rpartition("/")[2].removesuffix(".png")) for uri in uris]
    store.add([picture(name, seed=4) for name in names], vectors(len(names), seed=5))
    fresh = len(store.known()) + 1000
    added = store.add([picture(fresh + n) for n in range(9)], vectors(9, seed=6))
    store.patch(added[0], {"n": 7})
    store.delete(added[1:3])


def filled(store: Store) -> list[ImageId]:
    return store.add([picture(name) for name in range(COUNT)], vectors(COUNT))


def change_and_index(store: Store, ids: list[ImageId]) -> None:
    change(store, ids)
    tidy(store, reclaim=False)


def change_and_reclaim(store: Store, ids: list[ImageId]) -> None:
    change(store, ids)
    tidy(store, reclaim=True)


def reclaim_twice(store: Store, ids: list[ImageId]) -> None:
    change_and_reclaim(store, ids)
    change(store, store.snapshot().ids())
    tidy(store, reclaim=True, family=None)


CHANGES: dict[str, Callable[[Store, list[ImageId]], object]] = {
    "deletions": lambda store, ids: store.delete(ids[::2]),
    "edits": lambda store, ids: [store.patch(image_id, {"n": 5, "x": 1}) for image_id in ids[:6]],
    "additions": lambda store, ids: store.add([picture(500)], vectors(1)),
    "additions of known uris": lambda store, ids: store.add([picture(1, seed=2)], vectors(1, seed=9)),
    "all of it and an index": change_and_index,
    "all of it and a reclaim": change_and_reclaim,
    "two reclaims": reclaim_twice,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("asked", [True, False], ids=["asked before", "not asked before"])
def test_a_snapshot_answers_as_before_whatever_is_done_to_the_store(
    store: Store, name: str, asked: bool
) -> None:
    ids = filled(store)
    store.patch(ids[5], {"n": 1})
    store.delete(ids[7:9])
    before, twin = store.snapshot(), mirror(store.snapshot())
    said = answers(before, ids) if asked else []
    CHANGES[name](store, ids)
    if asked:
        assert answers(before, ids) == said
    assert_alike(before, twin)
    later = store.snapshot()
    assert later.version >= before.version
    assert_alike(later, mirror(later))
    assert_alike(before, twin)  # the later one took nothing from it


def without(twin: MemorySnapshot, newest: Snapshot) -> MemorySnapshot:
    """What was, less what has been deleted since."""
    ids = [row.id for row in newest.find(twin.ids())]
    kept = map(Kept, twin.rows(ids), twin.vectors(ids))
    return MemorySnapshot(twin.version, dict(zip(ids, kept, strict=True)), twin.dim)


@pytest.mark.parametrize("name", [name for name in CHANGES if "reclaim" not in name])
def test_an_earlier_version_is_as_it_was_without_what_was_deleted_since(store: Store, name: str) -> None:
    twins = [mirror(store.snapshot())]
    ids = filled(store)
    twins.append(mirror(store.snapshot()))
    store.delete(ids[50:])
    store.patch(ids[3], {"n": 40})
    twins.append(mirror(store.snapshot()))
    store.patch(ids[3], {"n": 41})
    twins.append(mirror(store.snapshot()))
    CHANGES[name](store, ids[:50])
    for twin in [*twins, mirror(store.snapshot())]:
        earlier = store.snapshot(at=twin.version)
        assert earlier.version == twin.version
        assert_alike(earlier, without(twin, store.snapshot()))
        for image_id in set(twin.ids()) - set(earlier.ids()):
            with pytest.raises(NotFoundError, match=f"{image_id}$"):
                earlier.rows([image_id])


def test_what_is_added_again_under_a_uri_that_was_deleted_is_another_picture(store: Store) -> None:
    ids = filled(store)
    then = store.snapshot().version
    store.delete(ids[:2])
    again = store.add([picture(0), picture(1)], vectors(2))
    store.patch(again[0], {"n": 1})
    assert store.snapshot(at=then).ids() == ids[2:]
    with pytest.raises(NotFoundError):
        store.snapshot(at=then).rows(again)


def test_after_a_reclaim_each_picture_is_as_it_was_or_as_it_is(store: Store) -> None:
    ids = filled(store)
    then = mirror(store.snapshot())
    change(store, ids)
    tidy(store, reclaim=True)
    now = mirror(store.snapshot())
    earlier = store.snapshot(at=then.version)
    assert earlier.ids() == without(then, now).ids()
    assert_alike(earlier, mirror(earlier))
    for image_id, row, vector_D in zip(
        earlier.ids(), earlier.rows(earlier.ids()), earlier.vectors(earlier.ids()), strict=True
    ):
        sides = [(side.rows([image_id])[0], side.vectors([image_id])[0].tolist()) for side in (then, now)]
        assert (row, vector_D.tolist()) in sides
    if isinstance(store, Collection):  # whose old rows are gone
        assert earlier.rows([ids[1], ids[3]]) == now.rows([ids[1], ids[3]])


def test_versions_between_two_reclaims_are_kept_from_the_second(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    tidy(collection, reclaim=True)
    collection.delete(ids[::5])
    tidy(collection, reclaim=True)
    then = mirror(collection.snapshot())
    change(collection, then.ids())
    assert_alike(collection.snapshot(at=then.version), without(then, collection.snapshot()))
    collection.close()


def test_a_version_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    then = mirror(collection.snapshot())
    change(collection, ids)
    collection.close()
    reopened = open_local(tmp_path)
    assert_alike(reopened.snapshot(at=then.version), without(then, reopened.snapshot()))
    tidy(reopened, reclaim=True)
    assert reopened.snapshot(at=then.version).ids() == without(then, reopened.snapshot()).ids()
    reopened.close()


ANOTHER = """
import json, sys
from pathlib import Path
from indexer.collection.collection import Collection
from indexer.protocols import Version
collection = Collection.open(Path(sys.argv[1]), model_id="m", dim=8, exact_rows=0)
number, detail = json.loads(sys.argv[2])
earlier = collection.snapshot(at=Version(number, tuple(detail)))
rows = [[row.id, row.uri, dict(row.metadata)] for row in earlier.rows(earlier.ids())]
collection.patch(earlier.ids()[4], {"n": 77})
now = collection.snapshot().version
print(json.dumps([rows, now.number, now.detail]))
"""


def test_another_process_shows_the_same_version_and_its_edits_are_seen(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    before = collection.snapshot()
    then = mirror(before)
    change(collection, ids)
    written = json.dumps([then.version.number, then.version.detail])
    said = json.loads(
        subprocess.run(
            [sys.executable, "-c", ANOTHER, str(tmp_path), written],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    expected = without(then, collection.snapshot())
    assert said[0] == [[row.id, row.uri, dict(row.metadata)] for row in expected.rows(expected.ids())]
    theirs = collection.snapshot()
    assert theirs.version == Version(said[1], tuple(said[2]))
    assert theirs.rows([expected.ids()[4]])[0].metadata["n"] == 77
    assert_alike(collection.snapshot(at=then.version), expected)
    assert_alike(before, then)
    collection.close()


HUGE = 2**70


def nonsense(version: Version) -> list[Version]:
    number, detail = version.number, version.detail
    found = [replace(version, number=wrong) for wrong in (-1, number + 1, HUGE, -HUGE)]
    found += [replace(version, detail=wrong) for wrong in ((*detail, 1), (1,), (1, 2, 3, 4), (HUGE,))]
    for at in range(len(detail)):
        for wrong in (-1, HUGE, -HUGE):
            found.append(replace(version, detail=(*detail[:at], wrong, *detail[at + 1 :])))
    if len(detail) == 2:  # of the local store: slots that were never published
        found.append(replace(version, number=number - 1, detail=(detail[0] + 1, detail[1])))
    return found


def test_a_version_that_never_was_is_refused(store: Store) -> None:
    ids = filled(store)
    version = store.snapshot().version
    store.patch(ids[0], {"n": 1})
    for never in nonsense(store.snapshot().version):
        with pytest.raises(InvalidCursorError):
            store.snapshot(at=never)
    assert store.snapshot(at=version).images == COUNT


def test_numbers_that_a_store_cannot_refute_break_nothing(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    then = mirror(collection.snapshot())
    change(collection, ids)
    newest = collection.snapshot()
    for number in range(newest.version.number + 1):
        for detail in ((0, 0), (3, 2**62), (newest.slots, 0), (0, 2**63 - 1)):
            made_up = collection.snapshot(at=Version(number, detail))
            assert set(made_up.ids()) <= set(newest.ids())
            assert len(made_up.rows(made_up.ids())) == made_up.images
            made_up.order([Term(Linear(vectors(1)[0], "asked"))], 5)
    earlier = collection.snapshot(at=then.version)
    first = earlier.order([Term(Linear(vectors(1)[0], "asked"))], 5)  # not what was remembered for the others
    expected = without(then, newest).order([Term(Linear(vectors(1)[0], "asked"))], 5)
    np.testing.assert_allclose(first.scores_K, expected.scores_K, atol=ROUNDING)
    collection.close()


def test_a_file_that_was_moved_is_where_it_was_to_who_looked_before(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    before = collection.snapshot()
    twin = mirror(before)
    collection.touch([(ids[0], "/elsewhere.png", 1000, 2), (ids[1], twin.rows([ids[1]])[0].uri, 1000, 1)])
    assert collection.snapshot().rows([ids[0]])[0].uri == "/elsewhere.png"
    assert_alike(before, twin)
    assert_alike(collection.snapshot(at=twin.version), twin)
    collection.close()


def test_a_store_of_the_first_schema_answers_as_any_other(tmp_path: Path) -> None:
    """Forty pictures, of which two were deleted and one was updated, by schema 1."""
    shutil.copytree(OLD_STORE, tmp_path / "data")
    collection = Collection.open(tmp_path / "data", model_id="test-1", dim=8)
    snapshot = collection.snapshot()
    assert {row.uri for row in snapshot.rows(snapshot.ids())} == {
        f"/pictures/{n}.png" for n in range(40) if n not in (3, 4)
    }
    (updated,) = [row.id for row in snapshot.rows(snapshot.ids()) if row.uri == "/pictures/7.png"]
    np.testing.assert_array_equal(
        snapshot.vectors([updated])[0], unit_vectors(1, 8, seed=9)[0].astype(np.float16)
    )
    assert_alike(snapshot, mirror(snapshot))
    then = mirror(snapshot)
    change(collection, then.ids())
    assert_alike(collection.snapshot(at=then.version), without(then, collection.snapshot()))
    build(collection, "ivf_sq8", reclaim=True)
    assert_alike(snapshot, then)
    assert_alike(collection.snapshot(), mirror(collection.snapshot()))
    collection.close()


def test_what_was_replaced_before_its_versions_were_kept_is_shown_as_it_is(tmp_path: Path) -> None:
    collection = open_local(tmp_path)
    ids = filled(collection)
    then = mirror(collection.snapshot())
    change(collection, ids)
    collection.close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:  # as an older Kallos left it
        connection.execute("DROP TABLE past_image")
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {schema - 1}")
    connection.close()
    reopened = open_local(tmp_path)
    now = mirror(reopened.snapshot())
    assert_alike(reopened.snapshot(), now)
    earlier = reopened.snapshot(at=then.version)
    expected = without(then, now)
    assert earlier.ids() == expected.ids()
    assert_alike(earlier, mirror(earlier))
    assert earlier.rows([ids[1], ids[2], ids[3]]) == now.rows([ids[1], ids[2], ids[3]])
    assert earlier.rows([ids[4], ids[5]]) == then.rows([ids[4], ids[5]])
    assert earlier.nearest(then.vectors([ids[4]])[0], 1, Ids((ids[4],)), recall=EXACT).ids_K.tolist() == [
        ids[4]
    ]
    reopened.close()


def test_a_change_that_nobody_else_made_gives_the_next_reader_a_new_version(store: Store) -> None:
    (image_id,) = store.add([new_image(0, a=1)], vectors(1))
    first = store.snapshot()
    store.patch(image_id, {"a": 2})
    assert [s.rows([image_id])[0].metadata["a"] for s in (first, store.snapshot())] == [1, 2]
    assert store.snapshot(at=first.version).rows([image_id])[0].metadata["a"] == 1


def test_a_snapshot_finds_all_of_its_pictures_when_each_was_replaced(store: Store) -> None:
    ids = store.add([picture(name) for name in range(300)], vectors(300))  # more than are read one by one
    before, twin = store.snapshot(), mirror(store.snapshot())
    store.fill({image_id: {"filled": 1} for image_id in ids})
    for earlier in (before, store.snapshot(at=twin.version)):
        assert earlier.ids() == ids
        assert earlier.sample(300).ids_N.tolist() == ids
        assert sorted(earlier.order([], 300).ids_K.tolist()) == ids


def test_many_threads_get_the_answers_that_one_gets_while_others_write(store: Store) -> None:
    ids = filled(store)
    snapshot, twin = store.snapshot(), mirror(store.snapshot())
    expected = answers(store.snapshot(at=snapshot.version), ids)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(answers, snapshot, ids) for _ in range(4)]
        pool.submit(change, store, ids).result()
        assert all(one.result() == expected for one in asked)
    assert_alike(store.snapshot(at=twin.version), without(twin, store.snapshot()))
