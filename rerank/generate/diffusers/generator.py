"""Any diffusers text-to-image pipeline of a known family; torch is imported with the first picture.

request ─► plan ─► view of the shared pipeline ─► picture ─► its safety checker ─► answer
                         └─ out of memory: once more, alone and thriftier; the answer says so
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from indexer.errors import UnavailableError, UnsafePictureError
from rerank.generate.diffusers.folder import PipelineFolder, identity_of
from rerank.generate.diffusers.options import Adapter, GeneratorOptions, check_adapters
from rerank.generate.diffusers.plan import Plan, plan_of
from rerank.generate.diffusers.read_write_lock import ReadWriteLock
from rerank.generate.request import Generated, GenerationInfo, GenerationRequest, Progress

if TYPE_CHECKING:
    from rerank.generate.diffusers.drawing import Drawn
    from rerank.generate.diffusers.loading import Opened

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "peft")


class DiffusersGenerator:
    """Implements `rerank.generate.request.Generator`. The weights are read with the first picture.

    Calls run at once and share the weights. With offload they wait for each other, since parts move.

    Raises UnavailableError when a package is missing.
    """

    def __init__(self, folder: PipelineFolder, name: str, source: str, options: GeneratorOptions) -> None:
        if missing := missing_packages():
            raise UnavailableError(f"diffusers pipelines need {missing}: pip install 'kallos[generate]'")
        self._folder = folder
        self._name = name
        self._options = options
        self._adapters = options.adapters
        self._weights = "" if options.weights is None else f"+{_named(options.weights)}"
        self._applied = _identity(options.adapters)
        self._lock = ReadWriteLock()
        self._opening = Lock()
        self._opened: Opened | None = None
        self.source = source

    @property
    def model_id(self) -> str:
        """Changes with the weights and with the adapters."""
        return f"{self._name}/{self._folder.identity}{self._weights}{self._applied}"

    @property
    def licence(self) -> str:
        return self._folder.licence

    def generate(
        self, request: GenerationRequest, on_step: Callable[[Progress], None] = lambda _progress: None
    ) -> Generated:
        plan = plan_of(request, self._folder, self._options)
        opened = self._open()
        with self._lock.read() if opened.offload == "none" else self._lock.write():
            made = self._attempt(opened, plan, on_step)
        if made is not None:
            return made
        # Outside of the exception, whose traceback keeps the tensors of the first attempt alive.
        with self._lock.write():
            made = self._attempt_thriftily(opened, plan, on_step)
        if made is None:
            raise self._too_large(opened, plan)
        return made

    def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Apply these in place of the present ones, as soon as no picture is being drawn.

        Raises InvalidInputError, CorruptStoreError: one is not usable; then the present ones stay.
        """
        from rerank.generate.diffusers.loading import use_adapters

        check_adapters(adapters)
        opened = self._open()
        with self._lock.write():
            try:
                use_adapters(opened.pipeline, adapters)
            except Exception:
                use_adapters(opened.pipeline, self._adapters)
                raise
            self._adapters, self._applied = tuple(adapters), _identity(adapters)

    def _open(self) -> "Opened":
        with self._opening:
            if self._opened is None:
                self._opened = _open_pipeline(self._folder, self._options)
            return self._opened

    def _attempt(
        self, opened: "Opened", plan: Plan, on_step: Callable[[Progress], None], note: str = ""
    ) -> Generated | None:
        """None: memory ran out."""
        from rerank.generate.diffusers.drawing import draw
        from rerank.generate.diffusers.loading import is_out_of_memory

        try:
            drawn = draw(opened, self._folder.family, plan, on_step)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return self._answer(opened, plan, drawn, note)

    def _attempt_thriftily(
        self, opened: "Opened", plan: Plan, on_step: Callable[[Progress], None]
    ) -> Generated | None:
        from rerank.generate.diffusers.drawing import low_memory_mode

        with low_memory_mode(opened) as lean:
            offload = "" if lean.offload == opened.offload else f", with {lean.offload} offload"
            note = f"memory ran out at {plan.width} x {plan.height} px: made again, decoded in tiles{offload}"
            return self._attempt(lean, plan, on_step, note)

    def _answer(self, opened: "Opened", plan: Plan, drawn: "Drawn", note: str) -> Generated:
        if drawn.is_flagged:
            raise UnsafePictureError(
                f"the safety checker of {self._name} objects to the picture: "
                "expected other words or another seed"
            )
        info = GenerationInfo(
            device=str(opened.device),
            dtype=opened.dtype,
            offload=opened.offload,
            scheduler=drawn.scheduler,
            adapters=tuple(map(str, self._adapters)),
            safety_checked=self._folder.has_safety_checker,
            warnings=(*drawn.warnings, *((note,) if note else ())),
        )
        return Generated(drawn.pixels, self.model_id, plan.seed, plan.steps, plan.guidance, info)

    def _too_large(self, opened: "Opened", plan: Plan) -> UnavailableError:
        from rerank.generate.diffusers.loading import memory_of

        advice = "a smaller picture"
        if opened.device.type == "cuda" and opened.offload != "sequential":
            advice += ", or `offload=sequential`"
        return UnavailableError(
            f"not enough memory for {plan.width} x {plan.height} px with {self._folder.size_mb} MB of "
            f"weights on disk, in {opened.dtype} ({memory_of(opened.device)}); expected {advice}"
        )


def missing_packages() -> str:
    """Names of what is not installed; empty when all is there."""
    return " and ".join(name for name in NEEDED if importlib.util.find_spec(name) is None)


def _identity(adapters: Sequence[Adapter]) -> str:
    return "".join(f"+{adapter}/{identity_of([adapter.path])}" for adapter in adapters)


def _named(weights: Path) -> str:
    return f"{weights.stem}/{identity_of([weights])}"


def _open_pipeline(folder: PipelineFolder, options: GeneratorOptions) -> "Opened":
    """Raises UnavailableError: what is installed does not load; and what `open_pipeline` raises."""
    try:
        from rerank.generate.diffusers.loading import open_pipeline
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        raise UnavailableError(
            f"diffusers does not load ({error}); pip install 'kallos[generate]', with torch and torchvision "
            "from the same package index"
        ) from error
    return open_pipeline(folder, options)
