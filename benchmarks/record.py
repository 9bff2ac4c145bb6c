"""What makes a figure repeatable: machine, versions, commit, threads."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss

PACKAGES = ("kallos", "numpy", "onnxruntime", "pillow")


def circumstances(packages: Iterable[str] = (), **extra: object) -> dict[str, Any]:
    """Where and with what a figure was measured; `packages` beside those that every figure rests on.

    `load` is the mean of the last minute: wall times of a machine that does other work are too long.
    """
    others = sorted(package.partition("[")[0] for package in packages)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"faiss": faiss.__version__} | {name: version(name) for name in (*PACKAGES, *others)},
        **extra,
    }


def write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
