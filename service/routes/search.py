"""POST /search and POST /rank."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.deps import Queued, ServicesDep
from service.search_schemas import RankRequest, SearchAnswer, SearchRequest

router = APIRouter(tags=["search"], dependencies=[Queued])


# Plain `def`s: the encoder and the index block, so FastAPI runs these in its thread pool.
@router.post("/search", response_model=SearchAnswer)
def search(request: SearchRequest, services: ServicesDep) -> Response:
    """The best pictures for a query and axis weights together, best first.

    A weight of 1 on an axis trades one standard deviation of the axis for one of the query's similarity, over
    this collection. `contributions` say how much each term gave each hit. Pictures named by `id` in the query
    are left out of the hits.
    """
    return SearchAnswer.of(services.engine.search(request.to_query())).to_response()


@router.post("/rank", response_model=SearchAnswer)
def rank(
    services: ServicesDep,
    axis: Annotated[str | None, Query(max_length=80, examples=["aesthetics"])] = None,
    request: RankRequest | None = None,
) -> Response:
    """Pictures in the order of an axis, or of several with weights: all, those of a filter or of percentiles,
    given ids, or a query's best matches.

    `candidates` in the answer says what was ordered: `exact` is every eligible picture; `top_k` the best `n`
    matches of the query. Scores are in standard deviations of the collection.
    """
    return SearchAnswer.of(
        services.engine.rank((request or RankRequest.model_validate({})).to_query(axis))
    ).to_response()
