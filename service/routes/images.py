"""Pictures as resources."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from indexer.errors import InvalidInputError
from indexer.filters.language import parse_filter_text
from indexer.imaging.decode import THUMBNAIL_SIDE, media_type, render, thumbnail_of
from indexer.ingest.ingest import ItemReport
from indexer.types import ImageId, ImageRow
from indexer.where import EVERYTHING, Matching, Where
from service.content import picture
from service.deps import Queued, ServicesDep
from service.pictures import PictureFiles
from service.schemas import AnyImageId, Body, Deleted, ImageBody, ImageList, Limit, MetadataIn, Total
from service.uploads import Upload, add_uploads, forget
from service.wiring import Services

router = APIRouter(prefix="/images", tags=["images"])

MOST_FILES = 1000
Name = Annotated[str, Field(max_length=1000)]


class ImageIn(Body):
    """Exactly one of `data` (base64 of a picture file) and `url`."""

    data: str | None = None
    url: Annotated[str, Field(max_length=8000)] | None = None
    name: Name = ""
    metadata: Annotated[MetadataIn, Field(default_factory=dict)]


class ImagesIn(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"images": [{"url": "https://example.org/a.jpg", "metadata": {"tags": ["sea"]}}]}]
        }
    )

    images: Annotated[list[ImageIn], Field(min_length=1, max_length=MOST_FILES)]


EXAMPLE = '{"range": {"taken_at": {"lt": "2020-01-01"}}}'
EXAMPLE_BOX = '{"geo_box": {"south": 57.9, "west": 4.5, "north": 71.2, "east": 31.1}}'
FilterParam = Annotated[str | None, Query(max_length=20_000, examples=[EXAMPLE, EXAMPLE_BOX])]
RequiredFilterParam = Annotated[str, Query(max_length=20_000, examples=[EXAMPLE, EXAMPLE_BOX])]
ScrollCursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")]

REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": ImagesIn.model_json_schema()},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
    },
}


class ImageResult(BaseModel):
    """`status`: indexed, unchanged or failed; a failure has a `reason` (one word) and a `message`."""

    uri: str
    id: int | None
    status: str
    reason: str | None
    message: str | None

    @classmethod
    def of(cls, report: ItemReport) -> "ImageResult":
        return cls(
            uri=report.uri,
            id=report.id,
            status=report.status,
            reason=report.reason,
            message=report.message,
        )


class ImagesOut(BaseModel):
    results: list[ImageResult]


class Patch(Body):
    """A JSON merge patch over the metadata: null removes a key."""

    metadata: MetadataIn


@router.post("", dependencies=[Queued], openapi_extra={"requestBody": REQUEST_BODY})
async def add_images(request: Request, services: ServicesDep) -> ImagesOut:
    """Add pictures: `multipart/form-data` with `files`, or JSON with base64 or URLs.

    Every picture has its own status; one bad picture fails alone.
    """
    uploads = await _uploads(request)
    return await run_in_threadpool(_added, services, uploads)


@router.get("")
def list_images(
    services: ServicesDep, filter: FilterParam = None, limit: Limit = 100, cursor: ScrollCursor = None
) -> ImageList:
    """The whole collection, or what passes a filter (JSON), by rising id: every picture exactly once.

    Pictures added while you scroll may come at the end.
    """
    after = int(cursor or 0)
    rows = services.collection.snapshot().scroll(after=after, limit=limit, where=_where(filter))
    following = str(rows[-1].id) if len(rows) == limit else None
    return ImageList(images=[ImageBody.of(row) for row in rows], cursor=following)


@router.get("/count")
def count_images(services: ServicesDep, filter: FilterParam = None) -> Total:
    """How many pictures there are, or pass a filter (JSON)."""
    return Total(count=services.collection.snapshot().count(_where(filter)))


@router.delete("")
def delete_images(services: ServicesDep, filter: RequiredFilterParam) -> Deleted:
    """Forget every picture that passes a filter (JSON). Local files stay where they are."""
    ids = services.collection.snapshot().ids(_where(filter))
    for start in range(0, len(ids), MOST_FILES):
        _forget(services, ids[start : start + MOST_FILES])
    return Deleted(deleted=len(ids))


@router.get("/{image_id}")
def get_image(image_id: AnyImageId, services: ServicesDep) -> ImageBody:
    return ImageBody.of(_row(services, image_id))


@router.patch("/{image_id}")
def patch_image(image_id: AnyImageId, patch: Patch, services: ServicesDep) -> ImageBody:
    """Change what is known of a picture; its vector stays."""
    return ImageBody.of(services.collection.patch(ImageId(image_id), patch.metadata))


@router.delete("/{image_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_image(image_id: AnyImageId, services: ServicesDep) -> None:
    """Forget a picture. A local file stays where it is; an uploaded one is removed."""
    _forget(services, [ImageId(image_id)])


@router.get(
    "/{image_id}/content",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}}, 304: {"description": "The copy you have is current."}},
)
def get_content(
    image_id: AnyImageId,
    services: ServicesDep,
    width: Annotated[int | None, Query(ge=16, le=4096)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The picture: its original bytes, or with `width` a JPEG at most that many pixels wide."""
    row = _row(services, image_id)
    return picture(row.sha256, width, if_none_match, lambda: _content(services.pictures, row, width))


def _content(pictures: PictureFiles, row: ImageRow, width: int | None) -> tuple[bytes, str]:
    if width is None:
        return pictures.original(row), media_type(row.format)
    return _rendered(pictures, row, width), "image/jpeg"


def _rendered(pictures: PictureFiles, row: ImageRow, width: int) -> bytes:
    if width > THUMBNAIL_SIDE:
        return render(pictures.original(row), pictures.limits, width)
    small = pictures.thumbnails.get(row.sha256)
    if small is None:
        small = thumbnail_of(pictures.original(row), pictures.limits)
        pictures.thumbnails.put(row.sha256, lambda: small)
    return small if width == THUMBNAIL_SIDE else render(small, pictures.limits, width)


def _forget(services: Services, ids: Sequence[ImageId]) -> None:
    forget(services.collection, services.pictures.thumbnails, services.image_service, ids)


def _where(filter: str | None) -> Where:
    return EVERYTHING if filter is None else Matching(parse_filter_text(filter))


def _row(services: Services, image_id: int) -> ImageRow:
    return services.collection.snapshot().rows([image_id])[0]


def _added(services: Services, uploads: list[Upload]) -> ImagesOut:
    return ImagesOut(results=[ImageResult.of(report) for report in add_uploads(services.intake, uploads)])


async def _uploads(request: Request) -> list[Upload]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=MOST_FILES, max_fields=MOST_FILES) as form:
            files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
            if not files:
                raise InvalidInputError("the form has no file in its field 'files'")
            return [Upload(file.filename or "", await file.read(), None, {}) for file in files]
    try:
        body = ImagesIn.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from error
    return [_upload(image) for image in body.images]


def _upload(image: ImageIn) -> Upload:
    if (image.data is None) == (image.url is None):
        raise InvalidInputError("each image needs exactly one of data and url")
    if image.data is None:
        return Upload(image.name, None, image.url, image.metadata)
    try:
        return Upload(image.name, base64.b64decode(image.data, validate=True), None, image.metadata)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"image {image.name!r} is not base64: {error}") from error
