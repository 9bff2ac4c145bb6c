"""What any training leaves behind: a folder that says what it holds, how it came about, and that it is whole.

card.json           what was trained, from what, with which configuration, seed, commit and versions; the
                    SHA-256 of every file that is deployed
metrics.jsonl       one object a line
adapter/, weights/  what `kallos generator use` takes
"""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexer.disk.files import replace_text, sha256_of_file
from indexer.errors import CorruptStoreError

FORMAT = 1
CARD = "card.json"
METRICS = "metrics.jsonl"
PACKAGES = ("torch", "diffusers", "peft", "accelerate", "transformers", "numpy")


def write_card(
    folder: Path,
    *,
    kind: str,
    base: Mapping[str, str],
    config: Mapping[str, object],
    seed: int,
    files: Iterable[Path],
    **more: object,
) -> None:
    """Written last: a folder without it is a run that did not end.

    Args:
        folder: Of the run.
        kind: The algorithm.
        base: `name` and `model_id` of the model that training started from.
        config: The resolved configuration.
        seed: Of the run.
        files: What is deployed, below `folder`.
        more: What else is worth knowing, JSON values.
    """
    card = {
        "format": FORMAT,
        "kind": kind,
        "base": dict(base),
        "config": dict(config),
        "seed": seed,
        "commit": commit(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "files": {str(path.relative_to(folder)): sha256_of_file(path) for path in sorted(files)},
        **more,
    }
    replace_text(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Raises CorruptStoreError: a line that is not JSON; a torn last line is left out."""
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise CorruptStoreError(f"{path}: not JSON lines: {error}") from error


def keep_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make the file hold these: what a resumed run will write again is taken away."""
    replace_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def commit() -> str:
    """Of the sources; "unknown" where they are not a checkout, or there is no git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
