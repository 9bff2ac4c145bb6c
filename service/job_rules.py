"""What keeps a queue fair and bounded."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from indexer.errors import BudgetError, QueueFullError
from indexer.tables.jobs import HOUR_S, Load

GUESS_S = 10  # to wait for a place, while nothing is known of how long jobs take
MOST_ATTEMPTS = 3  # at a job during which the process dies


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds on one kind of job; None: no bound.

    `most_waiting` jobs may stand in the queue. `per_hour` is the cost that one client may cause in an hour.
    A job during which the process died `most_attempts` times is not tried again.
    """

    most_waiting: int | None = None
    per_hour: float | None = None
    most_attempts: int = MOST_ATTEMPTS

    def admit(self, cost: float | None) -> Callable[[Load], None]:
        """What says whether there is room for one more job: it raises QueueFullError or BudgetError, with the
        seconds after which to try again.
        """

        def check(load: Load) -> None:
            if self.most_waiting is not None and load.waiting >= self.most_waiting:
                raise QueueFullError(
                    f"{load.waiting} jobs wait already, the most allowed: try again later",
                    ceil(load.seconds_per_unit or GUESS_S),
                )
            if self.per_hour is not None and cost is not None:
                _check_budget(load.spent, cost, self.per_hour)

        return check


def _check_budget(spent: tuple[tuple[float, float], ...], cost: float, per_hour: float) -> None:
    now = time.time()
    over = sum(one_cost for one_cost, _ in spent) + cost - per_hour
    if over <= 0:
        return
    free_at = now + HOUR_S
    for one_cost, queued_at in spent:
        over -= one_cost
        if over <= 0:
            free_at = queued_at + HOUR_S
            break
    raise BudgetError(
        f"{cost:g} more would be over the {per_hour:g} an hour that one client may ask for",
        max(1, ceil(free_at - now)),
    )
