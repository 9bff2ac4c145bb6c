"""What of a network is trained, and how it runs, as configurations say it. Imports no heavy library."""

from dataclasses import dataclass
from typing import Literal

from indexer.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Adapter:
    """`rank` 0 trains every weight. `targets` are ends of the names of layers, linear or convolution."""

    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha <= 0:
            raise InvalidInputError(
                f"rank {self.rank}, alpha {self.alpha}: expected a rank of 0 or more, an alpha above 0"
            )


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Where and how a model is trained; the builtin generator takes none but `device` and `guidance`.

    `device` is "auto", "cpu", "cuda" or "cuda:N". In bfloat16, frozen weights rest in it and the network
    calculates in it; trained weights and all that leaves the network are float32. `side_px` 0 is the model's
    own side. With `rests`, text encoders and autoencoder are on the device only while they work.
    `checkpointing` keeps the inputs of the network's blocks alone and calculates the rest a second time for
    the gradient: a third slower, far smaller.
    """

    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    guidance: float = 1.0
    side_px: int = 0
    rests: bool = False
    checkpointing: bool = False
