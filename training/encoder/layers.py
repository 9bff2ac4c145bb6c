"""The layers of a head, fitted by gradient descent: a linear map, and hidden units beside it.

    v = W h + c + U dropout(gelu(K h + k)) + u

All but K and k begin at zero, so that v = b before the first step: `indexer.encoders.builtin`.

Dimension key   N pictures, V views of each, Q captions, B batch, H head input, K hidden units, T text
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nn
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from numpy.random import Generator
from torch import Tensor

from training.encoder.recipe import (
    BATCH,
    HIDDEN_DROPOUT,
    INPUT_DROPOUT,
    PEAK_RATE,
    SAME_TEXT,
    SCALE,
    Recipe,
)

FAR = -1e4  # the logit of a caption that does not count


@dataclass(frozen=True, slots=True)
class Layers:
    """What is fitted by gradient descent; the names are those of `Head`."""

    weight_TH: Float32[ndarray, "t h"]
    bias_T: Float32[ndarray, " t"]
    hidden_KH: Float32[ndarray, "k h"]
    hidden_bias_K: Float32[ndarray, " k"]
    output_TK: Float32[ndarray, "t k"]


@dataclass(frozen=True, slots=True)
class Examples:
    """Pictures, each with at least one caption; the caption q is one of the picture `picture_Q[q]`."""

    input_NVH: Float32[ndarray, "n v h"]
    meaning_NVT: Float32[ndarray, "n v t"]
    is_photograph_N: Bool[ndarray, " n"]
    text_QT: Float32[ndarray, "q t"]
    picture_Q: Int64[ndarray, " q"]


class Network(torch.nn.Module):
    """Without hidden units their two layers are None: torch warns of layers without numbers."""

    def __init__(self, n_inputs: int, n_hidden: int, n_texts: int) -> None:
        super().__init__()
        self.linear = zeros(n_inputs, n_texts)
        self.hidden = torch.nn.Linear(n_inputs, n_hidden) if n_hidden else None
        self.output = zeros(n_hidden, n_texts) if n_hidden else None

    def forward(self, input_BH: Tensor) -> Tensor:
        given_BH = nn.dropout(input_BH, INPUT_DROPOUT, self.training)
        learned_BT: Tensor = self.linear(given_BH)
        if self.hidden is None or self.output is None:
            return learned_BT
        hidden_BK = nn.gelu(self.hidden(given_BH), approximate="tanh")
        return learned_BT + self.output(nn.dropout(hidden_BK, HIDDEN_DROPOUT, self.training))

    def layers(self) -> Layers:
        weight_TH, bias_T = _numbers(self.linear, self.linear.weight.shape)
        n_texts, n_inputs = weight_TH.shape
        hidden_KH, hidden_bias_K = _numbers(self.hidden, (0, n_inputs))
        output_TK, output_bias_T = _numbers(self.output, (n_texts, 0))
        return Layers(weight_TH, bias_T + output_bias_T, hidden_KH, hidden_bias_K, output_TK)


def zeros(n_inputs: int, n_outputs: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(n_inputs, n_outputs)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    return layer


def _numbers(layer: torch.nn.Linear | None, shape: Sequence[int]) -> tuple[ndarray, ndarray]:
    """Weight and bias; nothing, in this `shape`, where there is no layer."""
    if layer is None:
        return np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def fit_layers(seen: Examples, recipe: Recipe, *, seed: int) -> Layers:
    """By the symmetric contrastive loss of CLIP (Radford et al. 2021).

    A step takes BATCH pictures, a view of each, and what is said of each. There are at least BATCH.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    given, base = torch.from_numpy(seen.input_NVH), torch.from_numpy(seen.meaning_NVT)
    n_pictures, n_views, n_inputs = seen.input_NVH.shape
    said_of = [seen.text_QT[seen.picture_Q == i] for i in range(n_pictures)]
    network = Network(n_inputs, recipe.n_hidden, seen.text_QT.shape[1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=recipe.steps)
    for _ in range(recipe.steps):
        chosen = _batch(seen.is_photograph_N, recipe.photo_share, rng)
        text_BT = torch.from_numpy(
            np.stack([_said(said_of[i], mixes=recipe.mixes_captions, rng=rng) for i in chosen])
        )
        rows, view = torch.from_numpy(chosen), torch.from_numpy(rng.integers(n_views, size=BATCH))
        image_BT = nn.normalize(network(given[rows, view]) + base[rows, view], dim=1)
        loss = _contrast(image_BT, text_BT)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval().layers()


def _batch(is_photograph_N: Bool[ndarray, " n"], share: float | None, rng: Generator) -> Int64[ndarray, " b"]:
    """BATCH pictures; of photographs that `share`, or all where there are fewer."""
    if share is None:
        return rng.choice(len(is_photograph_N), BATCH, replace=False)
    photographs, drawings = np.flatnonzero(is_photograph_N), np.flatnonzero(~is_photograph_N)
    n_photographs = max(min(round(BATCH * share), len(photographs)), BATCH - len(drawings))
    return np.concatenate(
        [
            rng.choice(photographs, n_photographs, replace=False),
            rng.choice(drawings, BATCH - n_photographs, replace=False),
        ]
    )


def _said(text_QT: Float32[ndarray, "q t"], *, mixes: bool, rng: Generator) -> Float32[ndarray, " t"]:
    """One of the captions of a picture, or what lies between them."""
    if not mixes:
        return text_QT[rng.integers(len(text_QT))]
    mixed_T = rng.dirichlet(np.ones(len(text_QT))) @ text_QT
    return np.asarray(mixed_T / np.linalg.norm(mixed_T), np.float32)


def _contrast(image_BT: Tensor, text_BT: Tensor) -> Tensor:
    """Cross-entropy of each picture among the captions and of each caption among the pictures."""
    own = torch.arange(len(text_BT))
    same_BB = text_BT @ text_BT.T > SAME_TEXT
    same_BB[own, own] = False
    logit_BB = (SCALE * image_BT @ text_BT.T).masked_fill(same_BB, FAR)
    return (nn.cross_entropy(logit_BB, own) + nn.cross_entropy(logit_BB.T, own)) / 2
