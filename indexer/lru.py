"""A bounded memory of what was asked for last: one class for all caches of values in memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Keeps values, which are never None, while together they weigh at most `most`; the oldest go first.

    `weigh` says what one weighs: without it they are counted. The newest value is kept however much it
    weighs. Safe to use from threads.
    """

    def __init__(self, most: float, weigh: Callable[[V], float] = lambda _: 1) -> None:
        self._most = most
        self._weigh = weigh
        self._lock = Lock()
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._weight = 0.0
        self._turns: dict[K, tuple[Lock, int]] = {}  # of keys that are being made: their lock, who uses it

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: K) -> V | None:
        """What is kept under `key`, which is then the newest."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: K, value: V) -> None:
        """In place of what was kept under `key`."""
        weight = self._weigh(value)
        with self._lock:
            if key in self._kept:
                self._weight -= self._kept.pop(key)[1]
            self._kept[key] = value, weight
            self._weight += weight
            while self._weight > self._most and len(self._kept) > 1:
                _, (_, gone) = self._kept.popitem(last=False)
                self._weight -= gone

    def get(self, key: K, make: Callable[[], V]) -> V:
        """What is kept, or what `make` returns: called once, while others who ask for the same key wait.

        They do not wait for other keys. When it raises, who waits makes it anew.
        """
        value = self.find(key)
        if value is not None:
            return value
        with self._lock:
            turn, users = self._turns.get(key, (Lock(), 0))
            self._turns[key] = turn, users + 1
        try:
            with turn:
                value = self.find(key)
                if value is None:
                    value = make()
                    self.keep(key, value)
                return value
        finally:
            with self._lock:
                turn, users = self._turns.pop(key)
                if users > 1:
                    self._turns[key] = turn, users - 1
