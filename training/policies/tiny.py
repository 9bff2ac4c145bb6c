"""Complete diffusers pipelines with random weights, one of each family, in memory.

They have every part of the real ones (tokenizers, text encoders, denoiser, autoencoder, scheduler) at a
millionth of their size. Their tokenizers know letters, so that each prompt is another prompt.
"""

import string
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
WIDTH = 16  # of every text encoder
SIDE_PX = 32  # small enough for a dry run, large enough for every family


def tiny_pipeline(family: str, *, seed: int, **extra: Any) -> Any:  # noqa: ANN401  # diffusers is untyped
    """The same seed makes the same weights. `extra` replaces parts or settings of a family's builder.

    Parts are in evaluation mode, as loaded ones are: T5 would drop states at random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = BUILDERS[family](**extra)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _sd15(**parts: Any) -> StableDiffusionPipeline:  # noqa: ANN401  # a safety checker, say
    tokenizer = _clip_tokenizer()
    return StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(cross_attention_dim=WIDTH),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        **{"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, **parts},
    )


def _sdxl() -> StableDiffusionXLPipeline:
    one, two = _clip_tokenizer(), _clip_tokenizer(pad="!")
    return StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_clip_config(one)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(two)),
        tokenizer=one,
        tokenizer_2=two,
        unet=_unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
        add_watermarker=False,
    )


def _sd3() -> StableDiffusion3Pipeline:
    one, two, three = _clip_tokenizer(), _clip_tokenizer(pad="!"), _t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=8,
            out_channels=8,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_projection_dim=16,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            pos_embed_max_size=48,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(8, shift_factor=0.1),
        text_encoder=CLIPTextModelWithProjection(_clip_config(one)),
        tokenizer=one,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(two)),
        tokenizer_2=two,
        text_encoder_3=_t5(three, 2 * WIDTH),
        tokenizer_3=three,
    )


def _flux(guidance_embeds: bool = True) -> FluxPipeline:
    one, two = _clip_tokenizer(), _t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(4, blocks=2, shift_factor=0.1),  # its usual side is 128 latents whatever the folder says
        text_encoder=CLIPTextModel(_clip_config(one)),
        tokenizer=one,
        text_encoder_2=_t5(two, WIDTH),
        tokenizer_2=two,
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ),
    )


BUILDERS: dict[str, Callable[..., Any]] = {"sd15": _sd15, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}


def _vae(channels: int, blocks: int = 3, **extra: float) -> AutoencoderKL:
    """A latent covers 2^(blocks − 1) pixels."""
    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=64,
        **extra,
    )


def _unet(**extra: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        **extra,
    )


def _clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    letters = string.ascii_lowercase + string.digits + "!,.-"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=pad, model_max_length=77)


def _clip_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5_tokenizer() -> T5Tokenizer:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(
        vocab=[*special, ("▁", -1.0), *((letter, -2.0) for letter in string.printable.strip())],
        extra_ids=0,
        model_max_length=512,
    )


def _t5(tokenizer: T5Tokenizer, width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2)
    )
