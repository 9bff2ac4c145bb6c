"""ONNX Runtime as Kallos loads it."""

import os
import subprocess
import sys
from pathlib import Path


def test_the_runtime_leaves_nothing_at_home_and_tells_nobody(tmp_path: Path) -> None:
    """Its telemetry begins with a device id below the cache folder."""
    code = (
        "from indexer.encoders.builtin import BuiltinEncoder as E; import numpy as np;"
        "E(threads=1).encode_images([np.zeros((8, 8, 3), np.uint8)])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", code], check=True, env=kept | {"HOME": str(home)})
    assert list(home.rglob("*")) == []
