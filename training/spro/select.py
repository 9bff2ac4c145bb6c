"""Which candidates become a pair to learn from, and why the others do not.

    winner, loser = argmax, argmin of the candidates' rewards,    gain = winner's reward − the plain caption's
    kept   fidelity ≥ threshold, and the gain is not weak:
           below-mean-gain    gain ≥ mean gain of the round's captions
           below-mean-base    winner's reward > mean reward of the plain captions

The paper words its weak-gain filter in these two ways; which one is a key of the configuration.

Dimension key   N captions
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from training.spro.config import WeakGain

KEPT = "kept"


def winner_and_loser(scores: Sequence[float | None]) -> tuple[int, int] | None:
    """Places of the best and the worst, the first of equals; None: fewer than two, or all alike."""
    known = [i for i, score in enumerate(scores) if score is not None]
    if not known:
        return None
    best = max(known, key=lambda i: (scores[i], -i))
    worst = min(known, key=lambda i: (scores[i], i))
    return None if scores[best] == scores[worst] else (best, worst)


def verdicts(
    winner_N: Float64[ndarray, " n"],
    base_N: Float64[ndarray, " n"],
    fidelity_N: Float64[ndarray, " n"],
    least_fidelity: float,
    weak_gain: WeakGain,
) -> list[str]:
    """`kept`, or the reason that it is not, for each caption with a winner and a loser.

    Args:
        winner_N: Rewards of the winners.
        base_N: Rewards of the plain captions' pictures.
        fidelity_N: Cosines of the winners' pictures with those.
        least_fidelity: The threshold.
        weak_gain: Which reading of the filter.
    """
    gain_N = winner_N - base_N
    if weak_gain == "below-mean-gain":
        weak_N = gain_N < gain_N.mean() if len(gain_N) else np.zeros(0, bool)
    elif weak_gain == "below-mean-base":
        weak_N = winner_N <= base_N.mean() if len(gain_N) else np.zeros(0, bool)
    else:
        weak_N = np.zeros(len(gain_N), bool)
    unlike_N = fidelity_N < least_fidelity
    return [
        "unlike the plain picture" if unlike else "weak gain" if weak else KEPT
        for unlike, weak in zip(unlike_N, weak_N, strict=True)
    ]
