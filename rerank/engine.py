"""What a collection answers: search, order by taste, and how an axis spreads. The layer's front door."""

from collections.abc import Callable
from functools import partial

from indexer.collection.collection import Collection
from indexer.collection.view import View
from indexer.errors import ConflictError
from indexer.imaging.decode import Limits
from indexer.protocols import Encoder
from indexer.tables.axes import AxisStore
from rerank.axes.moments import MomentsCache
from rerank.axes.terms import Taste
from rerank.match.cache import MatchCache
from rerank.monitor import RecallMonitor
from rerank.query import QueryEncoder
from rerank.rank import Ranker
from rerank.rephrase.rephraser import Rephraser
from rerank.search import Searcher
from rerank.types import Answer, Distribution, RankQuery, SearchQuery

TRIES = 3  # an edit may meet each; who edits hits without a pause is not waited for


class Engine:
    """Each question is answered over the newest generation. Safe to call from threads."""

    def __init__(
        self,
        collection: Collection,
        encoder: Encoder,
        axes: AxisStore,
        limits: Limits,
        *,
        rephraser: Rephraser,
        moments: MomentsCache,
        matches: MatchCache,
        monitor: RecallMonitor | None = None,
    ) -> None:
        self._collection = collection
        queries, taste = QueryEncoder(encoder, limits), Taste(axes, encoder.model_id, moments)
        self._searcher = Searcher(queries, taste, rephraser, matches, monitor)
        self._ranker = Ranker(queries, taste)

    def search(self, query: SearchQuery) -> Answer:
        """See `Searcher.search`."""
        return self._complete(partial(self._searcher.search, query))

    def rank(self, query: RankQuery) -> Answer:
        """See `Ranker.rank`."""
        return self._complete(partial(self._ranker.rank, query))

    def distribution(self, axis: str, *, bars: int = 20) -> Distribution:
        """See `Ranker.distribution`."""
        return self._ranker.distribution(axis, self._collection.view(), bars=bars)

    def _complete(self, ask: Callable[[View], Answer]) -> Answer:
        """The answer over a view whose hits nobody edited while they were being found, if one comes soon."""
        for _ in range(TRIES - 1):
            try:
                answer = ask(self._collection.view())
            except ConflictError:  # a picture that the question names was edited
                continue
            if answer.complete:
                return answer
        return ask(self._collection.view())
