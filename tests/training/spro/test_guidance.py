"""Answers of a Guider: the form that is kept to, what is refused and why, and how often it is asked."""

from collections.abc import Sequence

import pytest

from indexer.errors import InvalidInputError
from training.spro.ask import ask
from training.spro.guidance import MOST_WORDS, Answer, MalformedAnswerError, Request, parse
from training.spro.instructions import system

PLAN = "Step1_Plan: one cat.\nStep2_Plan: calm colours.\n"


def test_a_plan_and_a_prompt_are_told_apart() -> None:
    found = parse(Answer(PLAN + "Caption: a cat,\n on blue ", ended=True))
    assert found.plan == PLAN.strip()
    assert found.prompt == "a cat, on blue"


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        (PLAN, True, "no caption"),
        (PLAN + "Caption: \n", True, "empty caption"),
        (PLAN + "Caption: a cat", False, "cut off"),
        (PLAN + "Caption:" + " cat" * (MOST_WORDS + 1), True, "over 60 words"),
        ("".join(f"Step{n}_Plan: on.\n" for n in range(1, 8)) + "Caption: a cat", True, "over 6 steps"),
        (PLAN + "Caption: a cat\nStep3_Plan: more", True, "goes on after the caption"),
        (PLAN + "Caption: a cat\nCaption: a dog", True, "goes on after the caption"),
    ],
)
def test_other_forms_are_refused_with_a_reason(text: str, ended: bool, reason: str) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        parse(Answer(text, ended))
    assert caught.value.reason == reason


def test_the_longest_prompt_and_plan_are_let_pass() -> None:
    plan = "".join(f"Step{n}_Plan: on.\n" for n in range(1, 7))
    assert len(parse(Answer(plan + "Caption:" + " cat" * MOST_WORDS, True)).prompt.split()) == MOST_WORDS


@pytest.mark.parametrize(("caption", "objective"), [(" ", "aesthetic"), ("a cat", "fame")])
def test_a_request_needs_words_and_a_known_objective(caption: str, objective: str) -> None:
    with pytest.raises(InvalidInputError):
        Request(caption, None, objective)  # type: ignore[arg-type]  # what is tested


def test_each_objective_has_words_of_its_own_and_looking_is_asked_of_those_who_see() -> None:
    told = {system(name, sees_pictures=False) for name in ("aesthetic", "preference", "engagement")}
    assert len(told) == 3
    assert "Look at the picture" not in "".join(told)
    assert "Look at the picture" in system("aesthetic", sees_pictures=True)


class Stubborn:
    """Keeps to the form at the n-th time that a caption comes, where the caption is n."""

    model_id, sees_pictures = "stubborn", False

    def __init__(self) -> None:
        self.asked: dict[str, list[int]] = {}

    def write(
        self, requests: Sequence[Request], temperatures: Sequence[float], seeds: Sequence[int]
    ) -> list[Answer]:
        answers = []
        for request, seed in zip(requests, seeds, strict=True):
            turns = self.asked.setdefault(request.caption, [])
            turns.append(seed)
            good = len(turns) == int(request.caption)
            answers.append(Answer("Caption: well" if good else "no", ended=True))
        return answers


def test_who_fails_is_asked_again_with_another_seed_and_the_failures_are_kept() -> None:
    guider = Stubborn()
    requests = [Request(text, None, "aesthetic") for text in ("1", "2", "9")]
    first, second, never = ask(guider, requests, [1.0] * 3, tries=3, seed=(7,))
    assert [len(guider.asked[text]) for text in ("1", "2", "9")] == [1, 2, 3]
    assert len(set(guider.asked["9"])) == 3
    assert first.guidance is not None
    assert second.guidance is not None
    assert first.failures == []
    assert [failure.reason for failure in second.failures] == ["no caption"]
    assert never.guidance is None
    assert len(never.failures) == 3
