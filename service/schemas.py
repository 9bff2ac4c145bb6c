"""What bodies of several routes share, and pictures as bodies."""

import base64
import binascii
import math
import reprlib
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from indexer.errors import InvalidInputError
from indexer.tables.metadata import DEEPEST, storable
from indexer.types import ImageRow

LARGEST_PAGE = 1000
LARGEST_ID = 2**63 - 1


def _as_stored(metadata: dict[str, Any]) -> dict[str, Any]:
    """Nothing that would be stored as null."""
    for name, value in metadata.items():
        if storable({name: value}) != {name: value}:
            raise ValueError(
                f"got {reprlib.repr(value)} for {name!r}, expected finite numbers, whole letters and at "
                f"most {DEEPEST} levels"
            )
    return metadata


Name = Annotated[str, Field(max_length=80)]
FieldName = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]
MetadataIn = Annotated[dict[str, Any], AfterValidator(_as_stored)]
AnyImageId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]
Prompt = Annotated[str, Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A misspelt field is an error: silently ignored, it would answer another question."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageBody(BaseModel):
    """A stored picture."""

    id: int
    uri: str
    sha256: str
    added_at: str
    metadata: dict[str, Any]

    @classmethod
    def of(cls, row: ImageRow) -> Self:
        return cls(
            id=row.id,
            uri=row.uri,
            sha256=row.sha256,
            added_at=iso(row.added_at),
            metadata=metadata_of(row),
        )


class ImageList(BaseModel):
    """Pictures by rising id; `cursor` asks for the next page, null after the last."""

    images: list[ImageBody]
    cursor: str | None


class Deleted(BaseModel):
    deleted: int


class Total(BaseModel):
    count: int


def metadata_of(row: ImageRow) -> dict[str, Any]:
    """What is known of a picture: its own metadata, and the columns that every picture has."""
    return dict(row.metadata) | {
        "width": row.width,
        "height": row.height,
        "format": row.format,
        "size": row.size,
        "taken_at": None if row.taken_at is None else iso(row.taken_at),
    }


def from_base64(text: str, what: str = "image") -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"the {what} is not base64: {error}") from error


def iso(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "unknown"
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
