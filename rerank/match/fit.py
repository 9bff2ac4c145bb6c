"""Teach a match model from the collection that it will judge, without a label from anybody.

From captions, when enough sampled pictures have one. Each caption is searched twice:

    as it is                              right if its picture is among the first ten hits
    with every picture that it fits held out      wrong, whatever comes up

So half of all queries have a picture. From the background otherwise: queries are drawn that lie where texts
lie and ask for nothing,

    q = normalise(m + Σ_b g_b (p_b - m) / √B),    g ~ N(0, 1)      with m the mean of the everyday phrases p_b

a Gaussian with mean and covariance of the phrases; what their first hits reach is chance.

Dimension key   Q queries, N hits searched, K hits judged, B phrases, D embedding, F numbers of evidence
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from numpy.random import Generator

from indexer.errors import InvalidInputError
from indexer.protocols import Snapshot
from indexer.types import ImageId
from rerank.axes.statistics import Moments, Spread
from rerank.match.evidence import HITS, BackgroundQueries, evidence
from rerank.match.logistic import Logistic
from rerank.match.model import NULL_FEATURES, FromBackground, FromCaptions, Gumbel, MatchModel
from rerank.match.phrases import PHRASES

FEWEST_PICTURES = 50
FEWEST_CAPTIONS = 40  # different ones; fewer teach too little
MOST_CAPTIONS = 400  # the standard error of a share is then under 0.025
SAMPLED = 2_048  # rows that are read to find captions
DEPTH = 64  # hits beyond the first ten, to fill up from when fitting ones are held out
PSEUDO_QUERIES = 256
RIDGE = 3.0  # of four weights of order 1; docs/matching.md has 1 and 10 beside it
COPY = 0.95  # cosine of two pictures that show the same
BATCH = 64  # texts an encoder gets at once
SMALL_WORDS = frozenset(("a", "an", "the", "some", "of"))

EncodeTexts = Callable[[Sequence[str]], Float32[ndarray, "n d"]]


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with their captions."""

    ids: Sequence[ImageId]
    captions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """The best hits of one query, falling, and which of them fit it."""

    scores_N: Float32[ndarray, " n"]
    vectors_ND: Float32[ndarray, "n d"]
    fits_N: Bool[ndarray, " n"]


def learn(snapshot: Snapshot, encode: EncodeTexts, moments: Moments, rng: Generator) -> MatchModel:
    """A model of the collection as `snapshot` shows it. Seconds: some hundred texts are encoded and searched.

    Raises:
        InvalidInputError: There are fewer than `FEWEST_PICTURES` pictures.
    """
    if snapshot.images < FEWEST_PICTURES:
        raise InvalidInputError(
            f"{snapshot.images} pictures: expected at least {FEWEST_PICTURES} to learn from"
        )
    background = BackgroundQueries.of(encoded(encode, PHRASES))
    sampled = sample_captions(snapshot)
    if len(sampled.captions) < FEWEST_CAPTIONS:
        return from_background(snapshot, moments, background, rng)
    examples = caption_examples(snapshot, encode, moments, background, sampled)
    return from_examples(background, examples) or from_background(snapshot, moments, background, rng)


@dataclass(frozen=True, slots=True)
class Examples:
    """Evidence of searches; whether a fitting picture was shown, and whether the collection held one."""

    evidence_QF: Float64[ndarray, "q f"]
    shown_Q: Bool[ndarray, " q"]
    held_Q: Bool[ndarray, " q"]


def from_examples(background: BackgroundQueries, examples: Examples) -> MatchModel | None:
    """None when no caption found its picture: the encoder cannot read them."""
    shown_Q, held_Q = examples.shown_Q, examples.held_Q
    if not shown_Q.any():
        return None
    missed = float((held_Q & ~shown_Q).sum() / (~shown_Q).sum())
    rule = FromCaptions(Logistic.fit(examples.evidence_QF, shown_Q, RIDGE), missed)
    return MatchModel(background, rule, int(held_Q.sum()))


def from_background(
    snapshot: Snapshot, moments: Moments, background: BackgroundQueries, rng: Generator
) -> MatchModel:
    found_QF = np.stack(
        [
            evidence(query_D, scores_K, vectors_KD, moments.along(query_D), background)
            for query_D in pseudo_queries(background, rng)
            for scores_K, vectors_KD in [_hits(snapshot, query_D, HITS)]
        ]
    )
    tails = tuple(Gumbel.of(found_QF[:, place]) for place in NULL_FEATURES)
    return MatchModel(background, FromBackground(tails), len(found_QF))


def pseudo_queries(background: BackgroundQueries, rng: Generator) -> Float32[ndarray, "q d"]:
    mean_D = background.vectors_BD.mean(axis=0)
    spread_BD = (background.vectors_BD - mean_D) / np.sqrt(len(background.vectors_BD))
    draws_QB = rng.standard_normal((PSEUDO_QUERIES, len(spread_BD)))
    query_QD = mean_D + draws_QB @ spread_BD
    return (query_QD / np.linalg.norm(query_QD, axis=1, keepdims=True)).astype(np.float32)


def sample_captions(snapshot: Snapshot) -> Captioned:
    """Captions that differ, of pictures spread evenly over the collection."""
    first_of: dict[frozenset[str], tuple[ImageId, str]] = {}
    for row in snapshot.rows(snapshot.sample(SAMPLED).ids_N):
        caption = row.metadata.get("caption")
        if isinstance(caption, str) and words_of(caption):
            first_of.setdefault(words_of(caption), (row.id, caption))
    chosen = list(first_of.values())
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_CAPTIONS))]
    return Captioned([image_id for image_id, _ in chosen], [caption for _, caption in chosen])


def caption_examples(
    snapshot: Snapshot,
    encode: EncodeTexts,
    moments: Moments,
    background: BackgroundQueries,
    sampled: Captioned,
) -> Examples:
    """Each caption as it is, and with its pictures held out."""
    found: list[Float64[ndarray, " f"]] = []
    shown: list[bool] = []
    held: list[bool] = []

    def note(evidence_F: Float64[ndarray, " f"], is_shown: bool, is_held: bool) -> None:
        found.append(evidence_F)
        shown.append(is_shown)
        held.append(is_held)

    for image_id, caption, query_D in zip(
        sampled.ids, sampled.captions, encoded(encode, sampled.captions), strict=True
    ):
        asked = _asked(snapshot, query_D, image_id, caption)
        spread = moments.along(query_D)
        rest = ~asked.fits_N
        if rest.sum() < HITS:
            continue  # it fits nearly everything there is: nothing can be held out
        note(_evidence(query_D, asked, spread, background), bool(asked.fits_N[:HITS].any()), True)
        others = Asked(asked.scores_N[rest], asked.vectors_ND[rest], asked.fits_N[rest])
        fewer = without(spread, asked.scores_N[asked.fits_N], snapshot.images)
        note(_evidence(query_D, others, fewer, background), False, False)
    return Examples(np.array(found), np.array(shown, bool), np.array(held, bool))


def fits(asked_words: frozenset[str], caption: object) -> bool:
    """Whether a picture with that caption may be what was asked for: all words of one are in the other."""
    words = words_of(caption) if isinstance(caption, str) else frozenset[str]()
    return bool(words) and (words <= asked_words or asked_words <= words)


def words_of(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold())) - SMALL_WORDS


def without(spread: Spread, scores_M: Float32[ndarray, " m"], images: int) -> Spread:
    """`spread` over `images` scores when those of `scores_M` are taken out."""
    left = images - len(scores_M)
    mean = (spread.mean * images - float(scores_M.sum())) / left
    square = (
        (spread.std**2 + spread.mean**2) * images - float((scores_M.astype(np.float64) ** 2).sum())
    ) / left
    return Spread(mean, float(np.sqrt(max(square - mean**2, 0.0))))


def encoded(encode: EncodeTexts, texts: Sequence[str]) -> Float32[ndarray, "q d"]:
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    return np.concatenate([encode(batch) for batch in batches])


def _asked(snapshot: Snapshot, query_D: Float32[ndarray, " d"], image_id: ImageId, caption: str) -> Asked:
    matches = snapshot.nearest(query_D, HITS + DEPTH)
    vectors_ND = snapshot.vectors(matches.ids_K)
    copies_N = vectors_ND @ snapshot.vectors([image_id])[0] >= COPY
    words = words_of(caption)
    told_N = np.array(
        [fits(words, row.metadata.get("caption")) for row in snapshot.rows(matches.ids_K)], bool
    )
    return Asked(matches.scores_K, vectors_ND, copies_N | told_N | (matches.ids_K == image_id))


def _evidence(
    query_D: Float32[ndarray, " d"], asked: Asked, spread: Spread, background: BackgroundQueries
) -> Float64[ndarray, " f"]:
    return evidence(query_D, asked.scores_N[:HITS], asked.vectors_ND[:HITS], spread, background)


def _hits(
    snapshot: Snapshot, query_D: Float32[ndarray, " d"], k: int
) -> tuple[Float32[ndarray, " k"], Float32[ndarray, "k d"]]:
    matches = snapshot.nearest(query_D, k)
    return matches.scores_K, snapshot.vectors(matches.ids_K)
