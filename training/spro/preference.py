"""A Guider learns from pairs of its own answers; the reference is the Guider before the round.

    log π_ref of every pair → epochs of { batch → margins → loss → step } → what has changed, in one record

Departures: docs/spro.md, which also says why this is not trl's trainer.

Dimension key   B pairs
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.objectives.dpo import loss_of, margin
from training.spro.config import PreferenceConfig
from training.spro.guidance import Answer, Guider, Request
from training.spro.language import Scored, kl_mean, logp_sum_B


@dataclass(frozen=True, slots=True)
class Pair:
    request: Request
    winner: Answer
    loser: Answer


class TrainableGuider(Guider, Protocol):
    def score(self, requests: Sequence[Request], answers: Sequence[Answer]) -> Scored:
        """What the model thinks of answers, begun words left out; differentiable, without dropout."""

    def trainable(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        """Named weights that an optimiser changes, in a fixed order."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """`accuracy` is the share of pairs with a positive margin; means over the batch."""

    epoch: int
    loss: float
    margin: float
    accuracy: float
    grad_norm: float


def train(
    guider: TrainableGuider,
    pairs: Sequence[Pair],
    config: PreferenceConfig,
    rng: np.random.Generator,
    on_step: Callable[[dict[str, Any]], None] = lambda _row: None,
) -> dict[str, float]:
    """Change `guider`; returns margin, accuracy and KL to the reference over all pairs afterwards."""
    weights = [weight for _, weight in guider.trainable()]
    reference = {name: weight.detach().clone() for name, weight in guider.trainable()}
    ref_w, ref_l = _log_probabilities(guider, pairs, config.rows)
    optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=0.0)
    for epoch in range(config.epochs):
        order = rng.permutation(len(pairs)).tolist()
        for first in range(0, len(order), config.batch):
            chosen = order[first : first + config.batch]
            margin_B = _accumulate(guider, pairs, chosen, ref_w, ref_l, config)
            norm = torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            on_step(asdict(_record(epoch, margin_B, float(norm))))
    return _afterwards(guider, pairs, reference, ref_w, ref_l, config)


def _accumulate(
    guider: TrainableGuider,
    pairs: Sequence[Pair],
    chosen: Sequence[int],
    ref_w: Tensor,
    ref_l: Tensor,
    config: PreferenceConfig,
) -> Float[Tensor, " b"]:
    """Gradients of the batch's mean loss, a few rows at a time; returns the margins."""
    margins = []
    per_pass = max(1, config.rows // 2)
    for first in range(0, len(chosen), per_pass):
        part = list(chosen[first : first + per_pass])
        logp_w, logp_l = _pass(guider, [pairs[i] for i in part])
        margin_B = margin(logp_w, logp_l, ref_w[part], ref_l[part], config.beta)
        (loss_of(margin_B).sum() / len(chosen)).backward()
        margins.append(margin_B.detach())
    return torch.cat(margins)


def _pass(guider: TrainableGuider, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    logp_w, logp_l = logp_sum_B(guider.score(*_both(pairs))).chunk(2)
    return logp_w, logp_l


def _both(pairs: Sequence[Pair]) -> tuple[list[Request], list[Answer]]:
    """Winners first, then losers."""
    requests = [pair.request for pair in pairs]
    return [*requests, *requests], [*(pair.winner for pair in pairs), *(pair.loser for pair in pairs)]


@torch.no_grad()
def _log_probabilities(
    guider: TrainableGuider, pairs: Sequence[Pair], rows: int
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    per_pass = max(1, rows // 2)
    parts = [_pass(guider, pairs[first : first + per_pass]) for first in range(0, len(pairs), per_pass)]
    return torch.cat([w for w, _ in parts]), torch.cat([lost for _, lost in parts])


@torch.no_grad()
def _afterwards(
    guider: TrainableGuider,
    pairs: Sequence[Pair],
    reference: dict[str, Tensor],
    ref_w: Tensor,
    ref_l: Tensor,
    config: PreferenceConfig,
) -> dict[str, float]:
    """One more pass with the new weights, and one with the old, for the KL of the winners' tokens."""
    trained = {name: weight.detach().clone() for name, weight in guider.trainable()}
    logp_w, logp_l, kls = [], [], []
    for first in range(0, len(pairs), per_pass := max(1, config.rows // 2)):
        requests, answers = _both(pairs[first : first + per_pass])
        new = guider.score(requests, answers)
        _put(guider, reference)
        kls.append(kl_mean(new, guider.score(requests, answers)))
        _put(guider, trained)
        won, lost = logp_sum_B(new).chunk(2)
        logp_w.append(won)
        logp_l.append(lost)
    margin_B = margin(torch.cat(logp_w), torch.cat(logp_l), ref_w, ref_l, config.beta)
    return {
        "margin": float(margin_B.mean()),
        "accuracy": float((margin_B > 0).float().mean()),
        "kl": float(np.mean(kls)),  # of passes, which differ little in size
    }


@torch.no_grad()
def _put(guider: TrainableGuider, values: dict[str, Tensor]) -> None:
    for name, weight in guider.trainable():
        weight.copy_(values[name])


def _record(epoch: int, margin_B: Float[Tensor, " b"], norm: float) -> StepRecord:
    return StepRecord(
        epoch,
        float(loss_of(margin_B).mean()),
        float(margin_B.mean()),
        float((margin_B > 0).float().mean()),
        norm,
    )
