"""Rank axes as resources."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from rerank.teach import teach_by_extremes, teach_by_field, teach_by_prompts
from service.deps import Queued, ServicesDep
from service.schemas import AxisBody, AxisList, AxisRequest, DistributionBody

router = APIRouter(prefix="/axes", tags=["axes"])


@router.get("")
def list_axes(services: ServicesDep) -> AxisList:
    """The newest version of every axis."""
    return AxisList(axes=[AxisBody.of(axis) for axis in services.axes.list()])


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[Queued])
def create_axis(request: AxisRequest, services: ServicesDep, response: Response) -> AxisBody:
    """Teach an axis: from words for both ends, from example pictures for both ends, or from a stored field.

    A name that exists gets a new version; the old one stays available as `name@1`.
    """
    if request.extremes is not None:
        axis = teach_by_extremes(
            request.name, request.extremes.high, request.extremes.low, services.collection, services.encoder
        )
    elif request.prompts is not None:
        axis = teach_by_prompts(request.name, request.prompts.high, request.prompts.low, services.encoder)
    else:
        axis = teach_by_field(request.name, request.field or "", services.collection, services.encoder)
    stored = services.axes.put(axis)
    response.headers["Location"] = f"/axes/{stored.name}"
    return AxisBody.of(stored)


@router.get("/{name}")
def get_axis(name: str, services: ServicesDep) -> AxisBody:
    return AxisBody.of(services.axes.get(name))


@router.get("/{name}/distribution", dependencies=[Queued])
def get_distribution(
    name: str, services: ServicesDep, bars: Annotated[int, Query(ge=1, le=200)] = 20
) -> DistributionBody:
    """How an axis spreads over the collection, and pictures along its percentiles."""
    return DistributionBody.of(services.engine.distribution(name, bars=bars))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
def delete_axis(name: str, services: ServicesDep) -> None:
    """Forget every version of an axis. A default axis comes back at the next start."""
    services.axes.delete(name)
