"""How well searches really do: recall of live queries, each answered a second time exactly."""

import math
import time
from dataclasses import dataclass

from indexer.tables.database import Database

KEPT = 10_000  # samples of a collection
RECENT = 1_000  # of them that an estimate looks at
Z_95 = 1.96  # standard errors: 95 %


@dataclass(frozen=True, slots=True)
class RecallEstimate:
    """Mean recall@k of `samples` queries, with a 95 % confidence interval over queries.

    `wanted` is what those queries had asked for.
    """

    samples: int
    recall: float
    low: float
    high: float
    wanted: float


class RecallLog:
    """Samples in the database, so that every process of a collection can read them."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self._collection = collection

    def record(self, *, k: int, found: int, asked: float) -> None:
        """`found` of the true best `k` were in an answer that had been asked for recall `asked`."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO recall_sample (collection, at, k, found, asked) VALUES (?, ?, ?, ?, ?)",
                (self._collection, time.time(), k, found, asked),
            )
            connection.execute(
                "DELETE FROM recall_sample WHERE collection = ?1 AND at < (SELECT at FROM recall_sample"
                " WHERE collection = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
                (self._collection, KEPT),
            )

    def estimate(self) -> RecallEstimate | None:
        """Over the newest samples; None before the first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT 1.0 * found / k, asked FROM recall_sample WHERE collection = ?"
                " ORDER BY at DESC LIMIT ?",
                (self._collection, RECENT),
            ).fetchall()
        if not rows:
            return None
        recalls = [float(recall) for recall, _ in rows]
        count = len(recalls)
        mean = sum(recalls) / count
        # With few samples, or all alike, the spread says nothing: one more miss and one more hit are assumed.
        padded = [*recalls, 0.0, 1.0]
        centre = sum(padded) / len(padded)
        variance = sum((recall - centre) ** 2 for recall in padded) / len(padded)
        error = Z_95 * math.sqrt(variance / len(padded))
        wanted = sum(float(asked) for _, asked in rows) / count
        return RecallEstimate(
            count, mean, max(0.0, min(mean, centre - error)), min(1.0, max(mean, centre + error)), wanted
        )
