"""GET /metrics, in the text format of Prometheus."""

from fastapi import APIRouter, Request, Response

from service.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Requests, the collection, and the recall of live searches."""
    collected: Metrics = request.app.state.metrics
    return collected.text()
