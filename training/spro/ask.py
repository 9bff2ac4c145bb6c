"""A Guider asked until it keeps to the form, or its tries are used up; failures are kept and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.spro.guidance import Answer, Guidance, Guider, MalformedAnswerError, Request, parse


@dataclass(frozen=True, slots=True)
class Failure:
    reason: str
    text: str


@dataclass(slots=True)
class GuiderOutput:
    """`guidance` and `answer` are None where every try failed."""

    guidance: Guidance | None = None
    answer: Answer | None = None
    failures: list[Failure] = field(default_factory=list)


def ask(
    guider: Guider,
    requests: Sequence[Request],
    temperatures: Sequence[float],
    tries: int,
    seed: Sequence[int],
) -> list[GuiderOutput]:
    """One for each request. Try n of request i is sampled from (seed, n, i): again gives the same."""
    told = [GuiderOutput() for _ in requests]
    for turn in range(tries):
        open_ = [i for i, one in enumerate(told) if one.guidance is None]
        if not open_:
            break
        answers = guider.write(
            [requests[i] for i in open_],
            [temperatures[i] for i in open_],
            [seed_of(*seed, turn, i) for i in open_],
        )
        for i, answer in zip(open_, answers, strict=True):
            try:
                told[i].guidance, told[i].answer = parse(answer), answer
            except MalformedAnswerError as error:
                told[i].failures.append(Failure(error.reason, answer.text))
    return told


def seed_of(*parts: int) -> int:
    """One number of several, alike for the same ones only."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
