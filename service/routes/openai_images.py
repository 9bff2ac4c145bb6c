"""POST /v1/images/generations: pictures in the shape of OpenAI's interface."""

import base64
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from indexer.errors import UnknownModelError
from indexer.tables.generated import Generation
from service.compat import pictures_for
from service.deps import ClientDep, GenerationQueueDep, JobsDep, ServicesDep
from service.errors import compat_responses
from service.generate_schemas import Guidance, Seed, Steps, Words, content_path
from service.generation.image_service import ImageGenerationService
from service.generation.spec import MOST_PICTURES, GenerationSpec, side_lengths

router = APIRouter(prefix="/v1/images", tags=["compatibility"], responses=compat_responses())


class ImagesRequest(BaseModel):
    """OpenAI's fields, and `negative_prompt`, `seed`, `steps`, `guidance` beside them.

    Fields about looks and billing (`quality`, `style`, `background`, `moderation`, `user`) are not read.
    """

    prompt: str
    model: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_PICTURES)] | None = None
    size: Annotated[str, Field(max_length=20)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png"] | None = None
    stream: Literal[False] | None = None
    negative_prompt: Words = ""
    seed: Seed | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None

    def to_spec(self) -> GenerationSpec:
        width, height = (None, None) if self.size in (None, "auto") else side_lengths(self.size or "")
        return GenerationSpec(
            self.prompt,
            self.negative_prompt,
            self.seed,
            self.steps,
            self.guidance,
            width,
            height,
            self.n or 1,
        )


class OpenAIImage(BaseModel):
    url: str | None
    b64_json: str | None
    seed: int
    generation: str


class ImagesAnswer(BaseModel):
    created: int
    data: list[OpenAIImage]
    model: str
    size: str
    output_format: Literal["png"] = "png"


@router.post("/generations")
async def create_images(
    body: ImagesRequest,
    request: Request,
    services: ServicesDep,
    queue: GenerationQueueDep,
    jobs: JobsDep,
    client: ClientDep,
) -> ImagesAnswer:
    """Make pictures and wait for them, KALLOS_GENERATE_WAIT_S seconds at most. Without a `response_format`
    they are answered as URLs. `model` may be left out; another than this server's is refused.
    """
    image_service = services.image_service
    await run_in_threadpool(_check_model, image_service, body.model)
    made = await pictures_for(
        body.to_spec(),
        request,
        queue,
        jobs,
        image_service,
        client=client,
        wait_s=services.settings.generate_wait_s,
    )
    inline = body.response_format == "b64_json"
    base = str(request.base_url).rstrip("/")
    data = [await run_in_threadpool(_image, image_service, one, base, inline) for one in made]
    size = f"{made[0].width}x{made[0].height}"
    return ImagesAnswer(created=int(time.time()), data=data, model=made[0].model, size=size)


def _check_model(image_service: ImageGenerationService, name: str | None) -> None:
    if name is not None and name != (known := image_service.generator.model_id):
        raise UnknownModelError(f"model {name!r} is not served here: expected {known!r}, or no model at all")


def _image(image_service: ImageGenerationService, made: Generation, base: str, inline: bool) -> OpenAIImage:
    return OpenAIImage(
        url=None if inline else base + content_path(made.id),
        b64_json=base64.b64encode(image_service.content(made)).decode() if inline else None,
        seed=made.seed,
        generation=made.id,
    )
