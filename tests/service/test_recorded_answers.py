"""The answers that an older version gave, asked for again: see tests/golden/answers."""

import dataclasses
from pathlib import Path

import pytest

from tests.golden.answers.__main__ import KEPT, KEPT_STORES, read_steps, report
from tests.golden.answers.comparing import Difference, Verdict, compare, verdict_of
from tests.golden.answers.replay import Step, let_learn, session
from tests.golden.answers.stores import make_store

# Vectors are kept in float16: where another processor rounds one the other way, scores move by so much.
TOLERANCE = 2e-4


@pytest.mark.parametrize("name", KEPT_STORES)
def test_a_store_answers_as_it_did(tmp_path: Path, name: str) -> None:
    old = [step for step in read_steps(KEPT) if step.store == name]
    store = make_store(tmp_path, name)
    if store.learns:
        let_learn(store)
    with session(store) as asking:
        new = asking.again(old)
    found = [(step, compare(step, now, TOLERANCE)) for step, now in zip(old, new, strict=True)]
    different = [report(*pair) for pair in found if verdict_of(pair[1]) == Verdict.DIFFERENT]
    assert len(old) >= 30
    assert not different, "".join(different)


def hits(*ids_and_scores: tuple[int, float | None], cursor: str | None = None, **fields: object) -> Step:
    body: dict[str, object] = {
        "hits": [{"id": i, "score": score} for i, score in ids_and_scores],
        "cursor": cursor,
        **fields,
    }
    return Step("plain", 0, "POST", "/search", {}, None, 200, body)


def verdict(old: Step, new: Step, tolerance: float = 1e-6) -> Verdict:
    return verdict_of(compare(old, new, tolerance))


ANSWER = hits((1, 0.9), (2, 0.5), (3, 0.5), (4, 0.1))


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (hits((1, 0.9), (2, 0.5), (3, 0.5), (4, 0.1)), Verdict.IDENTICAL),
        (hits((1, 0.9), (2, 0.5), (3, 0.5000001), (4, 0.1)), Verdict.ROUNDED),
        (hits((1, 0.9), (3, 0.5), (2, 0.5), (4, 0.1)), Verdict.TIED),
        (hits((2, 0.9), (1, 0.5), (3, 0.5), (4, 0.1)), Verdict.DIFFERENT),
        (hits((1, 0.9), (2, 0.5), (3, 0.5), (4, 0.2)), Verdict.DIFFERENT),
        (hits((1, 0.9), (2, 0.5), (3, 0.5), (5, 0.1)), Verdict.DIFFERENT),
        (hits((1, 0.9), (2, 0.5), (3, 0.5)), Verdict.DIFFERENT),
        (hits((1, 0.9), (2, 0.5), (3, 0.5), (4, None)), Verdict.DIFFERENT),
        (hits((1, 0.9), (2, 0.5), (3, 0.5), (4, 0.1), cursor="more"), Verdict.DIFFERENT),
    ],
)
def test_only_pictures_of_one_score_may_change_places(new: Step, expected: Verdict) -> None:
    assert verdict(ANSWER, new) == expected


def test_which_of_equal_ones_come_on_this_page_is_free_where_another_page_comes() -> None:
    old, new = (hits((1, 0.9), (last, 0.5), cursor="more") for last in (2, 3))
    assert verdict(old, new) == Verdict.TIED
    follows = dataclasses.replace(hits((2, 0.5), (4, 0.1)), cursor_of=0)
    assert verdict(follows, hits((3, 0.5), (4, 0.1))) == Verdict.TIED
    assert verdict(hits((2, 0.5), (4, 0.1)), hits((3, 0.5), (4, 0.1))) == Verdict.DIFFERENT


def test_a_field_may_have_its_new_name_and_new_fields_may_come() -> None:
    old, new = hits(index={"generation": 3, "images": 9}), hits(index={"version": 3, "images": 9, "more": 1})
    assert verdict(old, new) == Verdict.IDENTICAL
    assert compare(old, hits(index={"version": 4, "images": 9}), 0) == [
        Difference(Verdict.DIFFERENT, ".index.generation", 3, 4)
    ]
    assert verdict(old, hits(index={"images": 9})) == Verdict.DIFFERENT


def test_another_status_is_another_answer() -> None:
    assert verdict(ANSWER, dataclasses.replace(ANSWER, status=422)) == Verdict.DIFFERENT
