"""Both kinds of Guider: what they sample, what they think of an answer, and what a gradient changes."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from indexer.errors import InvalidInputError, UnavailableError
from tests.support.tiny_guider import SURE
from training.policies.options import Adapter
from training.spro.guidance import Answer, Request
from training.spro.instructions import OPENING
from training.spro.language import GumbelNoise, Scored, kl_mean, logp_sum_B
from training.spro.text_guider import TextGuider
from training.spro.vision_guider import VisionGuider

HEAD = Adapter(rank=4, alpha=4.0, targets=("lm_head",))
SUN = Request("sun", None, "aesthetic")
SHORT = Request("a house that is taller than it is wide", None, "aesthetic")


def text_guider(folder: Path, batch: int = 64, adapter: Adapter | None = HEAD) -> TextGuider:
    return TextGuider(f"local:{folder}", adapter=adapter, most_tokens=12, batch=batch, seed=0)


def test_gumbel_noise_draws_from_the_softmax() -> None:
    score_V = torch.tensor([0.0, 1.0, 2.0])
    draws = 4000
    noise = GumbelNoise([0.5] * draws, list(range(draws)))
    drawn = noise(torch.zeros(draws, 1), score_V.repeat(draws, 1)).argmax(-1)
    share_V = torch.bincount(drawn, minlength=3) / draws
    wanted_V = torch.softmax(score_V / 0.5, 0)
    # Four standard errors of a share.
    assert ((share_V - wanted_V).abs() < 4 * (wanted_V * (1 - wanted_V) / draws).sqrt()).all()


def test_temperature_zero_is_greedy() -> None:
    score = torch.tensor([[0.0, 3.0, 1.0]])
    assert torch.equal(GumbelNoise([0.0], [1])(torch.zeros(1, 1), score), score)


def test_answers_follow_the_models_own_probabilities(text_model: Path) -> None:
    answers = text_guider(text_model).write([SUN] * 300, [1.0] * 300, range(300))
    counts = Counter(answer.text.removeprefix(OPENING) for answer in answers)
    assert set(counts) == {" calm", *(f" calm\nCaption: {colour} sun" for colour in ("red", "blue", "black"))}
    for share in (n / 300 for n in counts.values()):
        assert abs(share - 0.25) < 4 * math.sqrt(
            0.25 * 0.75 / 300
        )  # 1/4 without a caption, a third of 3/4 each
    assert all(answer.ended for answer in answers)


def test_so_many_tokens_are_written_and_no_more(text_model: Path) -> None:
    guider = TextGuider(f"local:{text_model}", adapter=None, most_tokens=2, batch=4, seed=0)
    assert guider.write([SUN], [0.0], [0]) == [Answer(OPENING + " calm\nCaption:", ended=False)]


def test_a_log_probability_is_of_the_answers_tokens_alone(text_model: Path) -> None:
    answer = Answer(OPENING + " calm\nCaption: red sun", ended=True)
    scored = text_guider(text_model).score([SUN, SHORT], [answer, answer])
    vocabulary = scored.logit_BLV.shape[-1]

    def certain(logit: float, *beside: float) -> float:
        rest = vocabulary - 1 - len(beside)
        return logit - math.log(math.exp(logit) + sum(map(math.exp, beside)) + rest)

    third, full, most, least = (SURE + math.log(share) for share in (1 / 3, 1, 0.75, 0.25))
    # calm, Caption:, red, sun, and the end.
    wanted = certain(full) + certain(most, least) + certain(third, third, third) + 2 * certain(full)
    assert logp_sum_B(scored).tolist() == pytest.approx([wanted] * 2, abs=1e-3)


def test_reading_common_words_once_changes_no_gradient(text_model: Path) -> None:
    guider = text_guider(text_model)
    answers = [
        Answer(OPENING + text, ended=True) for text in (" calm\nCaption: red sun", " calm", " calm red")
    ]
    requests = [SUN, SHORT, SUN]
    weights = [weight for _, weight in guider.trainable()]
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.1)
    together = torch.autograd.grad(logp_sum_B(guider.score(requests, answers)).sum(), weights)
    # The same three with nothing in common: one by one, and each read whole.
    alone = [logp_sum_B(guider.score([one], [answer])) for one, answer in zip(requests, answers, strict=True)]
    apart = torch.autograd.grad(torch.cat(alone).sum(), weights)
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_rank_of_zero_trains_the_whole_model(text_model: Path) -> None:
    whole = text_guider(text_model, adapter=Adapter(rank=0)).trainable()
    assert {name for name, _ in whole} >= {"lm_head.weight", "model.embed_tokens.weight"}


def test_unknown_layers_are_refused(text_model: Path) -> None:
    with pytest.raises(InvalidInputError, match="nowhere"):
        text_guider(text_model, adapter=Adapter(targets=("nowhere",)))


def test_kl_is_zero_to_itself_and_by_hand_for_two_tokens() -> None:
    is_token = torch.tensor([[True, False]])
    token = torch.zeros(1, 2, dtype=torch.long)
    own = Scored(torch.log(torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])), token, is_token)
    other = Scored(torch.log(torch.tensor([[[0.25, 0.75], [0.1, 0.9]]])), token, is_token)
    assert kl_mean(own, own) == pytest.approx(0)
    # The second place is no token of the answer.
    assert kl_mean(own, other) == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))


def test_a_vision_model_that_is_not_here_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no vision-language model"):
        VisionGuider(str(tmp_path / "none"), adapter=None, most_tokens=1, batch=1, seed=0)
