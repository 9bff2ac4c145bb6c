"""Stops a run whose reward rises for the wrong reason.

A reward that can be gamed is gamed: everything turns orange, or into one picture. So beside the reward that
is trained, others are watched that are not, and how diverse the pictures are, and how far from the base
model's.
"""

from training.policy_gradient.config import GuardConfig
from training.policy_gradient.evaluation import Evaluation


def stop_reason(bounds: GuardConfig, base: Evaluation, now: Evaluation) -> str | None:
    """Why training should not go on, or None."""
    for name, most in bounds.held_out_fall.items():
        before, after = base.held_out[name], now.held_out[name]
        if before - after > most:
            return f"the held-out reward {name} fell from {before:.4g} to {after:.4g}, by more than {most:g}"
    if now.diversity < bounds.diversity * base.diversity:
        return (
            f"diversity fell from {base.diversity:.3g} to {now.diversity:.3g}: expected at least "
            f"{bounds.diversity:g} of the base model's"
        )
    if now.drift > bounds.drift:
        return f"the pictures are {now.drift:.3g} away from the base model's, more than {bounds.drift:g}"
    return None
