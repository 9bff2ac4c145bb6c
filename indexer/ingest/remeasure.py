"""The measures of pictures that an older version indexed, from their thumbnails where there are some."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from indexer.blobs.thumbnails import ThumbnailStore
from indexer.collection.collection import Collection
from indexer.errors import KallosError
from indexer.filters.language import Exists, Group
from indexer.imaging.decode import Limits, decode
from indexer.imaging.measurer import Measurer
from indexer.types import ImageId, ImageRow, JSONValue
from indexer.where import Matching

BATCH = 256  # pictures per transaction


@dataclass(slots=True)
class MeasureReport:
    """`failed`: why a picture could not be measured, by id. `stopped`: running again goes on from here."""

    measured: int = 0
    failed: dict[ImageId, str] = field(default_factory=dict)
    stopped: bool = False


def measure_missing(
    collection: Collection,
    thumbnails: ThumbnailStore,
    read_original: Callable[[ImageRow], bytes],
    limits: Limits,
    *,
    threads: int,
    measurer: Measurer = Measurer(),  # noqa: B008  # frozen
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> MeasureReport:
    """Store the measures of every picture that lacks some; values that are there stay.

    `read_original` is asked where a thumbnail is gone, and raises a KallosError when the original is, too.
    `on_progress` is told after each batch how many are done, of how many.
    """
    report = MeasureReport()
    snapshot = collection.snapshot()
    unmeasured = Matching(Group((), (), (Group(tuple(Exists(name) for name in measurer.fields), (), ()),)))
    total, done, after = snapshot.count(unmeasured), 0, 0

    def attempt(row: ImageRow) -> dict[str, JSONValue] | str:
        try:
            data = thumbnails.get(row.sha256) or read_original(row)
            return measurer(decode(data, limits).pixels)
        except KallosError as error:
            return str(error)

    with ThreadPoolExecutor(threads, "measure") as workers:
        while rows := snapshot.scroll(after=after, limit=BATCH, where=unmeasured):
            if should_stop():
                report.stopped = True
                break
            outcomes = dict(zip([row.id for row in rows], workers.map(attempt, rows), strict=True))
            measured = {key: one for key, one in outcomes.items() if not isinstance(one, str)}
            report.measured += collection.fill(measured)
            report.failed |= {key: one for key, one in outcomes.items() if isinstance(one, str)}
            done, after = done + len(rows), rows[-1].id
            on_progress(done, total)
    return report
