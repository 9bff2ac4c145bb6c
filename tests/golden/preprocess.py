"""What open_clip models are shown of generated pictures; kept, as a Pillow release could change it."""

import json
from pathlib import Path

import numpy as np
from numpy import ndarray

from indexer.encoders.openclip_pixels import PreprocessConfig, fit
from tests.support.generated_pictures import SIZES, picture

PATH = Path(__file__).with_name("preprocess.json")
HALF = (0.5, 0.5, 0.5)
CONFIGS = {
    "shortest-bicubic": PreprocessConfig(8, 8, HALF, HALF),
    "shortest-bilinear": PreprocessConfig(8, 8, HALF, HALF, interpolation="bilinear"),
    "shortest-wide": PreprocessConfig(6, 9, HALF, HALF),
    "squash-bicubic": PreprocessConfig(8, 8, HALF, HALF, resize_mode="squash"),
    "longest-bicubic": PreprocessConfig(8, 8, HALF, HALF, resize_mode="longest", fill_color=127),
}
CASES = [(config, kind) for config in CONFIGS for kind in SIZES]


def actual(config: str, kind: str) -> ndarray:
    return fit(picture(kind), CONFIGS[config])


def expected(config: str, kind: str) -> ndarray:
    return np.array(json.loads(PATH.read_text())["pixels"][f"{config}/{kind}"])


def write() -> Path:
    import PIL

    head = {
        "command": "python -m tests.golden",
        "versions": {"pillow": PIL.__version__, "numpy": np.__version__},
    }
    pixels = {f"{config}/{kind}": actual(config, kind).tolist() for config, kind in CASES}
    # One case a line, so that a change shows which cases it touches.
    body = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in pixels.items())
    PATH.write_text(json.dumps(head)[:-1] + f', "pixels": {{\n{body}\n}}}}\n')
    return PATH
