"""SPRO-Image: the generator itself learns to draw a plain caption as it drew the winner.

    flow        E ‖ v_θ(x_t, t, p_0) − (n − x_0) ‖²,    x_t = (1 − t) x_0 + t n,           t = sigmoid(normal)
    diffusion   E ‖ ε_θ(x_s, s, p_0) − n ‖²,            x_s = √ᾱ_s x_0 + √(1 − ᾱ_s) n,     s uniform

with x_0 the latents of the winner's picture and p_0 the caption as it was, not the winner's prompt. Rounds
follow one another: each goes on from the one before, on its own winners.

Reference       SPRO (OpenReview A4JiifkTzq), section on SPRO-Image; t as in arXiv:2403.03206
Departures      docs/spro.md

Dimension key   B pictures, K H W latents, S training timesteps
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.diffusion.ddim import scaled_linear
from training.policies.policy import Conditioning, Policy
from training.policy_gradient.checkpoint import load_weights
from training.run_folder import read_rows
from training.spro.config import ImageConfig
from training.spro.files import finished_rounds, round_folder
from training.spro.select import KEPT

WEAK = "weak gain"


@dataclass(frozen=True, slots=True)
class Winners:
    captions: tuple[str, ...]
    latent_BKHW: Float[Tensor, "b k h w"]


def winners_of(out: Path) -> list[Winners]:
    """Of each round that trained a Guider: all that look like their plain picture, weak gains too."""
    found = []
    for number in finished_rounds(out):
        folder = round_folder(out, number)
        latent_NRKHW = load_weights(folder / "winners.safetensors")["latent"]
        rows = read_rows(folder / "audit.jsonl")
        chosen = [n for n, row in enumerate(rows) if row["verdict"] in (KEPT, WEAK)]
        draws = latent_NRKHW.shape[1]
        captions = tuple(rows[n]["caption"] for n in chosen for _ in range(draws))
        found.append(Winners(captions, latent_NRKHW[chosen].flatten(0, 1)))
    return found


def denoising_loss(
    policy: Policy, clean_BKHW: Float[Tensor, "b k h w"], known: Conditioning, rng: torch.Generator
) -> Float[Tensor, ""]:
    """The mean of one draw of noise and time for each picture."""
    noise_BKHW = torch.randn(clean_BKHW.shape, generator=rng).to(clean_BKHW.device)
    if policy.kind == "flow":
        t_B = torch.sigmoid(torch.randn(len(clean_BKHW), generator=rng)).to(clean_BKHW.device)
        t_B111 = t_B[:, None, None, None]
        x_BKHW = (1 - t_B111) * clean_BKHW + t_B111 * noise_BKHW
        target_BKHW = noise_BKHW - clean_BKHW
    else:
        abar_S = scaled_linear()
        s_B = torch.randint(len(abar_S), (len(clean_BKHW),), generator=rng)
        abar_B111 = abar_S[s_B].float().to(clean_BKHW.device)[:, None, None, None]
        x_BKHW = abar_B111.sqrt() * clean_BKHW + (1 - abar_B111).sqrt() * noise_BKHW
        t_B, target_BKHW = s_B.float().to(clean_BKHW.device), noise_BKHW
    return (policy.predict(x_BKHW, t_B, known) - target_BKHW).square().mean()


def tune(
    policy: Policy,
    winners: Winners,
    config: ImageConfig,
    seed: Sequence[int],
    on_epoch: Callable[[dict[str, Any]], None] = lambda _row: None,
) -> None:
    """Change `policy`, which must mix in no guidance: it learns what it predicts by itself.

    Captions are encoded once, and stay on the device.
    """
    weights = [weight for _, weight in policy.trainable()]
    optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=0.0)
    order_rng = np.random.default_rng((*seed, 0))
    noise_rng = torch.Generator().manual_seed(int(np.random.default_rng((*seed, 1)).integers(2**62)))
    captions = sorted(set(winners.captions))
    known = policy.encode(captions)
    place_B = torch.tensor([captions.index(caption) for caption in winners.captions])
    for epoch in range(config.epochs):
        losses = []
        order = order_rng.permutation(len(winners.captions)).tolist()
        for first in range(0, len(order), config.batch):
            chosen = order[first : first + config.batch]
            clean_BKHW = winners.latent_BKHW[chosen].to(policy.device)
            told = known.rows(place_B[chosen].to(policy.device))
            loss = denoising_loss(policy, clean_BKHW, told, noise_rng)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        on_epoch({"epoch": epoch, "loss": float(np.mean(losses))})
