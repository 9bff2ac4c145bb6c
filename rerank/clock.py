"""Where the time of a query went."""

import time


class Clock:
    """Wall time of each stage of one query, in milliseconds."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = (now - self._last) * 1e3
        self._last = now

    def laps(self) -> dict[str, float]:
        return self._laps | {"total": (time.perf_counter() - self._started) * 1e3}
