"""What is asked of a generator, what it says while it works, and what it made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError

BUILTIN = "builtin"  # the name of the generator that comes with Kallos
MOST_CHARACTERS = 2_000
MOST_STEPS = 200
MOST_GUIDANCE = 30.0
MOST_SEED = 2**63 - 1

Pixels = UInt8[ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What None leaves open is the generator's own. The same request makes the same picture.

    `scheduler` is one that the model is compatible with, by its name in diffusers. `guidance` is the
    generator's own scale: see docs/generators.md.

    Raises InvalidInputError: a value that no generator could work with.
    """

    prompt: str
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InvalidInputError("the prompt is empty: expected words")
        for text in (self.prompt, self.negative_prompt):
            if len(text) > MOST_CHARACTERS:
                raise InvalidInputError(
                    f"a prompt of {len(text)} characters: expected at most {MOST_CHARACTERS}"
                )
            if "\0" in text:
                raise InvalidInputError("the prompt holds a NUL character: expected text")
        if not 0 <= self.seed <= MOST_SEED:
            raise InvalidInputError(f"seed is {self.seed}: expected 0 to {MOST_SEED}")
        check_steps(self.steps)
        check_guidance(self.guidance)


def check_steps(steps: int | None) -> None:
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise InvalidInputError(f"steps is {steps}: expected 1 to {MOST_STEPS}")


def check_guidance(guidance: float | None) -> None:
    if guidance is not None and not 0 <= guidance <= MOST_GUIDANCE:
        raise InvalidInputError(f"guidance is {guidance}: expected 0 to {MOST_GUIDANCE:g}")


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` may start over once, when memory ran out and the picture is made in a thriftier way."""

    done: int
    total: int
    preview: Callable[[], Pixels]  # what the picture looks like so far; computed only when called


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """What a picture was made with. `warnings` say in words what differs from what was asked, and why.

    `safety_checked`: the model has a checker, and it did not object. False means that nothing was checked.
    """

    device: str = "cpu"
    dtype: str = "float32"
    offload: str = "none"
    scheduler: str = ""
    adapters: tuple[str, ...] = ()
    safety_checked: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """`pixels` as the generator drew them; an enlarged picture is said to be one."""

    pixels: Pixels
    model_id: str
    seed: int
    steps: int
    guidance: float
    info: GenerationInfo = GenerationInfo()


class Generator(Protocol):
    """Safe to call from several threads; nothing of one call is seen by another."""

    @property
    def model_id(self) -> str: ...

    @property
    def licence(self) -> str: ...

    def generate(self, request: GenerationRequest, on_step: Callable[[Progress], None] = ...) -> Generated:
        """`on_step` is called after each step; what it raises ends the work and is passed on, to cancel.

        Raises:
            InvalidInputError: What is asked for is not possible with this model.
            UnsafePictureError: The model's own checker objects to what was drawn.
            UnavailableError: Something is not installed, or there is not enough memory.
        """
