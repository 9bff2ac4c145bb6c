"""POST /search and POST /rank."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.answer_schemas import SearchAnswer
from service.deps import ClientDep, OnMissDep, Queued, ServicesDep
from service.generation.on_miss import unmet
from service.search_schemas import RankRequest, SearchRequest

router = APIRouter(tags=["search"], dependencies=[Queued])


# Plain `def`s: the encoder and the index block, so FastAPI runs these in its thread pool.
@router.post("/search", response_model=SearchAnswer)
def search(request: SearchRequest, services: ServicesDep, on_miss: OnMissDep, client: ClientDep) -> Response:
    """The best pictures for a query and axis weights together, best first.

    A weight of 1 on an axis trades one standard deviation of the axis for one of the query's similarity, over
    this collection. `contributions` say how much each term gave each hit. Pictures named by `id` in the query
    are left out of the hits.
    """
    query = request.to_query()
    answer = services.engine.search(query)
    words, miss = unmet(query, answer, request.match_threshold), None
    if words is not None:
        services.feedback.missed(words, answer.match)
        miss = on_miss.ask(words, client=client) if request.generate_if_no_match else None
    return SearchAnswer.of(answer, miss, match_threshold=request.match_threshold).to_response()


@router.post("/search/generate-if-no-match", response_model=SearchAnswer)
def search_or_generate(
    request: SearchRequest, services: ServicesDep, on_miss: OnMissDep, client: ClientDep
) -> Response:
    """/search with `generate_if_no_match`: when nothing fits, the answer holds the nearest hits and a job."""
    return search(request.model_copy(update={"generate_if_no_match": True}), services, on_miss, client)


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
