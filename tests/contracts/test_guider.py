"""The law of `training.spro.guidance.Guider` and of `preference.TrainableGuider`: with eyes and without."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.support.threads import one_thread as one_thread
from tests.support.tiny_guider import WORDS, write_text_model, write_vision_model
from training.policies.options import Adapter
from training.spro.guidance import Answer, Request
from training.spro.instructions import OPENING
from training.spro.language import logp_sum_B
from training.spro.preference import TrainableGuider
from training.spro.text_guider import TextGuider
from training.spro.vision_guider import VisionGuider

HEAD = Adapter(rank=4, alpha=4.0, targets=("lm_head",))
ATTENTION = Adapter(rank=4, alpha=4.0, targets=("q_proj", "v_proj"))
MOST_TOKENS = 12
ANSWERS = [
    Answer(f"{OPENING} calm{WORDS[1]} {colour} sun", ended=True) for colour in ("red", "blue", "black", "red")
]
Make = Callable[..., TrainableGuider]
every_kind = pytest.mark.parametrize("kind", ["text", "vision"])


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    text = write_text_model(tmp_path_factory.mktemp("text"))
    vision = write_vision_model(tmp_path_factory.mktemp("vision"))

    def guider(
        kind: str, *, batch: int = 8, most_tokens: int = MOST_TOKENS, trains: bool = True
    ) -> TrainableGuider:
        if kind == "text":
            return TextGuider(
                f"local:{text}",
                adapter=HEAD if trains else None,
                most_tokens=most_tokens,
                batch=batch,
                seed=0,
            )
        adapter = ATTENTION if trains else None
        return VisionGuider(str(vision), adapter=adapter, most_tokens=most_tokens, batch=batch, seed=0)

    return guider


def request(seed: int, caption: str = "sun") -> Request:
    picture = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    return Request(caption, picture, "aesthetic")


REQUESTS = [request(0), request(1, "a house that is taller than it is wide"), request(0), request(2)]
SEEDS = [3, 1, 3, 5]


@every_kind
def test_each_request_has_an_answer_that_begins_as_asked(make: Make, kind: str) -> None:
    answers = make(kind).write(REQUESTS, [1.0] * 4, SEEDS)
    assert len(answers) == len(REQUESTS)
    assert all(answer.text.startswith(OPENING) for answer in answers)
    assert make(kind).write([], [], []) == []


@every_kind
def test_an_answer_depends_on_its_request_and_seed_and_on_no_neighbour(make: Make, kind: str) -> None:
    together = make(kind).write(REQUESTS, [1.0] * 4, SEEDS)
    assert together[0] == together[2]
    assert make(kind, batch=1).write(REQUESTS[1:], [1.0] * 3, SEEDS[1:]) == together[1:]
    assert make(kind).write(REQUESTS[::-1], [1.0] * 4, SEEDS[::-1]) == together[::-1]


@every_kind
def test_another_seed_gives_another_answer_but_for_temperature_zero(make: Make, kind: str) -> None:
    one = make(kind)
    drawn = one.write([REQUESTS[0]] * 16, [1.0] * 16, range(16))
    assert len({answer.text for answer in drawn}) > 1
    greedy = one.write([REQUESTS[0]] * 4, [0.0] * 4, range(4))
    assert len({answer.text for answer in greedy}) == 1


@every_kind
def test_it_neither_reads_nor_changes_global_randomness(make: Make, kind: str) -> None:
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is what is looked at
        before, before_numpy = torch.random.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
        answers.append(make(kind).write(REQUESTS, [1.0] * 4, SEEDS))
        assert torch.equal(torch.random.get_rng_state(), before)
        np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before_numpy)  # noqa: NPY002
    assert answers[0] == answers[1]


@every_kind
def test_who_is_stopped_has_not_ended(make: Make, kind: str) -> None:
    (answer,) = make(kind, most_tokens=1).write(REQUESTS[:1], [0.0], [0])
    assert not answer.ended
    assert answer.text.startswith(OPENING)


@every_kind
def test_the_picture_counts_for_one_that_sees_pictures_alone(make: Make, kind: str) -> None:
    guider = make(kind)
    one, same, other = logp_sum_B(
        guider.score([request(0), request(0), request(1)], [ANSWERS[0]] * 3)
    ).tolist()
    assert one == pytest.approx(same)
    assert (abs(one - other) > 1e-4) == guider.sees_pictures


@every_kind
def test_what_it_thinks_of_an_answer_depends_on_no_neighbour_and_is_the_same_again(
    make: Make, kind: str
) -> None:
    guider = make(kind)
    together = logp_sum_B(guider.score(REQUESTS, ANSWERS)).tolist()
    assert logp_sum_B(guider.score(REQUESTS, ANSWERS)).tolist() == together  # no dropout
    alone = [
        logp_sum_B(guider.score([one], [answer])).item()
        for one, answer in zip(REQUESTS, ANSWERS, strict=True)
    ]
    assert together == pytest.approx(alone, rel=1e-4, abs=1e-3)
    assert max(together) < 0  # log-probabilities


@every_kind
def test_a_step_along_the_gradient_raises_the_score(make: Make, kind: str) -> None:
    guider = make(kind)
    before = logp_sum_B(guider.score(REQUESTS[:1], ANSWERS[:1]))
    before.sum().backward()
    with torch.no_grad():
        for _, weight in guider.trainable():
            if weight.grad is not None:  # LLaVA leaves the last layer of its vision tower out
                weight.add_(weight.grad, alpha=1e-3)
    assert logp_sum_B(guider.score(REQUESTS[:1], ANSWERS[:1])).item() > before.item()


@every_kind
def test_what_is_trained_has_names_in_a_fixed_order_and_nothing_is_without_an_adapter(
    make: Make, kind: str
) -> None:
    names = [name for name, _ in make(kind).trainable()]
    assert names == [name for name, _ in make(kind).trainable()]
    assert len(set(names)) == len(names) > 0
    assert list(make(kind, trains=False).trainable()) == []


@every_kind
def test_one_model_has_one_name(make: Make, kind: str) -> None:
    assert make(kind).model_id == make(kind).model_id != ""
