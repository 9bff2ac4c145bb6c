"""What pictures are asked for, checked."""

import secrets
from dataclasses import asdict, dataclass, replace

from indexer.errors import InvalidInputError
from indexer.types import JSONValue
from rerank.generate.request import GenerationRequest

MOST_PICTURES = 10  # of one request
SMALLEST_SIDE, LARGEST_SIDE = 16, 2048  # pixels
DRAWN_BELOW = 2**32  # seeds that are drawn: JavaScript and other tools can hold them


@dataclass(frozen=True, slots=True)
class GenerationSpec:
    """`count` pictures: the first from `seed`, each other from the seed after it. None: a seed is drawn.

    `width` and `height` are those of the finished file. A generator draws at its own size, and the picture is
    enlarged or reduced to fit into them: never cropped, never distorted. None: as drawn, but at least 512.

    Raises InvalidInputError: a value that no generator can draw.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    count: int = 1

    def __post_init__(self) -> None:
        try:
            (self.prompt + self.negative_prompt).encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"the prompt is not text: {error.reason}") from error
        if not 1 <= self.count <= MOST_PICTURES:
            raise InvalidInputError(f"count is {self.count}: expected 1 to {MOST_PICTURES}")
        if (self.width is None) != (self.height is None):
            raise InvalidInputError("width and height belong together: expected both or none")
        for name, side in (("width", self.width), ("height", self.height)):
            if side is not None and not SMALLEST_SIDE <= side <= LARGEST_SIDE:
                raise InvalidInputError(
                    f"{name} is {side}: expected {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
                )
        for part in (0, self.count - 1):
            self.request(part)

    def request(self, part: int) -> GenerationRequest:
        """What the generator is asked for picture number `part`, from 0."""
        return GenerationRequest(
            self.prompt, (self.seed or 0) + part, self.steps, self.guidance, self.negative_prompt
        )

    def seeded(self) -> "GenerationSpec":
        """With a seed, drawn where none was given."""
        return self if self.seed is not None else replace(self, seed=secrets.randbelow(DRAWN_BELOW))

    def to_json(self) -> dict[str, JSONValue]:
        return asdict(self)

    @classmethod
    def of_json(cls, values: dict[str, JSONValue]) -> "GenerationSpec":
        """What `to_json` gave, from a job's row."""
        return cls(**values)  # type: ignore[arg-type]  # written by `to_json`


def side_lengths(size: str) -> tuple[int, int]:
    """`512x384` → (512, 384)."""
    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and len(size) <= 20):
        raise InvalidInputError(f"size is {size[:40]!r}: expected WIDTHxHEIGHT in pixels, such as 512x512")
    return int(width), int(height)
