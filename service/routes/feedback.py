"""POST /feedback: which hit somebody opened."""

from typing import Annotated, Literal

from fastapi import APIRouter, status
from pydantic import BaseModel, ConfigDict, Field

from indexer.tables.interactions import MOST_CHARACTERS
from service.deps import ServicesDep
from service.schemas import AnyImageId, Body

router = APIRouter(tags=["search"])


class FeedbackRequest(Body):
    """The words that were searched for, and the hit that was opened."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "a red bicycle", "image": 1, "action": "click"}]}
    )

    query: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS, pattern=r"\S")]
    image: AnyImageId
    action: Literal["click"]


class FeedbackAnswer(BaseModel):
    """`recorded` is false where the server keeps no such log (`KALLOS_LOG_QUERIES`)."""

    recorded: bool


@router.post("/feedback", status_code=status.HTTP_202_ACCEPTED)
def feedback(request: FeedbackRequest, services: ServicesDep) -> FeedbackAnswer:
    """Tell that a picture was opened from the hits of a query. Words and picture are kept, not who asked."""
    (row,) = services.collection.snapshot().rows([request.image])
    services.feedback.clicked(request.query, row.id)
    return FeedbackAnswer(recorded=services.feedback.is_on)
