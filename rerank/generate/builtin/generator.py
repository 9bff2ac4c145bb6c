"""The generator that comes with Kallos: words → 64 x 64 pixels on ONNX Runtime, without torch.

    prompt ─► MiniLM ─► tokens ─► U-Net ─► x̂_0 ──┐
    seed ──► noise ─────────────► x_t ◄── Euler ─┴─► latents ─► codec ─► pixels

The weights are those of the diffusers folder beside it; `rerank.generate.builtin.torch_pipeline` runs the
same folder on torch and makes the same pictures. What it can draw and how well: weights/README.md. Recipe:
`training.generator`.

Dimension key   B pictures, K H W latents, S side in pixels
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.encoders.builtin import FOLDER as SENTENCE_FOLDER
from indexer.encoders.builtin import SentenceModel
from indexer.encoders.onnx import Session
from indexer.errors import InvalidInputError
from rerank.generate.builtin.conditioning import Conditioning, condition
from rerank.generate.builtin.flow import TIME_SCALE, euler, noise, preconditioning, times
from rerank.generate.builtin.folder import GeneratorFolder, read_folder
from rerank.generate.builtin.latents import to_bytes
from rerank.generate.request import Generated, GenerationInfo, GenerationRequest, Pixels, Progress

FOLDER = Path(__file__).with_name("weights")
LICENCE = "Apache-2.0"


class BuiltinGenerator:
    """Implements `rerank.generate.request.Generator`. Nothing is read before the first picture."""

    licence = LICENCE

    def __init__(self, *, threads: int | None = None, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._threads = threads
        self._sentences = SentenceModel(SENTENCE_FOLDER, threads)
        self._opening = Lock()

    @property
    def model_id(self) -> str:
        return self._parts.name

    def generate(
        self, request: GenerationRequest, on_step: Callable[[Progress], None] = lambda _progress: None
    ) -> Generated:
        with self._opening:
            session, parts = self._session, self._parts
        _refuse_other_forms(request, parts.side_px)
        steps = parts.steps if request.steps is None else request.steps
        guidance = parts.guidance if request.guidance is None else request.guidance
        known = condition(self._sentences, [request.negative_prompt, request.prompt], parts.tokens)

        def denoise(x: Float32[ndarray, "1 k h w"], t: float) -> Float32[ndarray, "1 k h w"]:
            clean_2KHW = _clean(session, parts, np.concatenate([x, x]), t, known)
            return clean_2KHW[:1] + guidance * (clean_2KHW[1:] - clean_2KHW[:1])

        def tell(done: int, clean: Float32[ndarray, "1 k h w"]) -> None:
            on_step(Progress(done, steps, lambda: _pixels(parts, clean)))

        latent = euler(noise(request.seed, parts.latent_KHW), times(steps), denoise, tell)
        return Generated(
            _pixels(parts, latent),
            parts.name,
            request.seed,
            steps,
            guidance,
            GenerationInfo(scheduler="Euler"),
        )

    @cached_property
    def _parts(self) -> GeneratorFolder:
        return read_folder(self._folder)

    @cached_property
    def _session(self) -> Session:
        return Session(self._parts.graph, self._threads)


def _refuse_other_forms(request: GenerationRequest, side_px: int) -> None:
    for name, value in (("width", request.width), ("height", request.height)):
        if value not in (None, side_px):
            raise InvalidInputError(
                f"{name} is {value}: the builtin generator draws {side_px} x {side_px} pixels"
            )
    if request.scheduler is not None:
        raise InvalidInputError(f"scheduler is {request.scheduler!r}: the builtin generator has only its own")


def _clean(
    session: Session,
    parts: GeneratorFolder,
    x_BKHW: Float32[ndarray, "b k h w"],
    t: float,
    known: Conditioning,
) -> Float32[ndarray, "b k h w"]:
    """x̂_0 of every row."""
    into, skip, out = preconditioning(t, parts.sigma_data)
    feeds = {
        "sample": np.asarray(into * x_BKHW, np.float32),
        "timestep": np.full(len(x_BKHW), TIME_SCALE * t, np.float32),
        "encoder_hidden_states": known.token_BLE,
        "class_labels": known.pooled_BE,
    }
    return np.asarray(skip * x_BKHW + out * session.run(feeds)[0], np.float32)


def _pixels(parts: GeneratorFolder, latent_1KHW: Float32[ndarray, "1 k h w"]) -> Pixels:
    return to_bytes(parts.codec.decode(latent_1KHW))[0]
