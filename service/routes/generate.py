"""Pictures on demand, and what was made so far."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response, status

from indexer.imaging.decode import render
from service.content import picture
from service.deps import ClientDep, GenerationQueueDep, IdempotencyHeader, ServicesDep
from service.generate_schemas import GenerateRequest, GenerationBody, GenerationList
from service.generation.promote import promote
from service.routes.jobs import JobBody
from service.schemas import ImageBody, Limit

router = APIRouter(tags=["generate"])

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}},
    304: {"description": "The copy you have is current."},
}


@router.post("/generate", status_code=status.HTTP_202_ACCEPTED)
def generate(
    request: GenerateRequest,
    queue: GenerationQueueDep,
    client: ClientDep,
    response: Response,
    idempotency_key: IdempotencyHeader = None,
) -> JobBody:
    """Queue pictures. The job says its place in the queue and the seed, shows previews while it draws
    (`GET /jobs/{id}/events`), survives a restart, and ends with the ids of its generations.

    The same `Idempotency-Key` and body within a day find the same job. A full queue, or a client (by
    `X-Api-Key`, or else address) that has had its share of the hour, is answered 429 with `Retry-After`.
    """
    job = queue.submit(request.to_spec(), client=client, key=idempotency_key)
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job)


@router.get("/generations")
def list_generations(
    services: ServicesDep,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None,
) -> GenerationList:
    """Everything that was made here, the newest first."""
    made = services.image_service.store.list(before=None if cursor is None else int(cursor), limit=limit)
    following = str(made[-1].number) if len(made) == limit else None
    return GenerationList(generations=[GenerationBody.of(one) for one in made], cursor=following)


@router.get("/generations/{generation_id}")
def get_generation(generation_id: str, services: ServicesDep) -> GenerationBody:
    return GenerationBody.of(services.image_service.store.get(generation_id))


@router.delete("/generations/{generation_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_generation(generation_id: str, services: ServicesDep) -> None:
    """Forget a generated picture. If it was promoted, the picture in the collection stays."""
    services.image_service.delete(generation_id)


@router.get("/generations/{generation_id}/content", response_class=Response, responses=PICTURE)
def get_generation_content(
    generation_id: str,
    services: ServicesDep,
    width: Annotated[int | None, Query(ge=16, le=4096)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The picture: a PNG that names its origin, or with `width` a JPEG at most that many pixels wide."""
    made = services.image_service.store.get(generation_id)

    def make() -> tuple[bytes, str]:
        data = services.image_service.content(made)
        if width is None:
            return data, "image/png"
        return render(data, services.pictures.limits, width), "image/jpeg"

    return picture(made.sha256, width, if_none_match, make)


@router.post("/generations/{generation_id}/promote")
def promote_generation(generation_id: str, services: ServicesDep) -> ImageBody:
    """Make it a picture of the collection: searches find it, and the filter `{"match": {"generated": true}}`
    finds all such. Promoting it again changes nothing.
    """
    return ImageBody.of(promote(services.image_service, services.intake, services.feedback, generation_id))


@router.post("/images/{generation_id}/promote")
def promote_image(generation_id: str, services: ServicesDep) -> ImageBody:
    """The same, for those who look for it among the images. The id is that of the generation: it has none
    of an image before this.
    """
    return ImageBody.of(promote(services.image_service, services.intake, services.feedback, generation_id))
