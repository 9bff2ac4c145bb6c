"""What a collection answers: search, order by taste, and how an axis spreads. The layer's front door."""

from indexer.imaging.decode import Limits
from indexer.protocols import Encoder, Snapshot, Store
from indexer.tables.axes import AxisStore
from rerank.axes.statistics import MomentsCache
from rerank.axes.terms import AxisScorer
from rerank.cursor import Cursor
from rerank.match.cache import MatchCache
from rerank.monitor import RecallMonitor
from rerank.query import QueryEncoder
from rerank.rank import Ranker
from rerank.rephrase.rephraser import Rephraser
from rerank.search import Searcher
from rerank.types import Answer, Distribution, RankQuery, SearchQuery


class Engine:
    """Each question is answered from the newest version of a store, its following pages from the same one.

    Safe to call from threads.
    """

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        axes: AxisStore,
        limits: Limits,
        *,
        rephraser: Rephraser,
        moments: MomentsCache,
        matches: MatchCache,
        monitor: RecallMonitor | None = None,
    ) -> None:
        self._store = store
        queries, scorer = QueryEncoder(encoder, limits), AxisScorer(axes, encoder.model_id, moments)
        self._searcher = Searcher(queries, scorer, rephraser, matches, monitor)
        self._ranker = Ranker(queries, scorer)

    def search(self, query: SearchQuery) -> Answer:
        """See `Searcher.search`."""
        return self._searcher.search(query, *self._open(query.cursor))

    def rank(self, query: RankQuery) -> Answer:
        """See `Ranker.rank`."""
        return self._ranker.rank(query, *self._open(query.cursor))

    def distribution(self, axis: str, *, bars: int = 20) -> Distribution:
        """See `Ranker.distribution`."""
        return self._ranker.distribution(axis, self._store.snapshot(), bars=bars)

    def _open(self, text: str | None) -> tuple[Snapshot, Cursor | None]:
        cursor = None if text is None else Cursor.decode(text)
        return self._store.snapshot(None if cursor is None else cursor.version), cursor
