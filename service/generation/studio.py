"""Wishes → stored pictures: checked, drawn, judged, enlarged, signed, kept."""

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from threading import RLock

from indexer.blobs.originals import OriginalStore
from indexer.errors import OutOfMemoryError, PictureRefusedError
from indexer.imaging.decode import sha256_of
from indexer.imaging.enlarge import resize
from indexer.imaging.provenance import Origin, to_signed_png
from indexer.tables.generated import Generation, GenerationStore
from indexer.types import JSONValue
from rerank.generate.request import Generated, Generator, Pixels, Progress
from rerank.generate.safety import Blocklist, Classifier
from service.generation.wish import Wish

DISPLAY_SIDE = 512  # pixels of the longer side, where nobody asked for a size and the generator's is smaller


class Studio:
    """Safe to use from threads.

    Hold `files` while something that is not yet in the database needs a file of originals/.
    """

    def __init__(
        self,
        generator: Generator,
        store: GenerationStore,
        originals: OriginalStore,
        *,
        blocklist: Blocklist | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self.generator = generator
        self.store = store
        self.files = RLock()
        self._originals = originals
        self._blocklist = blocklist or Blocklist([])
        self._classifier = classifier

    def check(self, wish: Wish) -> None:
        """Raises PromptRefusedError: this server does not make that."""
        self._blocklist.check(wish.prompt)

    def paint(
        self, wish: Wish, part: int, *, job: str | None, on_step: Callable[[Progress], None]
    ) -> Generation:
        """Picture number `part` of `wish`, made and stored. What `on_step` raises ends the work.

        Raises:
            PictureRefusedError: The classifier says no; nothing is stored.
            OutOfMemoryError: There was not enough memory for it.
        """
        started = time.monotonic()
        try:
            made = self.generator.generate(wish.request(part), on_step)
        except MemoryError as error:
            raise OutOfMemoryError("there was not enough memory to make this picture") from error
        self._judge(made.pixels)
        data = to_signed_png(_fitted(made.pixels, wish), _origin(made, wish))
        return self._keep(data, made, wish, part, job, time.monotonic() - started)

    def delete(self, generation_id: str) -> None:
        """Forget a generated picture. What it was promoted to stays."""
        made = self.store.delete(generation_id)
        self.drop_unneeded([made.sha256])

    def drop_unneeded(self, digests: Iterable[str]) -> None:
        """Remove those files of originals/ that nothing refers to any more."""
        with self.files:
            for digest in self.store.unneeded(digests):
                self._originals.drop(digest)

    def content(self, made: Generation) -> bytes:
        return self._originals.get(made.sha256)

    def _judge(self, pixels: Pixels) -> None:
        if self._classifier is None:
            return
        verdict = self._classifier.judge(pixels)
        if not verdict.allowed:
            raise PictureRefusedError(
                f"the picture is not shown: {verdict.reason or 'the classifier objects'}"
            )

    def _keep(
        self, data: bytes, made: Generated, wish: Wish, part: int, job: str | None, seconds: float
    ) -> Generation:
        digest = sha256_of(data)
        native_height, native_width = made.pixels.shape[:2]
        width, height = fitted_size(native_width, native_height, wish)
        with self.files:
            self._originals.put(digest, data)
            return self.store.add(
                Generation(
                    prompt=wish.prompt,
                    negative_prompt=wish.negative_prompt,
                    seed=made.seed,
                    model=made.model_id,
                    adapter=", ".join(made.means.adapters) or None,
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
    means = made.means
    return {
        "steps": made.steps,
        "guidance": made.guidance,
        "scheduler": means.scheduler,
        "device": means.device,
        "dtype": means.dtype,
        "offload": means.offload,
        "safety_checked": means.safety_checked,
        "notes": list(means.notes),
    }


def fitted_size(width: int, height: int, wish: Wish) -> tuple[int, int]:
    """The file's width and height, for a picture that was drawn at `width` x `height`."""
    if wish.width is None or wish.height is None:
        scale = max(1.0, DISPLAY_SIDE / max(width, height))
    else:
        scale = min(wish.width / width, wish.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(pixels: Pixels, wish: Wish) -> Pixels:
    height, width = pixels.shape[:2]
    size = fitted_size(width, height, wish)
    return pixels if size == (width, height) else resize(pixels, *size)


def _origin(made: Generated, wish: Wish) -> Origin:
    height, width = made.pixels.shape[:2]
    facts = {
        "negative_prompt": wish.negative_prompt,
        "seed": made.seed,
        "steps": made.steps,
        "guidance": made.guidance,
        "native_width": width,
        "native_height": height,
    }
    return Origin(f"Kallos {version('kallos')}", made.model_id, wish.prompt, facts)
