"""A request → what one model is told, with nothing left open; without torch."""

from dataclasses import dataclass

from indexer.errors import InvalidInputError
from rerank.generate.diffusers.folder import PipelineFolder
from rerank.generate.diffusers.options import GeneratorOptions
from rerank.generate.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """`scheduler`: None is the model's own kind."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    scheduler: str | None


def plan_of(request: GenerationRequest, folder: PipelineFolder, options: GeneratorOptions) -> Plan:
    """The request's values, else those of the options, else the family's.

    Raises InvalidInputError: the model cannot do what the request asks for.
    """
    family = folder.family
    if request.negative_prompt and not family.takes_negative_prompt:
        raise InvalidInputError(f"{family.title} takes no negative prompt: leave it out")
    return Plan(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed,
        steps=request.steps or options.steps or family.steps,
        guidance=_guidance(request.guidance, folder, options),
        width=_side("width", request.width, folder),
        height=_side("height", request.height, folder),
        scheduler=request.scheduler or options.scheduler,
    )


def _guidance(asked: float | None, folder: PipelineFolder, options: GeneratorOptions) -> float:
    wanted = options.guidance if asked is None else asked
    if folder.has_guidance:
        return folder.family.guidance if wanted is None else wanted
    if wanted:
        raise InvalidInputError(f"guidance is {wanted}: this model was distilled without it; leave it out")
    return 0.0


def _side(name: str, asked: int | None, folder: PipelineFolder) -> int:
    side = folder.native_px if asked is None else asked
    if side % folder.multiple_px or not folder.least_px <= side <= folder.most_px:
        raise InvalidInputError(
            f"{name} is {side}: expected a multiple of {folder.multiple_px} "
            f"from {folder.least_px} to {folder.most_px}"
        )
    return side
