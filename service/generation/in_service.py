"""The generator that is in service now: what `kallos generator use` named last, else the builtin one.

Each picture is drawn from one set of weights: it ends with the generator that was in force when it began. The
next one looks again, so that a change needs no restart and no message between processes.
"""

import logging
from collections.abc import Callable
from threading import Lock

from indexer.blobs.deployed import DeployedStore
from indexer.errors import CorruptStoreError
from rerank.generate.request import Generated, GenerationRequest, Generator, Progress
from rerank.generate.tuned.deployed import Load, load_in_service

LOG = logging.getLogger("kallos.generator")


class InServiceGenerator:
    """The law is `rerank.generate.request.Generator`.

    One that cannot be loaded is an error of every picture until another is put in service: no other takes
    its place in silence.
    """

    def __init__(self, store: DeployedStore, load: Load) -> None:
        self._store = store
        self._load = load
        self._loading = Lock()
        self._loaded: tuple[str | None, Generator] | None = None

    @property
    def model_id(self) -> str:
        return self._now().model_id

    @property
    def licence(self) -> str:
        return self._now().licence

    def try_loading(self) -> None:
        """Say what is wrong with options now. Of a damaged folder the pictures tell: searches need none.

        Raises what `load` raises.
        """
        try:
            self._now()
        except CorruptStoreError as error:
            LOG.warning("no picture can be made: %s", error)

    def generate(
        self, request: GenerationRequest, on_step: Callable[[Progress], None] = lambda _progress: None
    ) -> Generated:
        return self._now().generate(request, on_step)

    def _now(self) -> Generator:
        with self._loading:
            current = self._store.state().current
            if self._loaded is None or self._loaded[0] != current:
                self._loaded = current, load_in_service(self._store, current, self._load)
            return self._loaded[1]
