"""A `Generator` without weights: a picture out of the prompt and the seed. A real one, only a small one."""

import hashlib
import time
from collections.abc import Callable

import numpy as np

from indexer.errors import UnavailableError, UnsafePictureError
from rerank.generate.request import Generated, GenerationRequest, Pixels, Progress

COLOURS = {"red": (220, 30, 40), "green": (20, 160, 60), "blue": (30, 60, 200)}
HEIGHT, WIDTH = 24, 32


class Painter:
    """Squares from a seed on the colour that the prompt names, drawn step by step out of noise.

    `pause_s` is how long a step takes; `asked` and `most_at_once` say how it was called.
    """

    licence = "Apache-2.0"
    model_id = "painter-1"

    def __init__(self, pause_s: float = 0.0, default_steps: int = 4) -> None:
        self.pause_s = pause_s
        self.default_steps = default_steps
        self.asked: list[GenerationRequest] = []
        self.at_once = 0
        self.most_at_once = 0

    def generate(
        self, request: GenerationRequest, on_step: Callable[[Progress], None] = lambda _progress: None
    ) -> Generated:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._paint(request, on_step)
        finally:
            self.at_once -= 1

    def _paint(self, request: GenerationRequest, on_step: Callable[[Progress], None]) -> Generated:
        if "too large" in request.prompt:
            raise MemoryError
        if "too wide" in request.prompt:
            raise UnavailableError("not enough memory; expected another prompt, or `offload=sequential`")
        if "gruesome" in request.prompt:
            raise UnsafePictureError("the checker of painter-1 objects")
        steps = request.steps or self.default_steps
        goal = painted(request)
        noise = np.random.default_rng(request.seed).integers(0, 256, goal.shape)
        for done in range(1, steps + 1):
            time.sleep(self.pause_s)
            share = done / steps
            now = (share * goal + (1 - share) * noise).astype(np.uint8)
            on_step(Progress(done, steps, lambda now=now: now))  # type: ignore[misc]  # bound early
        guidance = 2.0 if request.guidance is None else request.guidance
        return Generated(goal, self.model_id, request.seed, steps, guidance)


def painted(request: GenerationRequest) -> Pixels:
    """What `Painter` ends with."""
    colour = next((rgb for name, rgb in COLOURS.items() if name in request.prompt), (200, 200, 200))
    digest = hashlib.sha256(f"{request.prompt}|{request.seed}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    pixels = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    top, left = int(rng.integers(0, HEIGHT - 8)), int(rng.integers(0, WIDTH - 8))
    pixels[top : top + 8, left : left + 8] = rng.integers(0, 256, 3)
    return pixels
