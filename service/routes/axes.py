"""Rank axes as resources."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response, status

from rerank.axes.evaluate import evaluate
from rerank.axes.file import export_axis, import_axis
from rerank.axes.fit_axis import fit_axis, standardised
from service.axis_schemas import (
    AxisBody,
    AxisDetail,
    AxisList,
    AxisRequest,
    DistributionBody,
    EvaluateRequest,
    EvaluationBody,
)
from service.deps import Queued, ServicesDep

router = APIRouter(prefix="/axes", tags=["axes"])
FILE = "application/octet-stream"


@router.get("")
def list_axes(services: ServicesDep) -> AxisList:
    """The newest version of every axis."""
    return AxisList(axes=[AxisBody.of(axis) for axis in services.axes.list()])


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[Queued])
def create_axis(request: AxisRequest, services: ServicesDep, response: Response) -> AxisBody:
    """Teach an axis: from prompts, example pictures of both ends, ordered pairs, labels, a field, or a head.

    A name that exists gets a new version; the old one stays available as `name@1`.
    """
    axis = fit_axis(request.name, request.to_signal(), services.collection, services.encoder)
    stored = services.axes.put(axis)
    response.headers["Location"] = f"/axes/{stored.name}"
    return AxisBody.of(stored)


@router.post("/import", status_code=status.HTTP_201_CREATED, dependencies=[Queued])
def import_one(
    data: Annotated[bytes, Body(media_type=FILE)],
    services: ServicesDep,
    response: Response,
    name: Annotated[str | None, Query(max_length=64, description="instead of the name in the file")] = None,
) -> AxisBody:
    """Store an axis from a file that `GET /axes/{name}/export` wrote, as the newest version of its name."""
    axis = import_axis(data, services.encoder, name=name)
    stored = services.axes.put(standardised(axis, services.collection))
    response.headers["Location"] = f"/axes/{stored.name}"
    return AxisBody.of(stored)


@router.get("/{name}")
def get_axis(name: str, services: ServicesDep) -> AxisDetail:
    """The newest version of an axis, or `name@2` that one."""
    axis = services.axes.get(name)
    return AxisDetail.with_versions(axis, services.axes.versions(axis.name))


@router.post("/{name}/evaluate", dependencies=[Queued])
def evaluate_axis(name: str, request: EvaluateRequest, services: ServicesDep) -> EvaluationBody:
    """Judge an axis by labels of pictures that it was not fitted on."""
    axis = services.axes.get(name)
    found = evaluate(axis, services.axes, request.to_labels(), services.collection, services.encoder)
    return EvaluationBody.of(axis, found)


@router.get(
    "/{name}/export",
    response_class=Response,
    responses={200: {"content": {FILE: {}}, "description": "A safetensors file."}},
)
def export_one(name: str, services: ServicesDep) -> Response:
    """An axis as one file, for `POST /axes/import`."""
    axis = services.axes.get(name)
    filename = f"{axis.name}-{axis.version}.safetensors"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(export_axis(axis, services.axes), media_type=FILE, headers=headers)


@router.get("/{name}/distribution", dependencies=[Queued])
def get_distribution(
    name: str, services: ServicesDep, bars: Annotated[int, Query(ge=1, le=200)] = 20
) -> DistributionBody:
    """How an axis spreads over the collection, and pictures along its percentiles."""
    return DistributionBody.of(services.engine.distribution(name, bars=bars))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT)
def delete_axis(name: str, services: ServicesDep) -> None:
    """Forget every version of an axis, or of `name@2` that one. A default axis comes back at a restart."""
    services.axes.delete(name)
