"""The figures of one attribute, and between attributes. Pure functions over vectors and labels.

Dimension key   N labelled pictures, D embedding, P prompts, A attributes of sets
Paper           "Rankability of visual embeddings", arXiv:2507.03683; SRCC is Spearman's rank correlation
Departures      The paper's splits, penalties and draws are not published; those here are
                `rerank.axes.ridge`'s and `rerank.axes.few_shot`'s.
                Its third bound, the encoder fine-tuned end to end, is not measured.
Relations       Those two have the fits and correlations; here they are put together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidInputError
from rerank.axes import few_shot, rank_correlation, ridge
from rerank.axes.direction import axis_between
from rerank.axes.few_shot import Draws
from rerank.axes.ridge import Line
from rerank.axes.splits import Split, split_groups
from training.rankability.nonlinear import nonlinear_scores
from training.rankability.table import LabelledSet

PAIRS = (1, 2, 4, 8, 16)
TAILS = (0.01, 0.05, 0.1)
EXACT = 0.0  # the tail that holds nothing but the extremes themselves
PERMUTATIONS = 10
NONLINEAR_SEEDS = 3
FEWEST_TEST = 3  # below that a rank correlation says nothing at all


@dataclass(frozen=True, slots=True)
class Labelled:
    """One attribute of one set: rows with a label, and the side that each is on."""

    data: str
    attribute: str
    vectors_ND: Float32[ndarray, "n d"]
    label_N: Float64[ndarray, " n"]
    split: Split
    groups: int

    @property
    def key(self) -> str:
        return f"{self.data}.{self.attribute}"

    @property
    def train_I(self) -> Int64[ndarray, " i"]:
        """Training and validation rows: what a fit may see."""
        return np.sort(np.concatenate([self.split.train_I, self.split.validation_I]))

    def srcc(self, direction_D: Float32[ndarray, " d"]) -> float:
        """Of a direction on the test rows, with its sign."""
        test_I = self.split.test_I
        return rank_correlation.spearman(self.vectors_ND[test_I] @ direction_D, self.label_N[test_I])


@dataclass(frozen=True, slots=True)
class Estimate:
    """SRCC on the test rows with its sign, and the 95 % bootstrap interval over pictures."""

    srcc: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """SRCC on the test rows over several seeds."""

    mean: float
    std: float
    runs: int

    @classmethod
    def of(cls, found: Sequence[float]) -> "Spread | None":
        if not found:
            return None
        return cls(float(np.mean(found)), float(np.std(found)), len(found))


@dataclass(frozen=True, slots=True)
class Extremes:
    """Axes between pictures of both tails; `tail` 0: the lowest and the highest pictures themselves."""

    tail: float
    curve: tuple[Draws, ...]


@dataclass(frozen=True, slots=True)
class AttributeReport:
    """Everything about one attribute of one set. None: not asked for, or not to be had."""

    data: str
    attribute: str
    pictures: int
    groups: int
    test: int
    values: int  # distinct labels
    tie_limited: float  # the best SRCC that ties among the test labels leave possible
    no_train: Spread | None
    permuted: Spread | None
    linear: Estimate
    pearson: float
    mean_absolute_error: float
    penalty: float
    nonlinear: Spread | None
    few_shot: tuple[Draws, ...]
    extremes: tuple[Extremes, ...]
    text: Mapping[str, Estimate]  # "high - low", then each prompt of the high end alone
    shipped: Mapping[str, Estimate]  # axes that come with the model

    @property
    def gap_closed(self) -> float | None:
        """Share of the way from the untrained encoder to the nonlinear probe that one direction goes."""
        if self.no_train is None or self.nonlinear is None or self.nonlinear.mean <= self.no_train.mean:
            return None
        return (self.linear.srcc - self.no_train.mean) / (self.nonlinear.mean - self.no_train.mean)


@dataclass(frozen=True, slots=True)
class Text:
    """Prompt embeddings for both ends of an attribute; the sign comes from their meaning."""

    high: tuple[str, ...]
    high_PD: Float32[ndarray, "p d"]
    low_PD: Float32[ndarray, "q d"]

    def directions(self) -> dict[str, Float32[ndarray, " d"]]:
        single = dict(zip(self.high, self.high_PD, strict=True))
        return {"high - low": axis_between(self.high_PD, self.low_PD), **single}


def rng_for(seed: int, *what: str) -> Generator:
    """A stream of its own for each thing that is drawn: no result depends on what else was asked for."""
    return np.random.default_rng([seed, crc32("\0".join(what).encode())])


def split_tables(tables: Sequence[LabelledSet], seed: int, *, test_share: float) -> dict[str, Split]:
    """One split over all sets at once: a group is on the same side in each of them."""
    groups = np.array([group for table in tables for group in table.groups])
    whole = split_groups(groups, rng_for(seed, "split"), test=test_share)
    side_N = np.zeros(len(groups), np.int64)
    side_N[whole.validation_I], side_N[whole.test_I] = 1, 2
    splits, start = {}, 0
    for table in tables:
        own_N = side_N[start : start + len(table.groups)]
        splits[table.name] = Split(*(np.flatnonzero(own_N == side) for side in range(3)))
        start += len(table.groups)
    return splits


def labelled(
    table: LabelledSet, attribute: str, vectors_ND: Float32[ndarray, "n d"], split: Split
) -> Labelled:
    """The rows of `table` that have a label for `attribute`; InvalidInputError where they are too few."""
    known_N = np.isfinite(table.labels[attribute])
    place_N = np.cumsum(known_N) - 1
    train_I, validation_I, test_I = (
        place_N[side_I[known_N[side_I]]] for side_I in (split.train_I, split.validation_I, split.test_I)
    )
    label_N = table.labels[attribute][known_N]
    for side, rows_I in (("training", train_I), ("validation", validation_I), ("test", test_I)):
        if len(rows_I) < FEWEST_TEST or np.ptp(label_N[rows_I]) == 0:
            raise InvalidInputError(
                f"{table.name}: {attribute} has {len(rows_I)} labels on the {side} side of the split, "
                f"expected at least {FEWEST_TEST} that are not all equal"
            )
    groups = len({group for group, known in zip(table.groups, known_N, strict=True) if known})
    split = Split(train_I, validation_I, test_I)
    return Labelled(table.name, attribute, vectors_ND[known_N], label_N, split, groups)


def measure(
    data: Labelled,
    untrained: Sequence[Float32[ndarray, "n d"]],
    text: Text | None,
    shipped: Mapping[str, Float32[ndarray, " d"]],
    seed: int,
) -> tuple[AttributeReport, Line]:
    """All figures of one attribute, and the axis that was fitted.

    Args:
        data: Vectors of the encoder in question, labels and split.
        untrained: The same rows seen by encoders with random weights.
        text: Prompts, where there are some.
        shipped: Directions that come with the model, to be compared with labels that they never saw.
        seed: Of all draws.
    """
    test_I = data.split.test_I
    label_M = data.label_N[test_I]
    line = ridge.fit_validated(data.vectors_ND, data.label_N, data.split)
    found_M = line.predict(data.vectors_ND[test_I])
    report = AttributeReport(
        data=data.data,
        attribute=data.attribute,
        pictures=len(data.label_N),
        groups=data.groups,
        test=len(test_I),
        values=len(np.unique(data.label_N)),
        tie_limited=rank_correlation.tie_limited_maximum(label_M),
        no_train=Spread.of([_linear_srcc(replace(data, vectors_ND=own_ND)) for own_ND in untrained]),
        permuted=_permuted(data, seed),
        linear=_estimate(data, line.direction_D, seed),
        pearson=rank_correlation.pearson(found_M, label_M),
        mean_absolute_error=float(np.mean(np.abs(found_M - label_M))),
        penalty=line.penalty,
        nonlinear=_nonlinear(data),
        few_shot=_few_shot(data, seed),
        extremes=tuple(_extremes(data, tail, seed) for tail in (*TAILS, EXACT)),
        text=_estimates(data, {} if text is None else text.directions(), seed),
        shipped=_estimates(data, shipped, seed),
    )
    return report, line


def _linear_srcc(data: Labelled) -> float:
    return data.srcc(ridge.fit_validated(data.vectors_ND, data.label_N, data.split).direction_D)


def _permuted(data: Labelled, seed: int) -> Spread | None:
    """Chance: the labels that a fit sees are shuffled, those of the test are not."""
    found = []
    for run in range(PERMUTATIONS):
        label_N = data.label_N.copy()
        label_N[data.train_I] = rng_for(seed, data.key, f"permuted {run}").permutation(label_N[data.train_I])
        if np.ptp(label_N[data.split.validation_I]) > 0:
            found.append(_linear_srcc(replace(data, label_N=label_N)))
    return Spread.of(found)


def _nonlinear(data: Labelled) -> Spread | None:
    test_I = data.split.test_I
    return Spread.of(
        [
            rank_correlation.spearman(
                nonlinear_scores(data.vectors_ND, data.label_N, data.split, seed=run)[test_I],
                data.label_N[test_I],
            )
            for run in range(NONLINEAR_SEEDS)
        ]
    )


def _few_shot(data: Labelled, seed: int) -> tuple[Draws, ...]:
    seen_I, test_I = data.train_I, data.split.test_I
    return tuple(
        few_shot.few_shot(
            data.vectors_ND[seen_I],
            data.label_N[seen_I],
            data.vectors_ND[test_I],
            data.label_N[test_I],
            rng_for(seed, data.key, "few-shot"),
        )
    )


def _extremes(data: Labelled, tail: float, seed: int) -> Extremes:
    """As many of PAIRS as there are labels for."""
    seen_I, test_I = data.train_I, data.split.test_I
    return Extremes(
        tail,
        tuple(
            few_shot.two_extremes(
                data.vectors_ND[seen_I],
                data.label_N[seen_I],
                data.vectors_ND[test_I],
                data.label_N[test_I],
                rng_for(seed, data.key, f"extremes {tail} {pairs}"),
                pairs=pairs,
                tail=tail,
                draws=1 if tail == EXACT else few_shot.EXTREME_DRAWS,
            )
            for pairs in PAIRS
            if 2 * pairs <= len(seen_I)
        ),
    )


def _estimates(
    data: Labelled, directions: Mapping[str, Float32[ndarray, " d"]], seed: int
) -> dict[str, Estimate]:
    return {name: _estimate(data, direction_D, seed) for name, direction_D in directions.items()}


def _estimate(data: Labelled, direction_D: Float32[ndarray, " d"], seed: int) -> Estimate:
    test_I = data.split.test_I
    score_M, label_M = data.vectors_ND[test_I] @ direction_D, data.label_N[test_I]
    interval = rank_correlation.spearman_interval(score_M, label_M, rng_for(seed, data.key, "bootstrap"))
    return Estimate(data.srcc(direction_D), interval.low, interval.high)


def transfer(sets: Sequence[Labelled], lines: Sequence[Line]) -> Float64[ndarray, "a a"]:
    """Row: the axis fitted there. Column: its SRCC, with sign, on the test rows of that attribute."""
    return np.array([[target.srcc(line.direction_D) for target in sets] for line in lines])


def cosines(lines: Sequence[Line]) -> Float64[ndarray, "a a"]:
    """Between the axes: 1 is the same direction, 0 knows nothing of the other."""
    axes_AD = np.stack([line.direction_D for line in lines]).astype(np.float64)
    return axes_AD @ axes_AD.T
