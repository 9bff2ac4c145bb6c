"""One picture from a shared pipeline, without changing it. Imports torch and diffusers' pipelines.

A pipeline object holds the state of its last call, and so do its scheduler and its tokenizers. So each call
has a view: a shallow copy that shares the weights and has a scheduler and tokenizers of its own.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from indexer.errors import UnavailableError
from rerank.generate.diffusers.families import Family
from rerank.generate.diffusers.latent_colours import unpacked
from rerank.generate.diffusers.loading import SUFFIX, Opened, place, scheduler_of
from rerank.generate.diffusers.plan import Plan
from rerank.generate.request import Pixels, Progress


@dataclass(frozen=True, slots=True)
class Drawn:
    pixels: Pixels
    is_flagged: bool
    scheduler: str
    warnings: tuple[str, ...]


def draw(opened: Opened, family: Family, plan: Plan, on_step: Callable[[Progress], None]) -> Drawn:
    """The same plan draws the same picture on the same machine: the noise comes from the CPU.

    Raises UnavailableError where the numbers overflow; whatever `on_step` raises; torch's own errors.
    """
    with _view(opened, family, plan.scheduler) as view:

        def tell(_view: object, step: int, _timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
            latents = tensors["latents"][0]
            on_step(Progress(step + 1, view.num_timesteps, lambda: _preview(opened, plan, latents)))
            return {}

        output = view(
            prompt=plan.prompt,
            **({"negative_prompt": plan.negative_prompt} if plan.negative_prompt else {}),
            width=plan.width,
            height=plan.height,
            num_inference_steps=plan.steps,
            guidance_scale=plan.guidance,
            generator=torch.Generator("cpu").manual_seed(plan.seed),
            output_type="np",
            callback_on_step_end=tell,
        )
        warnings = _warnings(view, family, plan)
        name = type(view.scheduler).__name__.removesuffix(SUFFIX)
    picture_HW3 = output.images[0]
    if not np.isfinite(picture_HW3).all():
        raise UnavailableError(
            f"the picture overflowed in {opened.dtype}: expected finite colours; `dtype=float32` helps"
        )
    flags = output.get("nsfw_content_detected") or [False]
    return Drawn(np.rint(picture_HW3 * 255).astype(np.uint8), bool(flags[0]), name, warnings)


@contextmanager
def low_memory_mode(opened: Opened) -> Iterator[Opened]:
    """The same pipeline, with less memory for a while. Only under the write lock.

    The autoencoder works on tiles, and on a GPU only the part at work is there. Attention in slices is not
    among them: torch's own attention needs no more memory than that.
    """
    opened.pipeline.vae.enable_tiling()
    offloads = opened.device.type == "cuda" and opened.offload == "none"
    try:
        if offloads:
            torch.cuda.empty_cache()
            place(opened.pipeline, opened.device, "model")
        yield replace(opened, offload="model") if offloads else opened
    finally:
        opened.pipeline.vae.disable_tiling()
        if offloads:
            opened.pipeline.remove_all_hooks()
            place(opened.pipeline, opened.device, "none")


@contextmanager
def _view(opened: Opened, family: Family, scheduler: str | None) -> Iterator[Any]:
    view = copy.copy(opened.pipeline)
    view.scheduler = scheduler_of(opened.pipeline, scheduler)
    # A tokenizer keeps padding and truncation between calls: two threads would read each other's. To copy one
    # of 49,000 words takes a tenth of a second, so a copy is used again.
    try:
        tokenizers = opened.tokenizers.pop()
    except IndexError:
        tokenizers = {name: copy.deepcopy(getattr(opened.pipeline, name)) for name in family.tokenizers}
    for name, tokenizer in tokenizers.items():
        setattr(view, name, tokenizer)
    try:
        yield view
    finally:
        opened.tokenizers.append(tokenizers)
        view.maybe_free_model_hooks()  # when cancelled, parts would stay on the GPU


def _preview(opened: Opened, plan: Plan, latents: torch.Tensor) -> Pixels:
    pipeline = opened.pipeline
    if latents.ndim == 2:
        scale = pipeline.vae_scale_factor
        latents = unpacked(latents, plan.height // scale, plan.width // scale)
    has_checker = pipeline.components.get("safety_checker") is not None
    return opened.colours.picture(latents, is_checked=not has_checker)


def _warnings(view: Any, family: Family, plan: Plan) -> tuple[str, ...]:  # noqa: ANN401
    warnings = []
    tokenizer = next(found for name in family.tokenizers if (found := getattr(view, name)) is not None)
    limit = min(family.tokens, tokenizer.model_max_length)
    count = len(tokenizer(plan.prompt, truncation=False).input_ids)
    if count > limit:
        warnings.append(f"the prompt has {count} tokens: the model read the first {limit}")
    if plan.negative_prompt and plan.guidance <= 1:
        warnings.append(f"guidance is {plan.guidance:g}: a negative prompt counts only above 1")
    return tuple(warnings)
