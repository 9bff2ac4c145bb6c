"""Flow matching: from noise to a picture in a few straight steps.

    x_t = (1 − t) x_0 + t n,     n ~ N(0, 1),     dx/dt = n − x_0 = (x_t − x_0) / t

The network F predicts the clean latents through EDM's preconditioning (Karras et al., arXiv:2206.00364,
table 1), carried over to this interpolation: with σ the size of x_0 and V = (1 − t)² σ² + t²,

    x̂_0 = c_skip x_t + c_out F(c_in x_t, t),   c_in = 1/√V,   c_skip = (1 − t) σ² / V,   c_out = σ t / √V

so that F sees and predicts numbers of size 1 at every t, and predicting nothing is the best linear guess.

Guidance (Ho and Salimans, arXiv:2207.12598): x̂_0 = x̂_0(∅) + w (x̂_0(text) − x̂_0(∅)).

Departures: EDM's noise level is t / (1 − t) here; time is sampled as a normal's sigmoid (SD 3), not as EDM's
log-normal.

Dimension key   B pictures, K H W latents, T steps
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

TIME_SCALE = 1000.0  # diffusers' time embedding expects times of this size
X = TypeVar("X")  # a NumPy array or a torch tensor: the arithmetic is the same


def preconditioning(t: X, sigma_data: float) -> tuple[X, X, X]:
    """(c_in, c_skip, c_out) at t in (0, 1]; shapes follow t."""
    variance = (1 - t) ** 2 * sigma_data**2 + t**2  # type: ignore[operator]
    root = variance**0.5
    return 1 / root, (1 - t) * sigma_data**2 / variance, sigma_data * t / root  # type: ignore[operator]


def times(steps: int) -> Float32[ndarray, " t"]:
    """Times from 1 (noise) down to 0 (picture), evenly spaced, one more than steps."""
    return np.linspace(1, 0, steps + 1, dtype=np.float32)


def noise(seed: int, latent_KHW: tuple[int, int, int]) -> Float32[ndarray, "1 k h w"]:
    """x_1 of one picture; NumPy's, so that every runtime starts from the same."""
    return np.random.default_rng(seed).standard_normal((1, *latent_KHW), dtype=np.float32)


def euler(
    noise_BKHW: Float32[ndarray, "b k h w"],
    time_T: Float32[ndarray, " t"],
    denoise: Callable[[Float32[ndarray, "b k h w"], float], Float32[ndarray, "b k h w"]],
    on_step: Callable[[int, Float32[ndarray, "b k h w"]], None] = lambda _step, _clean: None,
) -> Float32[ndarray, "b k h w"]:
    """x_0 of dx/dt = (x − x̂_0) / t.

    Args:
        noise_BKHW: x_1.
        time_T: From 1 down to 0.
        denoise: x_t, t → x̂_0.
        on_step: Told the number of steps done and x̂_0 after each; what it raises ends the sampling.
    """
    x = noise_BKHW
    for step in range(len(time_T) - 1):
        t, following = float(time_T[step]), float(time_T[step + 1])
        clean = denoise(x, t)
        x = x + (following - t) * (x - clean) / t
        on_step(step + 1, clean)
    return np.asarray(x, np.float32)
