"""The match model of the newest snapshot: learned in the background, kept on disk, and again after growth."""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.errors import CorruptStoreError, KallosError, StoreError
from indexer.protocols import Encoder, Snapshot, Version
from rerank.axes.statistics import DRIFT, MomentsCache
from rerank.match.file import load_model, save_model
from rerank.match.fit import FEWEST_PICTURES, learn
from rerank.match.model import MatchModel

LOG = logging.getLogger("kallos.match")
NICENESS = 10
SEED = 0  # of the pseudo-queries: one collection gives one model


@dataclass(frozen=True, slots=True)
class Learned:
    """A model, and the collection that taught it."""

    model: MatchModel
    writes: int
    images: int

    def fits(self, snapshot: Snapshot) -> bool:
        change = abs(snapshot.writes - self.writes) + abs(snapshot.images - self.images)
        return change <= DRIFT * max(self.images, 1)


class MatchCache:
    """Hands out the model that there is, and never makes a search wait for a better one.

    Thread-safe. One thread learns at a time; `close` waits for it.
    """

    def __init__(
        self, encoder: Encoder, moments: MomentsCache, path: Path | None = None, *, learns: bool = True
    ) -> None:
        """With `path` the model is kept there, and the next process begins with it.

        Without `learns` it only reads what others left there: a command should not outlast its answer.
        """
        self._encoder = encoder
        self._moments = moments
        self._path = path
        self._learns = learns
        self._lock = threading.Lock()
        self._learned: Learned | None = None
        self._looked = path is None
        self._thread: threading.Thread | None = None
        self._failed: tuple[Version, str] | None = None  # and the reason
        self._closed = False

    def of(self, snapshot: Snapshot) -> MatchModel | str:
        """The model for `snapshot`, perhaps one that is being replaced; or why there is none yet. At once."""
        if snapshot.images < FEWEST_PICTURES:
            return f"{snapshot.images} pictures: {FEWEST_PICTURES} are needed to learn from"
        with self._lock:
            if not self._looked:
                self._learned = self._load()
                self._looked = True
            if self._learns and (self._learned is None or not self._learned.fits(snapshot)):
                self._start(snapshot)
            if self._learned is not None:
                return self._learned.model
            if self._failed is not None and self._failed[0] == snapshot.version:
                return f"it could not be learned: {self._failed[1]}"
            return "it is being learned" if self._learns else "nobody has learned it yet: `kallos serve` does"

    def wait(self, snapshot: Snapshot) -> MatchModel | str:
        """As `of`, after the learning that is under way."""
        self.of(snapshot)
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        return self.of(snapshot)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self, snapshot: Snapshot) -> None:
        """Called with the lock held."""
        failed_here = self._failed is not None and self._failed[0] == snapshot.version
        if self._closed or failed_here or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._learn, args=(snapshot,), name="match", daemon=True)
        self._thread.start()

    def _learn(self, snapshot: Snapshot) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            model = learn(
                snapshot, self._encoder.encode_texts, self._moments.of(snapshot), np.random.default_rng(SEED)
            )
        except KallosError as error:
            LOG.warning("cannot learn when nothing matches: %s", error)
            with self._lock:
                self._failed = (snapshot.version, str(error))
            return
        with self._lock:
            self._learned = Learned(model, snapshot.writes, snapshot.images)
        if self._path is not None:
            about = {"model_id": self._encoder.model_id, "slots": snapshot.writes, "images": snapshot.images}
            try:
                save_model(self._path, model, about)
            except StoreError as error:
                LOG.warning("the next process learns again when nothing matches: %s", error)

    def _load(self) -> Learned | None:
        if self._path is None or not self._path.exists():
            return None
        try:
            model, about = load_model(self._path)
        except CorruptStoreError as error:
            LOG.warning("%s; it is made anew", error)
            return None
        if about["model_id"] != self._encoder.model_id:
            return None
        return Learned(model, int(about["slots"]), int(about["images"]))
