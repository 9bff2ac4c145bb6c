"""How a generator is loaded and what it does when a request leaves something open."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from indexer.errors import InvalidInputError
from rerank.generate.request import check_guidance, check_steps

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "model", "sequential"]
MOST_WEIGHT = 10.0


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA file and how strongly it is applied; 1 as trained, 0 not at all.

    Raises InvalidInputError: no .safetensors file, or a weight that makes no sense.
    """

    path: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.path.suffix != ".safetensors" or not self.path.is_file():
            raise InvalidInputError(f"adapter {self.path}: expected a .safetensors file that exists")
        if not -MOST_WEIGHT <= self.weight <= MOST_WEIGHT:
            raise InvalidInputError(
                f"adapter {self.path.name} has weight {self.weight}: "
                f"expected {-MOST_WEIGHT:g} to {MOST_WEIGHT:g}"
            )

    def __str__(self) -> str:
        return f"{self.path.stem}={self.weight:g}"


@dataclass(frozen=True, slots=True)
class GeneratorOptions:
    """Where a model runs, and its defaults; the builtin generator takes none of them but `device`.

    `device` is "auto", "cpu", "cuda" or "cuda:N". `dtype` "auto" is float32 on a CPU; on a GPU bfloat16, or
    float16 where it has none. `offload` keeps weights in main memory: "model" moves one part at a time to the
    GPU, "sequential" one layer at a time, slowly. `scheduler`, `steps` and `guidance` None: the model's own.
    `weights` is a safetensors file of the denoising network in place of the pipeline's own.
    """

    device: str = "auto"
    dtype: Dtype = "auto"
    offload: Offload = "none"
    adapters: tuple[Adapter, ...] = ()
    scheduler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        for name, value, possible in (
            ("dtype", self.dtype, get_args(Dtype)),
            ("offload", self.offload, get_args(Offload)),
        ):
            if value not in possible:
                raise InvalidInputError(f"{name} is {value!r}: expected {', '.join(possible)}")
        check_adapters(self.adapters)
        check_steps(self.steps)
        check_guidance(self.guidance)


def check_adapters(adapters: Sequence[Adapter]) -> None:
    """Raises InvalidInputError: one adapter is named twice."""
    stems = [adapter.path.stem for adapter in adapters]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InvalidInputError(f"adapter {stem} is named twice: expected each name once")


def parse_adapters(text: str) -> tuple[Adapter, ...]:
    """`FILE[=WEIGHT]:FILE[=WEIGHT]…` → adapters."""
    return tuple(_adapter(part) for part in text.split(":") if part)


def _adapter(text: str) -> Adapter:
    path, equals, weight = text.rpartition("=")
    if not equals:
        return Adapter(Path(text).expanduser())
    try:
        return Adapter(Path(path).expanduser(), float(weight))
    except ValueError as error:
        raise InvalidInputError(
            f"{text!r} is no adapter: expected FILE.safetensors or FILE.safetensors=WEIGHT"
        ) from error
