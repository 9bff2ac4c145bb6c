"""The state of a collection in numbers, for `kallos stats` and /metrics."""

from dataclasses import dataclass

from indexer.disk.files import size_of
from indexer.tables.recall_log import RecallEstimate
from service.wiring import Services


@dataclass(frozen=True, slots=True)
class Stats:
    """`index` is the family in force, or `exact`; `index_device` what searches it, and if not a GPU, why.

    `gpu_failures` were answered by the CPU. `recall` is None until searches have been measured.
    """

    images: int
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


def stats_of(services: Services) -> Stats:
    view = services.collection.view()
    gpu = services.collection.snapshots.gpu
    rows = view.images + view.deleted
    return Stats(
        images=view.images,
        generation=view.generation,
        model=services.encoder.model_id,
        index=view.family or "exact",
        index_device=view.where,
        gpu_failures=0 if gpu is None else gpu.failures,
        indexed_rows=view.built,
        unindexed_rows=rows - view.built,
        deleted_rows=view.deleted,
        disk_bytes=size_of(services.collection.folder),
        recall=services.recall.estimate(),
        recall_alert=services.settings.recall_alert,
    )
