"""The network, its loss and its moving average.

Dimension key   B pictures, K H W latents, L tokens, E width of the sentence model
"""

from collections.abc import Iterable, Mapping

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from indexer.encoders.builtin import TEXT_DIM
from rerank.generate.builtin.flow import TIME_SCALE, preconditioning
from training.generator.config import GeneratorConfig, TrainingConfig


def build(config: GeneratorConfig) -> UNet2DConditionModel:
    """Random weights; the caller seeds torch."""
    model = config.model
    return UNet2DConditionModel(
        sample_size=config.data.side_px // config.latents.patch_px,
        in_channels=config.latents.channels,
        out_channels=config.latents.channels,
        block_out_channels=model.channels,
        down_block_types=model.down_blocks,
        up_block_types=model.up_blocks,
        layers_per_block=model.layers_per_block,
        cross_attention_dim=TEXT_DIM,
        attention_head_dim=model.heads,
        norm_num_groups=model.groups,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=TEXT_DIM,
    )


def predict(
    unet: UNet2DConditionModel,
    x_BKHW: Tensor,
    t_B: Tensor,
    token_BLE: Tensor,
    pooled_BE: Tensor,
    sigma_data: float,
) -> Tensor:
    """F(c_in x_t, t): what `rerank.generate.builtin.flow` calls F, in float32."""
    into_B, _, _ = preconditioning(t_B, sigma_data)
    scaled = into_B[:, None, None, None] * x_BKHW
    return unet(scaled, TIME_SCALE * t_B, token_BLE, class_labels=pooled_BE, return_dict=False)[0].float()


def loss(
    unet: UNet2DConditionModel,
    clean_BKHW: Tensor,
    token_BLE: Tensor,
    pooled_BE: Tensor,
    config: GeneratorConfig,
    rng: torch.Generator,
) -> Tensor:
    """Mean squared error of F: that of x̂_0 weighted by 1 / c_out², which is equally hard at every t."""
    training, sigma_data = config.training, config.model.sigma_data
    batch = len(clean_BKHW)
    t_B = sample_times(training, batch, rng)
    noise_BKHW = torch.randn(clean_BKHW.shape, generator=rng)
    t_B111 = t_B[:, None, None, None]
    x_BKHW = (1 - t_B111) * clean_BKHW + t_B111 * noise_BKHW
    _, skip, out = preconditioning(t_B111, sigma_data)
    target_BKHW = (clean_BKHW - skip * x_BKHW) / out
    # Written-out attention: with so few positions the fused kernel's backward pass takes a quarter of a step.
    with torch.autocast("cpu", torch.bfloat16, enabled=training.bfloat16), sdpa_kernel(SDPBackend.MATH):
        found_BKHW = predict(unet, x_BKHW, t_B, token_BLE, pooled_BE, sigma_data)
    return (found_BKHW - target_BKHW).square().mean()


def sample_times(training: TrainingConfig, batch: int, rng: torch.Generator) -> Tensor:
    """Sigmoid of a normal, away from 0, where c_out is."""
    normal_B = training.time_mean + training.time_std * torch.randn(batch, generator=rng)
    return torch.sigmoid(normal_B).clamp(0.005, 1.0)


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Up linearly, constant, then down linearly to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
    decay_steps = max(1, round(training.decay_share * training.steps))
    return training.learning_rate * min(warm, min(1.0, (training.steps - step) / decay_steps))


def follow(ema: Mapping[str, Tensor], weights: Iterable[tuple[str, Tensor]], decay: float) -> None:
    """In place: ema ← decay ema + (1 − decay) weights."""
    pairs = [(ema[name], weight.detach()) for name, weight in weights]
    torch._foreach_lerp_([a for a, _ in pairs], [w for _, w in pairs], 1 - decay)
