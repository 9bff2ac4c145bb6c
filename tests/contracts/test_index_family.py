"""The law of `indexer.ann.index.CandidateGenerator`, on every family, with segments and on a device.

The device is this machine's memory: what truly needs a GPU is in tests/indexer/ann/test_gpu.py.
"""

import functools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from indexer.ann.bitmap import Bitmap
from indexer.ann.build import Watch, build
from indexer.ann.flat import Flat
from indexer.ann.gpu import place
from indexer.ann.hnsw import Hnsw
from indexer.ann.index import FAMILIES, CandidateGenerator, Family
from indexer.ann.ivf import Ivf
from indexer.ann.rows import Rows
from indexer.collection.collection import Collection
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.build import build as build_in
from tests.support.device import Device, gpu_over
from tests.support.pictures import new_image, unit_vectors

DIM = 24
BASE = 3000
BEHIND = 400  # rows that segments cover
K = 10
QUERY_QD = unit_vectors(40, DIM, seed=3)


@functools.cache
def rows() -> Rows:
    """More than any index covers: others may have written since it was built."""
    return Rows(unit_vectors(BASE + BEHIND + 100, DIM).astype(np.float16))


@functools.cache
def built(family: Family) -> CandidateGenerator:
    """Built over the first BASE rows, saved and read back."""
    covered = Rows(rows().rows_ND[:BASE])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        build(covered, family, Path(folder) / "work", Watch()).save(path)
        match family:
            case "flat":
                return Flat.load(path, rows())
            case "hnsw":
                return Hnsw.load(path, rows())
            case _:
                return Ivf.load(path)


@functools.cache
def with_segments(family: Family) -> CandidateGenerator:
    base = built(family).extendable
    assert base is not None
    middle = BASE + BEHIND // 2
    return base.followed_by([base.segment(rows(), BASE, middle), base.segment(rows(), middle, BASE + BEHIND)])


@functools.cache
def on_device(family: Family) -> CandidateGenerator:
    original = built(family)
    assert isinstance(original, Flat | Ivf)
    placed = place(original, gpu_over(Device()))
    assert placed.where == "gpu:0"
    return placed.generator


CASES: dict[str, Callable[[], CandidateGenerator]] = {
    "flat": lambda: built("flat"),
    "hnsw": lambda: built("hnsw"),
    "ivf_sq8": lambda: built("ivf_sq8"),
    "ivf_rabitq": lambda: built("ivf_rabitq"),
    "ivf_sq8 with segments": lambda: with_segments("ivf_sq8"),
    "ivf_rabitq with segments": lambda: with_segments("ivf_rabitq"),
    "flat on a device": lambda: on_device("flat"),
    "ivf_sq8 on a device": lambda: on_device("ivf_sq8"),
}
every_case = pytest.mark.parametrize("case", CASES)


def true_best(query_D: Float32[ndarray, " d"], k: int, member_N: ndarray) -> ndarray:
    """By NumPy, among the rows `member_N`."""
    scores_N = rows().rows_ND[member_N].astype(np.float32) @ query_D
    return member_N[np.argsort(-scores_N, kind="stable")[:k]]


def enough(case: str) -> int:
    """Candidates in which the best K are found: one bit for each of so few numbers says little."""
    return 40 * K if "rabitq" in case else 5 * K


def recall(generator: CandidateGenerator, effort: int, want: int, allow: Bitmap | None = None) -> float:
    member_N = np.arange(generator.built) if allow is None else allow.below(generator.built).rows()
    found = 0
    for query_D in QUERY_QD:
        proposed_K = generator.candidates(query_D, want, effort, allow)
        found += len(np.intersect1d(proposed_K, true_best(query_D, K, member_N)))
    return found / (K * len(QUERY_QD))


def some_rows(share: float) -> Bitmap:
    """A bitmap of all rows of the collection, also of those that no index covers."""
    return Bitmap.of(np.flatnonzero(np.random.default_rng(4).random(len(rows())) < share), len(rows()))


@every_case
def test_it_proposes_at_most_as_many_rows_as_wanted_none_twice_all_that_it_covers(case: str) -> None:
    generator = CASES[case]()
    for want in (1, 7, 100):
        for effort in generator.efforts():
            proposed_K = generator.candidates(QUERY_QD[0], want, effort, None)
            assert proposed_K.dtype == np.int64
            assert 0 < len(proposed_K) <= want
            assert len(np.unique(proposed_K)) == len(proposed_K)
            assert 0 <= proposed_K.min() <= proposed_K.max() < generator.built


@every_case
def test_it_covers_the_rows_that_it_was_built_over_and_those_of_its_segments(case: str) -> None:
    generator = CASES[case]()
    assert generator.built == BASE + BEHIND * ("segments" in case)
    last_D = rows().rows_ND[generator.built - 1].astype(np.float32)
    assert generator.built - 1 in generator.candidates(last_D, K, generator.efforts()[-1], None)


@every_case
def test_efforts_rise_and_the_largest_finds_the_best_rows(case: str) -> None:
    generator = CASES[case]()
    efforts = generator.efforts()
    assert efforts == sorted(set(efforts))
    assert efforts[0] >= 1
    best = recall(generator, efforts[-1], enough(case))
    assert best >= max(0.95, recall(generator, efforts[0], enough(case)))


@every_case
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_under_a_filter_it_proposes_members_only_and_keeps_its_recall(case: str, share: float) -> None:
    generator, allow = CASES[case](), some_rows(share)
    for effort in generator.efforts():
        assert allow.has(generator.candidates(QUERY_QD[0], K, effort, allow)).all()
    assert recall(generator, generator.efforts()[-1], enough(case), allow) >= 0.95


@every_case
def test_a_filter_that_nothing_passes_leaves_nothing_to_propose(case: str) -> None:
    generator, nothing = CASES[case](), Bitmap.of([], len(rows()))
    assert len(generator.candidates(QUERY_QD[0], K, generator.efforts()[-1], nothing)) == 0


@every_case
def test_who_wants_more_than_there_is_gets_no_more_than_there_is(case: str) -> None:
    generator = CASES[case]()
    allow = Bitmap.of(range(0, BASE, 300), len(rows()))
    proposed_K = generator.candidates(QUERY_QD[0], BASE, generator.efforts()[-1], allow)
    assert set(proposed_K) <= set(range(0, BASE, 300))
    assert (
        len(generator.candidates(QUERY_QD[0], 2 * len(rows()), generator.efforts()[-1], None))
        <= generator.built
    )


@every_case
def test_nearness_is_one_where_the_filter_has_nothing_to_do_with_the_query_or_zero_where_nobody_knows(
    case: str,
) -> None:
    generator = CASES[case]()
    effort = generator.efforts()[len(generator.efforts()) // 2]
    everything = generator.filter_locality(QUERY_QD[0], effort, Bitmap.full(len(rows())))
    assert everything == (pytest.approx(1.0) if generator.filtered_effort else 0.0)


@every_case
def test_the_widest_effort_finds_what_lies_far_from_the_query(case: str) -> None:
    """Where it is 0, only a scan is sure, and nothing is promised."""
    generator = CASES[case]()
    scores_N = rows().rows_ND.astype(np.float32) @ QUERY_QD.mean(axis=0)
    far = Bitmap.of(np.flatnonzero(scores_N < np.median(scores_N)), len(rows()))
    if generator.filtered_effort:
        assert recall(generator, generator.filtered_effort, 2 * enough(case), far) >= 0.95
        assert generator.filter_locality(QUERY_QD.mean(axis=0), 1, far) <= 1.0


@every_case
def test_it_never_changes_so_threads_that_ask_at_once_are_answered_alike(case: str) -> None:
    generator, allow = CASES[case](), some_rows(0.7)
    effort = generator.efforts()[-1]

    def ask(number: int) -> list[int]:
        query_D = QUERY_QD[number % len(QUERY_QD)]
        return generator.candidates(query_D, K, effort, None if number % 2 else allow).tolist()

    alone = [ask(number) for number in range(80)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(80))) == alone


@every_case
def test_what_is_extendable_is_itself_and_stays_as_it_is_when_segments_follow(case: str) -> None:
    generator = CASES[case]()
    base = generator.extendable
    if base is None:
        return  # rows that come later wait for the next build
    assert base is generator
    covered = base.built
    followed = base.followed_by([base.segment(rows(), BASE, BASE + BEHIND)])
    assert (base.built, followed.built) == (covered, BASE + BEHIND)


@pytest.mark.parametrize("family", ["ivf_sq8", "ivf_rabitq"])
def test_segments_propose_as_one_that_holds_their_rows_also_when_merged_and_read_back(
    tmp_path: Path, family: Family
) -> None:
    base = built(family).extendable
    assert base is not None
    first, second = (base.segment(rows(), BASE + at, BASE + at + 100) for at in (0, 100))
    base.segment(rows(), BASE + 200, BASE + BEHIND, [first, second]).save(tmp_path / "merged")
    merged = base.load_segment(tmp_path / "merged", BASE)
    assert (merged.first, merged.end) == (BASE, BASE + BEHIND)
    for effort, want in ((5, len(rows())), (5, K), (base.efforts()[-1], K)):
        for query_D in QUERY_QD:
            expected_K = with_segments(family).candidates(query_D, want, effort, None)
            proposed_K = base.followed_by([merged]).candidates(query_D, want, effort, None)
            np.testing.assert_array_equal(np.sort(proposed_K), np.sort(expected_K))


@pytest.mark.parametrize(
    ("family", "device"), [*((family, False) for family in FAMILIES), ("flat", True), ("ivf_sq8", True)]
)
def test_filters_near_and_far_from_the_query_keep_the_recall_that_a_search_asks_for(
    tmp_path: Path, family: Family, device: bool
) -> None:
    """A filter holds the half of the collection that is nearest to the queries, or the farthest half."""
    gpu = gpu_over(Device()) if device else None
    collection = Collection.open(tmp_path, model_id="test-1", dim=DIM, exact_rows=0, gpu=gpu)
    vectors_ND = unit_vectors(6000, DIM)
    anchor_D = unit_vectors(1, DIM, seed=41)[0]
    query_QD = anchor_D + 0.1 * unit_vectors(40, DIM, seed=42)
    query_QD /= np.linalg.norm(query_QD, axis=1, keepdims=True)
    scores_N = vectors_ND @ anchor_D
    near_N = scores_N > np.median(scores_N)
    collection.add([new_image(i, near=bool(near)) for i, near in enumerate(near_N)], vectors_ND)
    build_in(collection, family)
    snapshot = collection.snapshot()
    assert snapshot.device == ("gpu:0" if device else "cpu")
    for near in (True, False):
        where = Matching(parse_filter({"match": {"near": near}}))
        hits = 0
        for query_D in query_QD:
            found = snapshot.nearest(query_D, K, where, recall=0.95)
            truth = snapshot.nearest(query_D, K, where, recall=1.0)
            assert truth.mode == "exact"
            assert (near_N[found.ids_K - 1] == near).all()
            hits += len(np.intersect1d(found.ids_K, truth.ids_K))
        assert hits / (K * len(query_QD)) >= 0.95, f"near: {near}"
