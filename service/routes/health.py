"""Is it up, and can it answer."""

from importlib.metadata import version
from typing import Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.deps import ServicesDep

router = APIRouter(prefix="/health", tags=["health"])


class ModelFacts(BaseModel):
    id: str
    dim: int
    licence: str


class Part(BaseModel):
    """`reason`: why it is not available, for people."""

    available: bool
    reason: str | None

    @classmethod
    def of(cls, problem: str | None) -> Self:
        return cls(available=problem is None, reason=problem)


class Parts(BaseModel):
    """What a server can be without: what asks for one that is not available is answered 503."""

    generation: Part
    indexing: Part
    rephrasing: Part


class Ready(BaseModel):
    """Answered only when the collection opens and counts."""

    status: Literal["ready"] = "ready"
    version: str
    collection: str
    images: int
    data_version: int
    generation: int = Field(
        description="data_version, by its old name", json_schema_extra={"deprecated": True}
    )
    model: ModelFacts
    parts: Parts


@router.get("/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/ready")
def ready(services: ServicesDep) -> Ready:
    """The data directory opens and the model is known: searches will be answered."""
    snapshot = services.collection.snapshot()
    encoder = services.encoder
    return Ready(
        version=version("kallos"),
        collection=services.collection.name,
        images=snapshot.images,
        data_version=snapshot.version.number,
        generation=snapshot.version.number,
        model=ModelFacts(id=encoder.model_id, dim=encoder.dim, licence=encoder.licence),
        parts=Parts(
            generation=Part.of(services.image_service.problem),
            indexing=Part.of(services.intake.problem),
            rephrasing=Part.of(services.search.rephraser.problem),
        ),
    )
