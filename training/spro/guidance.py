"""What a Guider is asked and what it answers: a plan, then a prompt for the generator.

    Step1_Plan: …            at most six such lines
    Step2_Plan: …
    Caption: …               at most sixty words

An answer of another form is refused with a reason, and never repaired: what is trained is what was said.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jaxtyping import UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError, KallosError

Objective = Literal["aesthetic", "preference", "engagement"]
OBJECTIVES: tuple[Objective, ...] = ("aesthetic", "preference", "engagement")
MOST_WORDS = 60
MOST_STEPS = 6
CAPTION = "Caption:"
STEP = re.compile(r"^Step\d+_Plan:", re.MULTILINE)


class MalformedAnswerError(KallosError):
    """The answer of a Guider has not the form that was asked for; `reason` is one of a few words."""

    code = "malformed_answer"

    def __init__(self, reason: str, answer: str) -> None:
        super().__init__(f"{reason}: {answer!r}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """`picture` is what the caption gives by itself; a Guider that sees nothing ignores it."""

    caption: str
    picture: UInt8[ndarray, "h w 3"] | None
    objective: Objective

    def __post_init__(self) -> None:
        if not self.caption.strip():
            raise InvalidInputError("an empty caption: expected words")
        if self.objective not in OBJECTIVES:
            raise InvalidInputError(f"objective {self.objective!r}: expected {', '.join(OBJECTIVES)}")


@dataclass(frozen=True, slots=True)
class Answer:
    """As it was written, the words that it was begun with included; `ended`: by the model itself."""

    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Guidance:
    plan: str
    prompt: str


class Guider(Protocol):
    @property
    def model_id(self) -> str: ...

    @property
    def sees_pictures(self) -> bool: ...

    def write(
        self, requests: Sequence[Request], temperatures: Sequence[float], seeds: Sequence[int]
    ) -> list[Answer]:
        """One answer a request, sampled with its own temperature and seed; temperature 0 is greedy.

        The same requests with the same seeds give the same answers. No global randomness.
        """


def parse(answer: Answer) -> Guidance:
    """Raises MalformedAnswerError: no caption, an empty or too long one, too long a plan, or cut off."""
    if not answer.ended:
        raise MalformedAnswerError("cut off", answer.text)
    plan, found, rest = answer.text.partition(CAPTION)
    if not found:
        raise MalformedAnswerError("no caption", answer.text)
    prompt = " ".join(rest.split())
    if not prompt:
        raise MalformedAnswerError("empty caption", answer.text)
    if CAPTION in prompt or STEP.search(rest):
        raise MalformedAnswerError("goes on after the caption", answer.text)
    if len(prompt.split()) > MOST_WORDS:
        raise MalformedAnswerError(f"over {MOST_WORDS} words", answer.text)
    if len(STEP.findall(plan)) > MOST_STEPS:
        raise MalformedAnswerError(f"over {MOST_STEPS} steps", answer.text)
    return Guidance(plan.strip(), prompt)
