"""/sdapi/v1: pictures in the shape of AUTOMATIC1111's interface."""

import base64
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from indexer.errors import InvalidInputError
from indexer.tables.generated import Generation
from rerank.generate.request import MOST_SEED
from service.compat import pictures_for
from service.deps import ClientDep, GenerationQueueDep, JobsDep, ServicesDep
from service.errors import compat_responses
from service.generate_schemas import Guidance, Side, Steps, Words
from service.generation.spec import MOST_PICTURES, GenerationSpec
from service.generation.work import KIND

router = APIRouter(prefix="/sdapi/v1", tags=["compatibility"], responses=compat_responses())

SAMPLER = "Default"  # a generator brings its own
# What would change the picture, and is not done here: silently left out, it would answer another request.
REFUSED = (
    "enable_hr",
    "restore_faces",
    "tiling",
    "styles",
    "script_name",
    "alwayson_scripts",
    "override_settings",
)
Few = Annotated[int, Field(ge=1, le=MOST_PICTURES)]


class Txt2Img(BaseModel):
    """The fields that are used. Fields for samplers, schedulers and saving are not read; those that ask for
    more than a picture of the prompt (`enable_hr`, `alwayson_scripts`, …) are refused.
    """

    model_config = ConfigDict(extra="allow")

    prompt: str = ""
    negative_prompt: Words | None = None
    seed: Annotated[int, Field(ge=-1, le=MOST_SEED)] | None = None
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    width: Side = 512
    height: Side = 512
    batch_size: Few = 1
    n_iter: Few = 1
    send_images: bool = True

    def to_spec(self) -> GenerationSpec:
        for name in REFUSED:
            if (self.model_extra or {}).get(name):
                raise InvalidInputError(f"{name} is not supported: leave it out")
        return GenerationSpec(
            self.prompt,
            self.negative_prompt or "",
            None if self.seed == -1 else self.seed,
            self.steps,
            self.cfg_scale,
            self.width,
            self.height,
            self.batch_size * self.n_iter,
        )


class Txt2ImgAnswer(BaseModel):
    """`info` is a JSON document in a string, as it always was."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


@router.post("/txt2img")
async def txt2img(
    body: Txt2Img,
    request: Request,
    services: ServicesDep,
    queue: GenerationQueueDep,
    jobs: JobsDep,
    client: ClientDep,
) -> Txt2ImgAnswer:
    """Make pictures and wait for them, KALLOS_GENERATE_WAIT_S seconds at most."""
    image_service, wait_s = services.image_service, services.settings.generate_wait_s
    made = await pictures_for(
        body.to_spec(), request, queue, jobs, image_service, client=client, wait_s=wait_s
    )
    files = [await run_in_threadpool(image_service.content, one) for one in made] if body.send_images else []
    return Txt2ImgAnswer(
        images=[base64.b64encode(file).decode() for file in files],
        parameters=body.model_dump(),
        info=json.dumps(_info(made)),
    )


@router.get("/sd-models")
def sd_models(services: ServicesDep) -> list[dict[str, str | None]]:
    """The one model that answers."""
    name = services.image_service.generator.model_id
    return [
        {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name, "config": None}
    ]


@router.get("/samplers")
def samplers() -> list[dict[str, Any]]:
    return [{"name": SAMPLER, "aliases": [], "options": {}}]


@router.get("/progress")
def progress(jobs: JobsDep, skip_current_image: bool = False) -> dict[str, Any]:
    """Of the picture that is being made, whoever asked for it."""
    job = jobs.active(KIND)
    told: dict[str, Any] = {} if job is None else dict(job.progress)
    preview = str(told.get("preview", "")).partition(",")[2]
    return {
        "progress": told.get("done", 0) / told.get("total", 1),
        "eta_relative": 0.0 if job is None or job.eta_seconds is None else job.eta_seconds,
        "state": {
            "skipped": False,
            "interrupted": False,
            "job": "" if job is None else job.id,
            "job_count": told.get("total", 0),
            "job_no": max(0, told.get("picture", 1) - 1),
            "sampling_step": told.get("step", 0),
            "sampling_steps": told.get("steps", 0),
        },
        "current_image": None if skip_current_image or not preview else preview,
        "textinfo": None,
    }


def _info(made: list[Generation]) -> dict[str, Any]:
    first = made[0]
    return {
        "prompt": first.prompt,
        "all_prompts": [one.prompt for one in made],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [one.negative_prompt for one in made],
        "seed": first.seed,
        "all_seeds": [one.seed for one in made],
        "width": first.width,
        "height": first.height,
        "native_width": first.native_width,
        "native_height": first.native_height,
        "sampler_name": SAMPLER,
        "cfg_scale": first.params["guidance"],
        "steps": first.params["steps"],
        "batch_size": len(made),
        "sd_model_name": first.model,
        "sd_model_hash": None,
        "job_timestamp": datetime.fromtimestamp(first.created_at, UTC).strftime("%Y%m%d%H%M%S"),
        "index_of_first_image": 0,
        "infotexts": [_infotext(one) for one in made],
    }


def _infotext(made: Generation) -> str:
    """One paragraph, as that program writes it into its files."""
    negative = f"\nNegative prompt: {made.negative_prompt}" if made.negative_prompt else ""
    facts = {
        "Steps": made.params["steps"],
        "Sampler": SAMPLER,
        "CFG scale": made.params["guidance"],
        "Seed": made.seed,
        "Size": f"{made.width}x{made.height}",
        "Model": made.model,
    }
    return f"{made.prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in facts.items())
