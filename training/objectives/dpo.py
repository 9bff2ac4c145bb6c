"""Direct preference optimisation: of two answers, make the better one likelier than the reference does.

    m = β [ (log π(y_w|x) − log π_ref(y_w|x)) − (log π(y_l|x) − log π_ref(y_l|x)) ],     L = −log σ(m)

Symbols     log π(y_w|x), log π(y_l|x) → logp_w_B, logp_l_B; log π_ref(…) → ref_w_B, ref_l_B; β → beta
Papers      Rafailov et al., arXiv:2305.18290, equation 7; SPRO (OpenReview A4JiifkTzq) takes π_ref from the
            round before.
Departures  None. Log-probabilities are sums over the tokens of an answer, not means.

Dimension key   B pairs
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def margin(
    logp_w_B: Float[Tensor, " b"],
    logp_l_B: Float[Tensor, " b"],
    ref_w_B: Float[Tensor, " b"],
    ref_l_B: Float[Tensor, " b"],
    beta: float,
) -> Float[Tensor, " b"]:
    """m: above 0 where the policy prefers the winner by more than the reference does."""
    return beta * ((logp_w_B - ref_w_B) - (logp_l_B - ref_l_B))  # m


def loss_of(margin_B: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The loss of each pair, to be averaged: log 2 at m = 0, where its gradient in m is −1/2."""
    return -logsigmoid(margin_B)  # −log σ(m)
