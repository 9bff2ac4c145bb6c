"""What is stored of a picture's look: the measures, and what a model of the user's own says of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from indexer.imaging.decode import at_scale
from indexer.imaging.measures import FIELDS, MEASURED_SIDE, measure
from indexer.types import JSONValue

LOG = logging.getLogger("kallos.measure")
KEY = "measured"  # under which all of it stands in the metadata


class Scorer(Protocol):
    """A user-supplied model that looks at the pixels once and gives numbers, such as an aesthetic predictor.

    `score` may be called from several threads. A picture for which it raises goes without.
    """

    @property
    def names(self) -> Sequence[str]:
        """Of its numbers: the axis of one is the stored field `measured.NAME`."""
        ...

    def score(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> Mapping[str, float]:
        """A finite number for each of `names`; larger is more. Pixels are upright sRGB."""
        ...


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures pictures, and has `scorer` see them too."""

    scorer: Scorer | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """What every picture should have, as the filter language names it."""
        own = () if self.scorer is None else self.scorer.names
        return (*FIELDS, *(f"{KEY}.{name}" for name in own))

    def __call__(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> dict[str, JSONValue]:
        """As it goes into the metadata."""
        measured = measure(at_scale(pixels_HW3, MEASURED_SIDE)).to_metadata()
        return {KEY: {**measured, **self._scores(pixels_HW3)}}

    def _scores(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> dict[str, JSONValue]:
        if self.scorer is None:
            return {}
        try:
            scores = self.scorer.score(pixels_HW3)
            return {name: float(scores[name]) for name in self.scorer.names if np.isfinite(scores[name])}
        except Exception:
            # Code of a stranger: one picture that it cannot take must not stop the others.
            LOG.exception("the scorer failed on a picture, which goes without a score")
            return {}
