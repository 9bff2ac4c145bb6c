"""Is it up, and can it answer."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.deps import ServicesDep

router = APIRouter(prefix="/health", tags=["health"])


class ModelFacts(BaseModel):
    id: str
    dim: int
    licence: str


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
    )
