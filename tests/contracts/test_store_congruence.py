"""Any sequence of changes, made to the local store and to the one in memory: both answer alike."""

import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from indexer.attributes import Linear, Term
from indexer.collection.snapshot import LocalSnapshot
from indexer.filters.language import parse_filter
from indexer.protocols import EXACT, Version
from indexer.types import ImageId, JSONValue, Metadata
from indexer.where import EVERYTHING, And, Band, Ids, Matching, Not, Where
from tests.support.build import build
from tests.support.memory_store import Kept, MemorySnapshot, MemoryStore
from tests.support.store_questions import (
    ATTRIBUTES,
    DIM,
    FILTERS,
    SUMS,
    Missing,
    assert_agree_under,
    assert_matches,
    pages,
    picture,
    told,
    vectors,
)
from tests.support.stores import open_local

NAMES = st.integers(0, 30)
VALUES: st.SearchStrategy[JSONValue] = st.one_of(
    st.integers(-3, 9),
    st.sampled_from(["sea", "1", 2.5]),
    st.booleans(),
    st.lists(st.integers(0, 3), max_size=2),
)
CHANGES: st.SearchStrategy[Metadata] = st.dictionaries(
    st.sampled_from(["n", "price", "tags", "mixed", "flag"]), VALUES | st.none(), min_size=1, max_size=3
)
IDS = st.lists(st.integers(1, 45).map(ImageId), max_size=8).map(tuple)
NUMBERS = st.sampled_from([-2.0, -0.25, 0.0, 0.25, 1.0, 3.0, 5.5])
SIMPLE: st.SearchStrategy[Where] = st.one_of(
    st.just(EVERYTHING),
    st.sampled_from(FILTERS).map(lambda document: Matching(parse_filter(document))),
    IDS.map(Ids),
    st.builds(Band, st.sampled_from(ATTRIBUTES), NUMBERS, NUMBERS | st.none()),
)
WHERES: st.SearchStrategy[Where] = st.recursive(
    SIMPLE,
    lambda inner: inner.map(Not) | st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
    max_leaves=5,
)
TERMS = st.lists(
    st.builds(Term, st.sampled_from(ATTRIBUTES), st.sampled_from([-2.0, 0.5, 1.0]), NUMBERS),
    min_size=1,
    max_size=3,
) | st.sampled_from(SUMS)


class StoreMachine(RuleBasedStateMachine):
    """`memory` is the truth. Versions and snapshots of both are kept in pairs, and asked again later."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.local = open_local(self.folder)
        self.memory = MemoryStore("m", DIM)
        self.held: list[tuple[LocalSnapshot, MemorySnapshot]] = []
        self.versions: list[tuple[Version, Version]] = []
        self.reclaimed = 0  # versions that were taken before space was last reclaimed
        self.seed = 0

    @initialize(count=st.integers(0, 24))
    def begin(self, count: int) -> None:
        self.add(list(range(count)))

    @rule(names=st.lists(NAMES, min_size=1, max_size=6))
    def add(self, names: list[int]) -> None:
        self.seed += 1
        images = [picture(name, self.seed) for name in names]
        vectors_ND = vectors(len(names), self.seed) if names else np.zeros((0, DIM), np.float32)
        assert self.local.add(images, vectors_ND) == self.memory.add(images, vectors_ND)

    @precondition(lambda self: self.memory.snapshot().images)
    @rule(
        data=st.data(),
        changes=CHANGES,
        taken_at=st.none() | st.sampled_from(["2020-01-03", "2020-02-01T10:00"]),
    )
    def patch(self, data: st.DataObject, changes: Metadata, taken_at: str | None) -> None:
        image_id = data.draw(st.sampled_from(self.memory.snapshot().ids()))
        changes = {**changes, "taken_at": taken_at} if self.seed % 2 else changes
        assert told(self.local.patch(image_id, changes)) == told(self.memory.patch(image_id, changes))

    @rule(ids=IDS, changes=CHANGES)
    def fill(self, ids: tuple[ImageId, ...], changes: Metadata) -> None:
        additions = {
            key: {name: value for name, value in changes.items() if value is not None} for key in ids
        }
        assert self.local.fill(additions) == self.memory.fill(additions)

    @rule(ids=IDS)
    def delete(self, ids: tuple[ImageId, ...]) -> None:
        assert self.local.delete(ids) == self.memory.delete(ids)

    @precondition(lambda self: self.memory.snapshot().images)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        image_id = data.draw(st.sampled_from(self.memory.snapshot().ids()))
        (row,) = self.memory.snapshot().rows([image_id])
        self.seed += 1
        self.local.touch([(image_id, f"/moved/{self.seed}.png", row.size, row.mtime_ns)])
        self.memory.move(image_id, f"/moved/{self.seed}.png")

    @rule(reclaim=st.booleans(), indexed=st.booleans())
    def compact(self, reclaim: bool, indexed: bool) -> None:
        report = build(self.local, "ivf_sq8" if indexed else None, reclaim=reclaim)
        if report.reclaimed:
            self.reclaimed = len(self.versions)

    @rule()
    def restart(self) -> None:
        self.local.close()
        self.local = open_local(self.folder)
        self.held = []

    @rule()
    def hold(self) -> None:
        self.held.append((self.local.snapshot(), self.memory.snapshot()))
        self.versions.append((self.local.snapshot().version, self.memory.snapshot().version))

    @rule(where=WHERES)
    def ask(self, where: Where) -> None:
        self.compare(self.local.snapshot(), self.memory.snapshot(), where)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), where=WHERES)
    def ask_one_that_was_held(self, data: st.DataObject, where: Where) -> None:
        self.compare(*data.draw(st.sampled_from(self.held)), where)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), where=WHERES)
    def ask_an_earlier_version(self, data: st.DataObject, where: Where) -> None:
        at = data.draw(st.integers(0, len(self.versions) - 1))
        ours, theirs = self.versions[at]
        earlier, expected = self.local.snapshot(at=ours), self.memory.snapshot(at=theirs)
        assert earlier.ids() == expected.ids()
        if at < self.reclaimed:  # each picture as it was, or as it is
            expected = self.as_shown(earlier, expected)
        self.compare(earlier, expected, where)

    @rule(terms=TERMS, where=WHERES, size=st.integers(1, 9), ascending=st.booleans(), data=st.data())
    def page(self, terms: list[Term], where: Where, size: int, ascending: bool, data: st.DataObject) -> None:
        missing: Missing = data.draw(st.sampled_from(["last", "average"]))
        now = self.memory.snapshot()
        shown = [
            one
            for page in pages(self.local.snapshot(), terms, size, where, ascending=ascending, missing=missing)
            for one in page
        ]
        expected = now.order(terms, now.images, where, ascending=ascending, missing=missing)
        assert sorted(i for i, _ in shown) == now.ids(where)
        assert [math.isnan(score) for _, score in shown] == np.isnan(expected.scores_K).tolist()
        np.testing.assert_allclose([score for _, score in shown], expected.scores_K, rtol=1e-6, atol=1e-5)

    def compare(self, have: LocalSnapshot, want: MemorySnapshot, where: Where) -> None:
        ids = want.ids()
        assert have.ids() == ids
        assert [told(row) for row in have.rows(ids)] == [told(row) for row in want.rows(ids)]
        np.testing.assert_array_equal(have.vectors(ids), want.vectors(ids))
        assert_agree_under(have, want, where)
        direction_D = vectors(1, self.seed + 100)[0]
        found = have.nearest(direction_D, 5, where, recall=EXACT)
        assert_matches(found, want.nearest(direction_D, 5, where), want, [Term(Linear(direction_D))])

    def as_shown(self, earlier: LocalSnapshot, then: MemorySnapshot) -> MemorySnapshot:
        now, shown = self.memory.snapshot(), dict[ImageId, Kept]()
        for row, vector_D in zip(earlier.rows(then.ids()), earlier.vectors(then.ids()), strict=True):
            sides = [Kept(side.rows([row.id])[0], side.vectors([row.id])[0]) for side in (then, now)]
            same = [
                side
                for side in sides
                if told(side.row) == told(row) and np.array_equal(side.vector_D, vector_D)
            ]
            assert same, row
            shown[row.id] = same[0]
        return MemorySnapshot(then.version, shown, DIM)

    def teardown(self) -> None:
        self.local.close()
        shutil.rmtree(self.folder)


TestBothStoresAnswerAlike = StoreMachine.TestCase
TestBothStoresAnswerAlike.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
