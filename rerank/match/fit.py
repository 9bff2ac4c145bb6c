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

from indexer.collection.view import View
from indexer.errors import InvalidInputError
from rerank.axes.moments import Moments, Spread
from rerank.match.evidence import HITS, Bank, evidence
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
    """Pictures by slot, with their captions."""

    slots: Sequence[int]
    captions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """The best hits of one query, falling, and which of them fit it."""

    scores_N: Float32[ndarray, " n"]
    vectors_ND: Float32[ndarray, "n d"]
    fits_N: Bool[ndarray, " n"]


def learn(view: View, encode: EncodeTexts, moments: Moments, rng: Generator) -> MatchModel:
    """A model of the collection as `view` shows it. Seconds: some hundred texts are encoded and searched.

    Raises:
        InvalidInputError: There are fewer than `FEWEST_PICTURES` pictures.
    """
    if view.images < FEWEST_PICTURES:
        raise InvalidInputError(f"{view.images} pictures: expected at least {FEWEST_PICTURES} to learn from")
    bank = Bank.of(encoded(encode, PHRASES))
    sampled = sample_captions(view)
    if len(sampled.captions) < FEWEST_CAPTIONS:
        return from_background(view, moments, bank, rng)
    examples = caption_examples(view, encode, moments, bank, sampled)
    return from_examples(bank, examples) or from_background(view, moments, bank, rng)


@dataclass(frozen=True, slots=True)
class Examples:
    """Evidence of searches; whether a fitting picture was shown, and whether the collection held one."""

    evidence_QF: Float64[ndarray, "q f"]
    shown_Q: Bool[ndarray, " q"]
    held_Q: Bool[ndarray, " q"]


def from_examples(bank: Bank, examples: Examples) -> MatchModel | None:
    """None when no caption found its picture: the encoder cannot read them."""
    shown_Q, held_Q = examples.shown_Q, examples.held_Q
    if not shown_Q.any():
        return None
    missed = float((held_Q & ~shown_Q).sum() / (~shown_Q).sum())
    rule = FromCaptions(Logistic.fit(examples.evidence_QF, shown_Q, RIDGE), missed)
    return MatchModel(bank, rule, int(held_Q.sum()))


def from_background(view: View, moments: Moments, bank: Bank, rng: Generator) -> MatchModel:
    found_QF = np.stack(
        [
            evidence(query_D, scores_K, vectors_KD, moments.along(query_D), bank)
            for query_D in pseudo_queries(bank, rng)
            for scores_K, vectors_KD in [_hits(view, query_D, HITS)]
        ]
    )
    tails = tuple(Gumbel.of(found_QF[:, place]) for place in NULL_FEATURES)
    return MatchModel(bank, FromBackground(tails), len(found_QF))


def pseudo_queries(bank: Bank, rng: Generator) -> Float32[ndarray, "q d"]:
    mean_D = bank.vectors_BD.mean(axis=0)
    spread_BD = (bank.vectors_BD - mean_D) / np.sqrt(len(bank.vectors_BD))
    draws_QB = rng.standard_normal((PSEUDO_QUERIES, len(spread_BD)))
    query_QD = mean_D + draws_QB @ spread_BD
    return (query_QD / np.linalg.norm(query_QD, axis=1, keepdims=True)).astype(np.float32)


def sample_captions(view: View) -> Captioned:
    """Captions that differ, of pictures spread evenly over the slots."""
    slots_N = view.slots_in(view.live())
    step = max(1, -(-len(slots_N) // SAMPLED))
    first_of: dict[frozenset[str], tuple[int, str]] = {}
    for row in view.rows_at(slots_N[::step]):
        caption = row.metadata.get("caption")
        if isinstance(caption, str) and words_of(caption):
            first_of.setdefault(words_of(caption), (row.slot, caption))
    chosen = list(first_of.values())
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_CAPTIONS))]
    return Captioned([slot for slot, _ in chosen], [caption for _, caption in chosen])


def caption_examples(
    view: View, encode: EncodeTexts, moments: Moments, bank: Bank, sampled: Captioned
) -> Examples:
    """Each caption as it is, and with its pictures held out."""
    found: list[Float64[ndarray, " f"]] = []
    shown: list[bool] = []
    held: list[bool] = []

    def note(evidence_F: Float64[ndarray, " f"], is_shown: bool, is_held: bool) -> None:
        found.append(evidence_F)
        shown.append(is_shown)
        held.append(is_held)

    for slot, caption, query_D in zip(
        sampled.slots, sampled.captions, encoded(encode, sampled.captions), strict=True
    ):
        asked = _asked(view, query_D, slot, caption)
        spread = moments.along(query_D)
        rest = ~asked.fits_N
        if rest.sum() < HITS:
            continue  # it fits nearly everything there is: nothing can be held out
        note(_evidence(query_D, asked, spread, bank), bool(asked.fits_N[:HITS].any()), True)
        others = Asked(asked.scores_N[rest], asked.vectors_ND[rest], asked.fits_N[rest])
        fewer = without(spread, asked.scores_N[asked.fits_N], view.images)
        note(_evidence(query_D, others, fewer, bank), False, False)
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


def _asked(view: View, query_D: Float32[ndarray, " d"], slot: int, caption: str) -> Asked:
    matches = view.search(query_D, HITS + DEPTH)
    vectors_ND = view.vectors_at(matches.slots_K)
    copies_N = vectors_ND @ view.vectors_at([slot])[0] >= COPY
    words = words_of(caption)
    captions = {row.slot: row.metadata.get("caption") for row in view.rows_at(matches.slots_K)}
    told_N = np.array([fits(words, captions.get(found)) for found in matches.slots_K.tolist()], bool)
    return Asked(matches.scores_K, vectors_ND, copies_N | told_N | (matches.slots_K == slot))


def _evidence(
    query_D: Float32[ndarray, " d"], asked: Asked, spread: Spread, bank: Bank
) -> Float64[ndarray, " f"]:
    return evidence(query_D, asked.scores_N[:HITS], asked.vectors_ND[:HITS], spread, bank)


def _hits(
    view: View, query_D: Float32[ndarray, " d"], k: int
) -> tuple[Float32[ndarray, " k"], Float32[ndarray, "k d"]]:
    matches = view.search(query_D, k)
    return matches.scores_K, view.vectors_at(matches.slots_K)
