"""The values that cross the border of the package."""

from dataclasses import dataclass
from typing import Literal

Variant = Literal["original", "repeat", "detail", "k_list", "keyword_dict", "reorganise"]
WrittenVariant = Literal["detail", "k_list", "keyword_dict", "reorganise"]  # by a model
AddingVariant = Literal["repeat", "detail", "k_list", "keyword_dict", "reorganise"]
Mode = Literal["auto", "original", "repeat", "detail", "k_list", "keyword_dict", "reorganise"]
Outcome = Literal[
    "ok",  # a model wrote it just now
    "cached",  # a model wrote it before
    "not_needed",  # the query is best left alone, or there is no room to add anything
    "timeout",
    "unreachable",
    "refused_answer",  # something came back that is not of the form that was asked for
    "drifted",  # the addition means something else than the query
    "breaker_open",  # the model failed too often lately, and is not asked for a while
    "not_configured",
]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What became of one query. `text` is None unless `outcome` is ok or cached: search the original then."""

    asked: Mode
    variant: Variant  # that was used, or was tried
    outcome: Outcome
    text: str | None  # begins with the query, and is read to its end by the encoder
    reason: str  # for people: why it came to this
    milliseconds: float
    similarity: float | None  # inner product of the query and what was added to it; None: nothing to compare
