"""The wire of generated pictures: requests in, generations out."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from indexer.tables.generated import Generation
from rerank.generate.request import MOST_CHARACTERS, MOST_GUIDANCE, MOST_SEED, MOST_STEPS
from service.generation.spec import LARGEST_SIDE, MOST_PICTURES, SMALLEST_SIDE, GenerationSpec
from service.schemas import Body, iso

Words = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Guidance = Annotated[float, Field(ge=0, le=MOST_GUIDANCE, allow_inf_nan=False)]


class GenerateRequest(Body):
    """`count` pictures: the first from `seed`, each other from the seed after it; without one, it is drawn.

    `width` and `height` (both or none) are those of the finished file, into which what the generator draws is
    fitted: never cropped, never distorted. `steps` and `guidance`: without them, the generator's own.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "a red fox, on a white background", "seed": 7}]}
    )

    prompt: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
    negative_prompt: Words = ""
    seed: Seed | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    width: Side | None = None
    height: Side | None = None
    count: Annotated[int, Field(ge=1, le=MOST_PICTURES)] = 1

    def to_spec(self) -> GenerationSpec:
        return GenerationSpec(**self.model_dump())


class GenerationBody(BaseModel):
    """A picture that was made here. It is in no search before it is promoted; then `image_id` is set.

    The model drew `native_width` x `native_height` pixels: a larger file holds no more detail.
    """

    id: str
    generated: bool = True
    prompt: str
    negative_prompt: str
    seed: int
    model: str
    adapter: str | None
    steps: int
    guidance: float
    width: int
    height: int
    native_width: int
    native_height: int
    sha256: str
    size: int
    seconds: float
    job: str | None
    created_at: str
    image_id: int | None
    content: str

    @classmethod
    def of(cls, made: Generation) -> Self:
        return cls(
            id=made.id,
            prompt=made.prompt,
            negative_prompt=made.negative_prompt,
            seed=made.seed,
            model=made.model,
            adapter=made.adapter,
            steps=int(str(made.params["steps"])),
            guidance=float(str(made.params["guidance"])),
            width=made.width,
            height=made.height,
            native_width=made.native_width,
            native_height=made.native_height,
            sha256=made.sha256,
            size=made.size,
            seconds=made.seconds,
            job=made.job,
            created_at=iso(made.created_at),
            image_id=made.image_id,
            content=content_path(made.id),
        )


class GenerationList(BaseModel):
    """The newest first; `cursor` asks for the next page, null after the last."""

    generations: list[GenerationBody]
    cursor: str | None


def content_path(generation_id: str) -> str:
    return f"/generations/{generation_id}/content"
