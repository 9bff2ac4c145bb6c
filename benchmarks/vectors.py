"""Vectors that are distributed like CLIP's embeddings of pictures, from a seed, of any number.

What makes real ones hard, measured on published embeddings, is here: they fill a narrow cone (two pictures
have a cosine near 0.5), few directions carry most of the spread (a power law), themes are many and of very
unequal size (Zipf), and one picture in twenty has a near-duplicate. Queries come from the same distribution
but are not in the collection; "words" lie in a cone of their own, as texts do.

    x = unit(μ + B (s ∘ (0.8 theme + 0.6 z)))        s_i ∝ i^-0.4, B a random rotation, z standard normal

Dimension key   N pictures, D embedding, T themes
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

CHUNK = 50_000
THEMES = 20_000
POLES = (0, 30, 3_000)  # themes of a seventh, of 0.3 % and of 0.002 % of all pictures
DECAY = 0.4
ZIPF = 1.1
DUPLICATES = 0.05
DUPLICATE_NOISE = 0.02
CONE = 1.0  # length of μ where the spread has length 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pictures [first, first + N) of a collection: their vectors, and the theme of each."""

    first: int
    vectors_ND: Float32[ndarray, "n d"]
    theme_N: Int64[ndarray, " n"]


class VectorSource:
    """Chunk i is the same whatever was drawn before it, on any machine with the same NumPy."""

    def __init__(self, dim: int = 512, seed: int = 7) -> None:
        self.dim = dim
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        spread_D = (np.arange(1, dim + 1) ** -DECAY).astype(np.float32)
        self._spread_D = spread_D / np.linalg.norm(spread_D)
        self._rotation_DD = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        self._theme_TD = rng.standard_normal((THEMES, dim)).astype(np.float32)
        share_T = np.arange(1, THEMES + 1) ** -ZIPF
        self._share_T = share_T / share_T.sum()
        means = np.linalg.qr(rng.standard_normal((dim, 2)))[0].T.astype(np.float32)
        self._pictures_D, self._words_D = means[0], means[1]
        pole_PD = (self._theme_TD[list(POLES)] * self._spread_D) @ self._rotation_DD.T
        self.pole_PD = pole_PD / np.linalg.norm(pole_PD, axis=1, keepdims=True)

    def chunks(self, count: int, *, after: int = 0) -> Iterator[Chunk]:
        """The first `count` pictures, by chunks that begin at or behind picture `after`."""
        for number, first in enumerate(range(0, count, CHUNK)):
            if first < after:
                continue
            rng = np.random.default_rng([self._seed, 1, number])
            drawn = self._draw(rng, CHUNK, self._pictures_D)
            size = min(CHUNK, count - first)
            yield Chunk(first, drawn.vectors_ND[:size], drawn.theme_N[:size])

    def queries(self, count: int) -> Float32[ndarray, "n d"]:
        """Pictures that no collection of this source holds."""
        return self._draw(np.random.default_rng([self._seed, 2]), count, self._pictures_D).vectors_ND

    def queries_about(self, theme: int, count: int) -> Float32[ndarray, "n d"]:
        """Pictures of one theme that no collection of this source holds."""
        theme_N = np.full(count, theme)
        return self._of_themes(np.random.default_rng([self._seed, 4, theme]), theme_N, self._pictures_D)

    def words(self, count: int) -> Float32[ndarray, "n d"]:
        """Queries from the cone of texts, about the same themes."""
        return self._draw(np.random.default_rng([self._seed, 3]), count, self._words_D).vectors_ND

    def _draw(self, rng: np.random.Generator, count: int, mean_D: Float32[ndarray, " d"]) -> Chunk:
        theme_N = rng.choice(THEMES, size=count, p=self._share_T)
        return Chunk(0, self._of_themes(rng, theme_N, mean_D), theme_N)

    def _of_themes(
        self, rng: np.random.Generator, theme_N: Int64[ndarray, " n"], mean_D: Float32[ndarray, " d"]
    ) -> Float32[ndarray, "n d"]:
        count = len(theme_N)
        spread_ND = 0.8 * self._theme_TD[theme_N]
        spread_ND += 0.6 * rng.standard_normal((count, self.dim), dtype=np.float32)
        x_ND = (spread_ND * self._spread_D) @ self._rotation_DD.T + CONE * mean_D
        copies_N = np.flatnonzero(rng.random(count) < DUPLICATES)
        noise_ND = rng.standard_normal((len(copies_N), self.dim), dtype=np.float32)
        x_ND[copies_N] = x_ND[rng.integers(count, size=len(copies_N))]
        x_ND[copies_N] += noise_ND * np.float32(DUPLICATE_NOISE / np.sqrt(self.dim))
        x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
        return x_ND
