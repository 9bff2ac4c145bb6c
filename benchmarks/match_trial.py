"""One collection of captioned pictures, half of its captions to learn from, and searches with a known answer.

Captions and pictures that mean the same are one group; a group either teaches or tests. So no caption that a
model is tested with, and no picture that answers it, has taught it anything; the pictures of both halves
stand side by side in the collection, as they do in life.

Dimension key   N pictures, Q queries, D embedding, F numbers of evidence
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from benchmarks.generated import row_numbers
from benchmarks.match_queries import ABSENT, ABSTRACT, keyboard_noise, negated
from indexer.collection.collection import Collection
from indexer.protocols import EXACT, Snapshot
from indexer.types import NewImage
from rerank.axes.statistics import Moments
from rerank.match.evidence import HITS, BackgroundQueries, evidence
from rerank.match.fit import (
    EncodeTexts,
    Examples,
    caption_examples,
    encoded,
    fits,
    from_background,
    learn,
    sample_captions,
    without,
    words_of,
)
from rerank.match.model import MatchModel
from rerank.match.phrases import PHRASES

TEACHING = 0.6  # of the pictures
ALIKE = (
    0.9  # cosine of two pictures, one of which may stand for the other: stricter than what is learned with
)
NOISE = 60  # queries of random letters
PRESENT, REMOVED = "present", "removed"


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures with one caption each, and who means the same: `group_N` numbers the groups."""

    vectors_ND: Float32[ndarray, "n d"]
    captions: Sequence[str]
    same_NN: Bool[ndarray, "n n"]
    group_N: Int64[ndarray, " n"]

    @classmethod
    def of(
        cls, vectors_ND: Float32[ndarray, "n d"], captions: Sequence[str], encode: EncodeTexts
    ) -> "Material":
        text_ND = encoded(encode, captions)
        near = BackgroundQueries.of(encoded(encode, PHRASES)).near
        words = [words_of(caption) for caption in captions]
        told_NN = np.array([[fits(own, other) for other in captions] for own in words])
        same_NN = told_NN | (text_ND @ text_ND.T >= near) | (vectors_ND @ vectors_ND.T >= ALIKE)
        alike_NN = np.array([[own == other for other in words] for own in words])
        return cls(
            vectors_ND, captions, same_NN, _components(alike_NN | (vectors_ND @ vectors_ND.T >= ALIKE))
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model may learn from, and what it is tested with.

    `kinds` and `group_Q` belong to the tests; a query without a group of its own has group -1.
    """

    taught: Examples
    background: MatchModel
    tests: Examples
    kinds: Sequence[str]
    group_Q: Int64[ndarray, " q"]


def run_trial(material: Material, encode: EncodeTexts, size: int, rng: Generator) -> Trial:
    chosen_N = rng.permutation(len(material.captions))[:size]
    groups = rng.permutation(np.unique(material.group_N[chosen_N]))
    share_G = np.cumsum([np.sum(material.group_N[chosen_N] == group) for group in groups]) / size
    teaches_N = np.isin(material.group_N[chosen_N], groups[share_G <= TEACHING])
    with TemporaryDirectory() as folder:
        collection = Collection.open(Path(folder), model_id="bench", dim=material.vectors_ND.shape[1])
        try:
            captions = [material.captions[n] if teaches_N[i] else None for i, n in enumerate(chosen_N)]
            collection.add(
                [_image(i, text) for i, text in enumerate(captions)], material.vectors_ND[chosen_N]
            )
            snapshot = collection.snapshot()
            moments = Moments.of(snapshot.sample(size).vectors_ND)
            queries = BackgroundQueries.of(encoded(encode, PHRASES))
            taught = caption_examples(snapshot, encode, moments, queries, sample_captions(snapshot))
            background = from_background(snapshot, moments, queries, rng)
            tests = _Tests(snapshot, moments, queries, encode)
            asked_N = np.flatnonzero(~teaches_N)
            for place in asked_N:
                own_N = material.same_NN[chosen_N[place]][chosen_N] | (np.arange(size) == place)
                tests.with_and_without(
                    material.captions[chosen_N[place]], own_N, material.group_N[chosen_N[place]]
                )
            tests.others(rng, [negated(material.captions[chosen_N[place]]) for place in asked_N[:NOISE]])
            return Trial(taught, background, tests.examples(), tests.kinds, np.array(tests.groups))
        finally:
            collection.close()


@dataclass(frozen=True, slots=True)
class Cost:
    """`learn_s`: to make a model, texts encoded and all. `judge_us`: the median query, beside its search."""

    pictures: int
    basis: str
    learn_s: float
    judge_us: float


def cost(material: Material, encode: EncodeTexts, *, captioned: bool) -> Cost:
    size = len(material.captions)
    with TemporaryDirectory() as folder:
        collection = Collection.open(Path(folder), model_id="bench", dim=material.vectors_ND.shape[1])
        try:
            texts = material.captions if captioned else [None] * size
            collection.add([_image(i, text) for i, text in enumerate(texts)], material.vectors_ND)
            snapshot = collection.snapshot()
            moments = Moments.of(snapshot.sample(size).vectors_ND)
            started = time.perf_counter()
            model = learn(snapshot, encode, moments, np.random.default_rng(0))
            learned = time.perf_counter()
            laps = [_lap(snapshot, model, moments, row_D) for row_D in model.background.vectors_BD]
            return Cost(
                size, model.basis, round(learned - started, 2), round(1e6 * float(np.median(laps)), 1)
            )
        finally:
            collection.close()


def _lap(snapshot: Snapshot, model: MatchModel, moments: Moments, query_D: Float32[ndarray, " d"]) -> float:
    matches = snapshot.nearest(query_D, HITS)
    vectors_KD = snapshot.vectors(matches.ids_K)
    started = time.perf_counter()
    model.judge(query_D, matches.scores_K, vectors_KD, moments.along(query_D))
    return time.perf_counter() - started


class _Tests:
    """Searches as they are run, each noted with its right answer."""

    def __init__(
        self, snapshot: Snapshot, moments: Moments, background: BackgroundQueries, encode: EncodeTexts
    ) -> None:
        self._snapshot = snapshot
        self._moments = moments
        self._background = background
        self._encode = encode
        self._found: list[Float64[ndarray, " f"]] = []
        self._shown: list[bool] = []
        self._held: list[bool] = []
        self.kinds: list[str] = []
        self.groups: list[int] = []

    def with_and_without(self, caption: str, own_N: Bool[ndarray, " n"], group: int) -> None:
        """`caption` over everything, and over everything but the pictures that it may mean."""
        if np.sum(~own_N) < HITS:
            return
        query_D = self._encode([caption])[0]
        shown = self._note(query_D, np.zeros(len(own_N), bool), PRESENT, group)
        self._shown.append(bool(own_N[shown].any()))
        self._held.append(True)
        self._note(query_D, own_N, REMOVED, group)
        self._shown.append(False)
        self._held.append(False)

    def others(self, rng: Generator, negations: Sequence[str]) -> None:
        kinds = {
            "noise": keyboard_noise(NOISE, rng),
            "absent": ABSENT,
            "abstract": ABSTRACT,
            "negated": negations,
        }
        for kind, texts in kinds.items():
            for text in texts:
                self._note(self._encode([text])[0], np.zeros(self._snapshot.images, bool), kind, -1)
                self._shown.append(False)
                self._held.append(False)

    def examples(self) -> Examples:
        return Examples(np.array(self._found), np.array(self._shown), np.array(self._held))

    def _note(
        self, query_D: Float32[ndarray, " d"], out_N: Bool[ndarray, " n"], kind: str, group: int
    ) -> Int64[ndarray, " k"]:
        everything = self._snapshot.nearest(query_D, self._snapshot.images, recall=EXACT)
        kept = ~out_N[row_numbers(everything.ids_K)]
        ids_K = everything.ids_K[kept][:HITS]
        spread = without(self._moments.along(query_D), everything.scores_K[~kept], self._snapshot.images)
        scores_K = everything.scores_K[kept][:HITS]
        self._found.append(
            evidence(query_D, scores_K, self._snapshot.vectors(ids_K), spread, self._background)
        )
        self.kinds.append(kind)
        self.groups.append(group)
        return row_numbers(ids_K)


def _image(number: int, caption: str | None) -> NewImage:
    return NewImage(
        uri=f"bench:{number}",
        sha256=f"{number:064x}",
        size=0,
        mtime_ns=0,
        width=1,
        height=1,
        format="png",
        taken_at=None,
        metadata={} if caption is None else {"caption": caption},
    )


def _components(linked_NN: Bool[ndarray, "n n"]) -> Int64[ndarray, " n"]:
    """The number of the connected component of each."""
    group_N = np.full(len(linked_NN), -1, np.int64)
    for start in range(len(linked_NN)):
        if group_N[start] >= 0:
            continue
        frontier = [start]
        group_N[start] = start
        while frontier:
            new_N = np.flatnonzero(linked_NN[frontier.pop()] & (group_N < 0))
            group_N[new_N] = start
            frontier.extend(new_N.tolist())
    return group_N
