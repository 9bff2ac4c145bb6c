"""Where a run keeps what, and how it knows that a phase is done: its file is there, whole.

OUT/config.json               whose run this is
OUT/prompt/base.safetensors   the plain captions' pictures, as latents
OUT/prompt/round-N/           told.jsonl (every answer, failures too), scored.jsonl and winners.safetensors,
                              audit.jsonl (every caption's pair, with the reason where it was dropped),
                              steps.jsonl and guider.safetensors (after the round), round.json (written last)
OUT/image/                    a run folder of the tuned generator
OUT/evaluation/               table.json, table.md, sheet.png, rounds.png
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexer.disk.files import replace_text
from indexer.errors import CorruptStoreError, InvalidInputError
from training.spro.config import SproConfig

PROMPT, IMAGE, EVALUATION = "prompt", "image", "evaluation"


def claim(out: Path, config: SproConfig, seed: int) -> None:
    """Raises InvalidInputError: the folder holds another run."""
    mine = json.dumps({"seed": seed, **asdict(config)}, indent=1)
    path = out / "config.json"
    if path.is_file() and path.read_text("utf-8") != mine:
        raise InvalidInputError(f"{out} holds a run of another configuration or seed: name another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_text(path, mine)


def round_folder(out: Path, number: int) -> Path:
    return out / PROMPT / f"round-{number}"


def finished_rounds(out: Path) -> list[int]:
    """Those that trained a Guider, in order."""
    numbers: list[int] = []
    while (round_folder(out, len(numbers) + 1) / "round.json").is_file():
        if read_object(round_folder(out, len(numbers) + 1) / "round.json")["stopped"] is not None:
            break
        numbers.append(len(numbers) + 1)
    return numbers


def write_object(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """Raises CorruptStoreError: not JSON."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CorruptStoreError(f"{path}: not JSON: {error}") from error
    return found
