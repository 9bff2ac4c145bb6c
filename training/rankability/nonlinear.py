"""The nonlinear probe: two layers on frozen vectors, an upper bound for what one direction can do.

Dimension key   N pictures, D embedding, B batch
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from rerank.axes.rank_correlation import spearman
from rerank.axes.ridge import STD_FLOOR, unit_rows
from rerank.axes.splits import Split

if TYPE_CHECKING:
    import torch

HIDDEN, DROPOUT = 512, 0.1
RATE, WEIGHT_DECAY, BATCH, EPOCHS = 1e-3, 1e-4, 256, 100
PATIENCE = 15  # epochs without a better validation SRCC


def nonlinear_scores(
    vectors_ND: Float32[ndarray, "n d"], label_N: Float64[ndarray, " n"], split: Split, *, seed: int
) -> Float32[ndarray, " n"]:
    """Score every row by D → 512 → 1, trained on the training rows, stopped by the validation rows.

    Columns and labels are standardised on the training rows. The weights of the epoch with the best
    validation SRCC are kept. The same seed gives the same scores on a CPU.
    """
    import torch

    x_ND = unit_rows(vectors_ND)
    seen_ND, seen_N = x_ND[split.train_I], label_N[split.train_I]
    z_ND = (x_ND - seen_ND.mean(axis=0)) / np.maximum(seen_ND.std(axis=0), STD_FLOOR)
    y_N = (label_N - seen_N.mean()) / seen_N.std()
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        return _train(torch.from_numpy(z_ND).float(), torch.from_numpy(y_N).float(), split)


@contextmanager
def _one_thread() -> Iterator[None]:
    """These matrices are so small that threads would only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(z_ND: "torch.Tensor", y_N: "torch.Tensor", split: Split) -> Float32[ndarray, " n"]:
    import torch

    network = torch.nn.Sequential(
        torch.nn.Linear(z_ND.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(HIDDEN, 1),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    train_I, validation_I = torch.from_numpy(split.train_I), split.validation_I
    best, best_score_N, since = -np.inf, np.zeros(len(y_N), np.float32), 0
    for _ in range(EPOCHS):
        network.train()
        for batch_B in train_I[torch.randperm(len(train_I))].split(BATCH):
            loss = torch.nn.functional.mse_loss(network(z_ND[batch_B])[:, 0], y_N[batch_B])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            score_N = network(z_ND)[:, 0].numpy()
        srcc = spearman(score_N[validation_I], y_N[validation_I].numpy())
        if srcc > best:
            best, best_score_N, since = srcc, score_N, 0
        else:
            since += 1
        if since >= PATIENCE:
            break
    return best_score_N
