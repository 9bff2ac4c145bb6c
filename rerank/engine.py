"""What a collection answers: search, order by taste, and how an axis spreads. The layer's front door."""

from indexer.axis_store import AxisStore
from indexer.collection import Collection
from indexer.images import Limits
from indexer.protocols import Encoder
from rerank.axes.moments import MomentsCache
from rerank.axes.terms import Taste
from rerank.match.cache import MatchCache
from rerank.monitor import RecallMonitor
from rerank.query import QueryEncoder
from rerank.rank import Ranker
from rerank.rephrase.rephraser import Rephraser
from rerank.search import Searcher
from rerank.types import Answer, Distribution, RankQuery, SearchQuery


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
        return self._searcher.search(query, self._collection.view())

    def rank(self, query: RankQuery) -> Answer:
        """See `Ranker.rank`."""
        return self._ranker.rank(query, self._collection.view())

    def distribution(self, axis: str, *, bars: int = 20) -> Distribution:
        """See `Ranker.distribution`."""
        return self._ranker.distribution(axis, self._collection.view(), bars=bars)
