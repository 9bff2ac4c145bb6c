"""Requests → stored pictures: checked, drawn, judged, enlarged, signed, kept."""

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from threading import RLock

from indexer.blobs.originals import OriginalStore
from indexer.errors import (
    GenerationUnavailableError,
    OutOfMemoryError,
    PictureRefusedError,
    UnavailableError,
)
from indexer.imaging.decode import sha256_of
from indexer.imaging.enlarge import resize
from indexer.imaging.provenance import Origin, to_signed_png
from indexer.tables.generated import Generation, GenerationStore
from indexer.types import JSONValue
from rerank.generate.request import Generated, Generator, Pixels, Progress
from rerank.generate.safety import Blocklist, Classifier
from service.generation.option_names import with_settings
from service.generation.spec import GenerationSpec

DISPLAY_SIDE = 512  # pixels of the longer side, where no size was asked for and the generator's is smaller


class ImageGenerationService:
    """Safe to use from threads. Without a generator it has the pictures that were made, and makes no more.

    Hold `files` while something that is not yet in the database needs a file of originals/.
    """

    def __init__(
        self,
        generator: Generator | None,
        store: GenerationStore,
        originals: OriginalStore,
        *,
        blocklist: Blocklist | None = None,
        classifier: Classifier | None = None,
        problem: str | None = None,
    ) -> None:
        self.problem = problem
        self.store = store
        self._generator = generator
        self.files = RLock()
        self._originals = originals
        self._blocklist = blocklist or Blocklist([])
        self._classifier = classifier

    @property
    def generator(self) -> Generator:
        """Raises GenerationUnavailableError: there is none."""
        if self._generator is None:
            raise self._unavailable()
        return self._generator

    def check(self, spec: GenerationSpec) -> None:
        """Raises PromptRefusedError or GenerationUnavailableError: it does not make that, or nothing."""
        if self._generator is None:
            raise self._unavailable()
        self._blocklist.check(spec.prompt)

    def generate(
        self, spec: GenerationSpec, part: int, *, job: str | None, on_step: Callable[[Progress], None]
    ) -> Generation:
        """Picture number `part` of `spec`, made and stored. What `on_step` raises ends the work.

        Raises:
            PictureRefusedError: The classifier says no; nothing is stored.
            OutOfMemoryError: There was not enough memory for it.
            UnavailableError: The generator cannot draw; settings that would help are named.
        """
        started = time.monotonic()
        try:
            made = self.generator.generate(spec.request(part), on_step)
        except MemoryError as error:
            raise OutOfMemoryError("there was not enough memory to make this picture") from error
        except UnavailableError as error:
            raise type(error)(with_settings(str(error))) from error
        self._judge(made.pixels)
        data = to_signed_png(_fitted(made.pixels, spec), _origin(made, spec))
        return self._keep(data, made, spec, part, job, time.monotonic() - started)

    def delete(self, generation_id: str) -> None:
        """Delete a generated picture. What it was promoted to stays."""
        made = self.store.delete(generation_id)
        self.drop_unneeded([made.sha256])

    def drop_unneeded(self, digests: Iterable[str]) -> None:
        """Remove those files of originals/ that nothing refers to any more."""
        with self.files:
            for digest in self.store.unneeded(digests):
                self._originals.drop(digest)

    def content(self, made: Generation) -> bytes:
        return self._originals.get(made.sha256)

    def _unavailable(self) -> GenerationUnavailableError:
        return GenerationUnavailableError(f"no picture can be made: {self.problem}")

    def _judge(self, pixels: Pixels) -> None:
        if self._classifier is None:
            return
        verdict = self._classifier.judge(pixels)
        if not verdict.allowed:
            raise PictureRefusedError(
                f"the picture is not shown: {verdict.reason or 'the classifier objects'}"
            )

    def _keep(
        self, data: bytes, made: Generated, spec: GenerationSpec, part: int, job: str | None, seconds: float
    ) -> Generation:
        digest = sha256_of(data)
        native_height, native_width = made.pixels.shape[:2]
        width, height = fitted_size(native_width, native_height, spec)
        with self.files:
            self._originals.put(digest, data)
            return self.store.add(
                Generation(
                    prompt=spec.prompt,
                    negative_prompt=spec.negative_prompt,
                    seed=made.seed,
                    model=made.model_id,
                    adapter=", ".join(made.info.adapters) or None,
                    params=_params(made),
                    width=width,
                    height=height,
                    native_width=native_width,
                    native_height=native_height,
                    sha256=digest,
                    size=len(data),
                    job=job,
                    part=part,
                    seconds=round(seconds, 3),
                )
            )


def _params(made: Generated) -> dict[str, JSONValue]:
    info = made.info
    return {
        "steps": made.steps,
        "guidance": made.guidance,
        "scheduler": info.scheduler,
        "device": info.device,
        "dtype": info.dtype,
        "offload": info.offload,
        "safety_checked": info.safety_checked,
        "notes": list(info.warnings),
    }


def fitted_size(width: int, height: int, spec: GenerationSpec) -> tuple[int, int]:
    """The file's width and height, for a picture that was drawn at `width` x `height`."""
    if spec.width is None or spec.height is None:
        scale = max(1.0, DISPLAY_SIDE / max(width, height))
    else:
        scale = min(spec.width / width, spec.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(pixels: Pixels, spec: GenerationSpec) -> Pixels:
    height, width = pixels.shape[:2]
    size = fitted_size(width, height, spec)
    return pixels if size == (width, height) else resize(pixels, *size)


def _origin(made: Generated, spec: GenerationSpec) -> Origin:
    height, width = made.pixels.shape[:2]
    facts = {
        "negative_prompt": spec.negative_prompt,
        "seed": made.seed,
        "steps": made.steps,
        "guidance": made.guidance,
        "native_width": width,
        "native_height": height,
    }
    return Origin(f"Kallos {version('kallos')}", made.model_id, spec.prompt, facts)
