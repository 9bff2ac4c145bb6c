"""The index measures itself: a share of live searches is answered again, exactly, when nobody is waiting.

Dimension key   D embedding, K results
"""

import logging
import os
import random
import threading
from dataclasses import dataclass
from queue import Empty, Full, Queue

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from indexer.errors import KallosError
from indexer.protocols import EXACT, Snapshot
from indexer.tables.recall_log import RecallLog
from indexer.where import Where

LOG = logging.getLogger("kallos.recall")
K = 10
WAITING = 8  # samples; more are dropped: the measurement must never become the load
NICENESS = 15
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One search as it was run, and what it found."""

    snapshot: Snapshot
    direction_D: Float32[ndarray, " d"]
    where: Where
    recall: float
    ids_K: Int64[ndarray, " k"]


class RecallMonitor:
    """Hand it approximate searches with `offer`; it keeps a `share` of them.

    Its thread begins with the first sample that is kept, and ends with `close`.
    """

    def __init__(self, log: RecallLog, share: float) -> None:
        self._log = log
        self._share = share
        self._random = random.Random(0)
        self._queue: Queue[Sample] = Queue(WAITING)
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def offer(self, sample: Sample) -> None:
        """Returns at once."""
        if self._random.random() < self._share:
            self._start()
            try:
                self._queue.put_nowait(sample)
            except Full:
                LOG.debug("a recall sample was dropped: the machine is busy")

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="recall", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._ending.is_set():
            try:
                sample = self._queue.get(timeout=POLL_S)
            except Empty:
                continue
            try:
                self._measure(sample)
            except KallosError as error:
                LOG.warning("cannot measure recall: %s", error)

    def _measure(self, sample: Sample) -> None:
        k = min(K, len(sample.ids_K))
        truth = sample.snapshot.nearest(sample.direction_D, k, sample.where, recall=EXACT)
        if k:
            found = len(np.intersect1d(truth.ids_K, sample.ids_K[:k]))
            self._log.record(k=k, found=found, asked=sample.recall)
