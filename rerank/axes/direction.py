"""Fitting rank axes. Pure functions: embeddings in, a unit direction out.

Dimension key   K examples of one end, D embedding
Paper           "Rankability of visual embeddings", arXiv:2507.03683: an attribute is rankable when some
                direction v orders pictures by v·f(x); text axes and two-extremes axes estimate it cheaply.
Departures      Several prompts or examples an end are averaged before the difference is taken; with
                one an end this is the paper's v = (f(x_high) - f(x_low)) / |f(x_high) - f(x_low)|.
"""

import re

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.errors import InvalidAxisError
from rerank.types import QUERY_TERM, REWRITE_TERM

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
SMALLEST_DIFFERENCE = 1e-4  # of unit vectors; below it the ends are the same picture or the same words


def axis_between(high_KD: Float32[ndarray, "k d"], low_KD: Float32[ndarray, "l d"]) -> Float32[ndarray, " d"]:
    """The direction from the low end to the high end: normalise(mean(high) - mean(low)).

    Args:
        high_KD: Unit embeddings of one or more examples, or prompts, with much of the attribute.
        low_KD: The same for little of it. The numbers of examples may differ.

    Returns:
        Unit vector; its sign is given by the ends, never by data.

    Raises:
        InvalidAxisError: An end is empty, or the ends coincide.
    """
    if len(high_KD) == 0 or len(low_KD) == 0:
        raise InvalidAxisError(f"both ends need an example; got {len(high_KD)} high and {len(low_KD)} low")
    difference_D = high_KD.mean(axis=0) - low_KD.mean(axis=0)
    length = float(np.linalg.norm(difference_D))
    if not length > SMALLEST_DIFFERENCE:
        raise InvalidAxisError("the high and the low examples look the same to this model: no direction")
    return (difference_D / length).astype(np.float32)


def check_name(name: str) -> str:
    """Return `name` when it can name an axis: it stands in URLs, flags and JSON keys."""
    if not NAME.fullmatch(name):
        raise InvalidAxisError(
            f"{name!r} cannot name an axis: expected 1 to 64 of a-z, 0-9, '_' and '-', a letter first"
        )
    if name in (QUERY_TERM, REWRITE_TERM):
        raise InvalidAxisError(f"{name!r} is the name of the query's own contribution; choose another")
    return name
