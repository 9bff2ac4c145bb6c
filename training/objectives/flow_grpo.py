"""Flow-GRPO's pull towards the base model, beside the clipped surrogate.

    KL = ‖μ_θ − μ_ref‖² / (2 σ_t²),     L = L_clip + β KL

Symbols     μ → mean, σ_t → sigma (of the SDE: `Steps.sigma_T`)
Paper       Liu et al., Flow-GRPO, arXiv:2505.05470; β 0.04 (GenEval, OCR) or 0.01 (PickScore)
Departures  The step adds noise of σ_t √Δt; Δt is left out here, as in the authors' code, on purpose: short
            steps would otherwise be pulled more than long ones. The norm is a mean over latent elements.

Dimension key   B rows, K H W latents
"""

from jaxtyping import Float
from torch import Tensor


def kl_to_reference(
    mean_BKHW: Float[Tensor, "b k h w"],
    reference_BKHW: Float[Tensor, "b k h w"],
    sigma_B: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """KL of each row, ≥ 0."""
    return (mean_BKHW - reference_BKHW).square().flatten(1).mean(1) / (2 * sigma_B**2)
