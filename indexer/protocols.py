"""What the layers above may rely on.

Dimension key   N items, D embedding, H height, W width
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.typing import NDArray


class Encoder(Protocol):
    """Maps pictures and texts into one space, where inner product is likeness.

    Rows of every result are L2-normalised float32. All methods may be called from several threads.
    `prepare` is the cheap, per-picture part (resize, crop, to tensor) that the ingest pipeline runs beside
    decoding; `encode_prepared(stack of prepared)` is the model. Equal input gives equal output whatever the
    batch it travels in, up to float32 rounding.
    """

    @property
    def model_id(self) -> str:
        """Names the weights, not the library: two encoders with one id give the same vectors."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def licence(self) -> str: ...

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]: ...

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]: ...

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]: ...

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]: ...

    def fits(self, text: str) -> bool:
        """Whether `text` is read to its end: what is beyond the model's limit counts for nothing.

        True is certain; a text that fills the limit to the last token may be denied.
        """
        ...

    def axes(self) -> Mapping[str, "ShippedAxis"]:
        """Rank axes that were fitted offline for this model; may be empty."""
        ...


class ShippedAxis(Protocol):
    """A direction that comes with a model."""

    @property
    def direction_D(self) -> Float32[ndarray, " d"]:
        """Unit length; larger inner product means more of the attribute."""
        ...

    @property
    def card(self) -> str:
        """One paragraph: fitted how, on what, how well it held out, where it fails."""
        ...
