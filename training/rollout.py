"""Pictures drawn step by step, with all that an objective asks for afterwards.

Dimension key   T steps, B pictures, K H W latents
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from training.diffusion.steps import Steps
from training.policies.adapters import holding
from training.policies.policy import Conditioning, Policy

Noise = Callable[[], Float[Tensor, "b k h w"]]


@dataclass(frozen=True, slots=True)
class Trajectories:
    """x_{t}, the noise z that was drawn, and what the network predicted (guidance applied), at every step.

    `x_T1BKHW` has one entry more than steps: the last are the clean latents. `reference_TBKHW` is what the
    base model predicts at the same x, where it is asked for.
    """

    steps: Steps
    known: Conditioning
    x_T1BKHW: Float[Tensor, "t1 b k h w"]
    noise_TBKHW: Float[Tensor, "t b k h w"]
    prediction_TBKHW: Float[Tensor, "t b k h w"]
    reference_TBKHW: Float[Tensor, "t b k h w"] | None

    def __len__(self) -> int:
        return self.x_T1BKHW.shape[1]

    @classmethod
    def joined(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """All pictures of parts that were drawn with the same steps."""
        first = parts[0]
        references = [part.reference_TBKHW for part in parts if part.reference_TBKHW is not None]
        return cls(
            first.steps,
            Conditioning.joined([part.known for part in parts]),
            torch.cat([part.x_T1BKHW for part in parts], dim=1),
            torch.cat([part.noise_TBKHW for part in parts], dim=1),
            torch.cat([part.prediction_TBKHW for part in parts], dim=1),
            torch.cat(references, dim=1) if references else None,
        )


@torch.no_grad()
def roll_out(
    policy: Policy,
    known: Conditioning,
    start_BKHW: Float[Tensor, "b k h w"],
    steps: Steps,
    rng: torch.Generator,
    *,
    base: Mapping[str, Tensor] | None = None,
) -> Trajectories:
    """Draw one picture from each row of `start_BKHW`, noise of size 1.

    Args:
        policy: Draws; unchanged.
        known: One row a picture.
        start_BKHW: Latents at the first step.
        steps: Of the policy's kind.
        rng: Of z; on the CPU, so that every device draws the same.
        base: Weights of the base model; then its predictions are kept, and `steps.blend_T` has something to
            blend with.
    """
    x = start_BKHW.to(policy.device, torch.float32)
    xs, references = [x], list[Tensor]()
    noises, predictions = list[Tensor](), list[Tensor]()
    for step in range(len(steps)):
        t_B = steps.time_T[step].float().expand(len(x)).to(x.device)
        prediction = used = policy.predict(x, t_B, known)
        if base is not None:
            with holding(policy, base):
                reference = policy.predict(x, t_B, known)
            references.append(reference)
            if steps.blend_T is not None:
                used = reference + float(steps.blend_T[step]) * (prediction - reference)
        z = torch.randn(x.shape, generator=rng).to(x.device)
        x = steps.mean(step, x, used) + steps.std(step, x) * z
        xs.append(x)
        noises.append(z)
        predictions.append(prediction)
    return Trajectories(
        steps,
        known,
        torch.stack(xs),
        torch.stack(noises),
        torch.stack(predictions),
        torch.stack(references) if references else None,
    )


@torch.no_grad()
def draw(
    policy: Policy,
    prompts: Sequence[str],
    start_BKHW: Float[Tensor, "b k h w"],
    steps: Steps,
    rng: torch.Generator,
    *,
    batch: int = 64,
) -> list[UInt8[ndarray, "s s 3"]]:
    """Pictures of the prompts, one for each row of noise; nothing else is kept."""
    pictures = []
    for first in range(0, len(prompts), batch):
        part = slice(first, first + batch)
        pictures += policy.decode(denoise(policy, prompts[part], start_BKHW[part], steps, rng))
    return pictures


@torch.no_grad()
def denoise(
    policy: Policy,
    prompts: Sequence[str],
    start_BKHW: Float[Tensor, "b k h w"],
    steps: Steps,
    rng: torch.Generator,
) -> Float[Tensor, "b k h w"]:
    """Clean latents of one batch."""
    known = policy.encode(prompts)
    x = start_BKHW.to(policy.device, torch.float32)
    for step in range(len(steps)):
        t_B = steps.time_T[step].float().expand(len(x)).to(x.device)
        z = torch.randn(x.shape, generator=rng).to(x.device)
        x = steps.mean(step, x, policy.predict(x, t_B, known)) + steps.std(step, x) * z
    return x


def noise_of(seeds: Sequence[int], latent_KHW: Sequence[int]) -> Float[Tensor, "b k h w"]:
    """One row a seed, the same on every machine and in every batch."""
    return torch.stack(
        [torch.randn(tuple(latent_KHW), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
