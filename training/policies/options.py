"""What of a network is trained, as configurations say it. Imports no heavy library."""

from dataclasses import dataclass

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
