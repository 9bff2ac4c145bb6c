"""A circuit breaker: a server that failed too often in a row is not asked for a while."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Closed: every call passes. Open: none, for `cool_down_s`. Half open: one tries for all.

    Each True of `admits` must be followed by `succeeded` or `failed`.
    """

    def __init__(
        self, *, failures: int = 3, cool_down_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._lock = Lock()
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        with self._lock:
            return self._state()

    def admits(self) -> bool:
        with self._lock:
            match self._state():
                case "closed":
                    return True
                case "open":
                    return False
                case "half_open":
                    free, self._trying = not self._trying, True
                    return free

    def succeeded(self) -> None:
        with self._lock:
            self._in_a_row, self._opened_at, self._trying = 0, None, False

    def failed(self) -> None:
        """Open after enough of these in a row, and at once when the one that tried for all failed."""
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= self._most:
                self._opened_at, self._trying = self._clock(), False

    def _state(self) -> BreakerState:
        if self._opened_at is None:
            return "closed"
        return "open" if self._clock() < self._opened_at + self._cool_down_s else "half_open"
