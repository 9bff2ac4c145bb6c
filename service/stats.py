"""The state of a collection in numbers, for `kallos stats` and /metrics."""

from dataclasses import dataclass

from indexer.collection.collection import Collection
from indexer.tables.recall_log import RecallEstimate, RecallLog


@dataclass(frozen=True, slots=True)
class Stats:
    """See `StoreInfo`. `recall` is None until searches have been measured; `generation` is `data_version`."""

    images: int
    data_version: int
    generation: int
    model: str
    index: str
    index_device: str
    gpu_failures: int
    indexed_rows: int
    unindexed_rows: int
    deleted_rows: int
    disk_bytes: int
    recall: RecallEstimate | None
    recall_alert: float

    @property
    def alert(self) -> bool:
        """Whether recall is surely below the threshold: its whole confidence interval is."""
        return self.recall is not None and self.recall.high < self.recall_alert


def stats_of(collection: Collection, recall_alert: float) -> Stats:
    store = collection.info()
    return Stats(
        images=store.images,
        data_version=store.version.number,
        generation=store.version.number,
        model=collection.model_id,
        index=store.index,
        index_device=store.index_device,
        gpu_failures=store.gpu_failures,
        indexed_rows=store.indexed_rows,
        unindexed_rows=store.unindexed_rows,
        deleted_rows=store.deleted_rows,
        disk_bytes=store.disk_bytes,
        recall=RecallLog(collection.database, collection.name).estimate(),
        recall_alert=recall_alert,
    )
