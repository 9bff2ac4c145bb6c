"""An engine over a collection of `ColourEncoder`, for tests."""

from indexer.collection.collection import Collection
from indexer.imaging.decode import Limits
from indexer.tables.axes import AxisStore
from rerank.axes.statistics import MomentsCache
from rerank.engine import Engine
from rerank.match.cache import MatchCache
from rerank.rephrase.chat import ChatModel
from rerank.rephrase.rephraser import Rephraser
from tests.support.encoder import ColourEncoder

LIMITS = Limits(1 << 20, 1 << 20)


def open_engine(collection: Collection, axes: AxisStore, *, model: ChatModel | None = None) -> Engine:
    """`model` rephrases queries."""
    encoder, moments = ColourEncoder(), MomentsCache()
    return Engine(
        collection,
        encoder,
        axes,
        LIMITS,
        rephraser=Rephraser(encoder, model),
        moments=moments,
        matches=MatchCache(encoder, moments),
    )
