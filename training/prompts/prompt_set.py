"""A set of prompts in two parts that share nothing: one to train on, one to be judged by.

Which part a prompt belongs to follows from its words alone (a hash), so the same prompt never is on both
sides, whatever files it comes from and however a set grows.

A file is plain text, one prompt a line, or JSON lines: {"prompt": "…", "weight": 2.0}; the weight may be
left out.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import InvalidInputError

BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class Prompt:
    """`weight` says how often it is worth drawing, compared with the others; above 0."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PromptSet:
    """In a fixed order; `source` says where they came from, `sha256` which they are."""

    train: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PromptsConfig:
    """`source` is `builtin` (what the builtin generator was trained to draw) or a file.

    `held_out` is the share that is never trained on: of the prompts, or of the builtin generator's concepts.
    """

    source: str = BUILTIN
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise InvalidInputError(f"prompts: held_out is {self.held_out}: expected between 0 and 1")


def load_prompts(config: PromptsConfig) -> PromptSet:
    """Raises InvalidInputError: the file is not one of prompts, or all of them fall on one side."""
    if config.source == BUILTIN:
        keyed = builtin_prompts()
    else:
        keyed = [(prompt.text, prompt) for prompt in read_prompts(Path(config.source))]
    train = tuple(prompt for key, prompt in keyed if not is_held_out(key, config.held_out))
    held_out = tuple(prompt for key, prompt in keyed if is_held_out(key, config.held_out))
    if not train or not held_out:
        raise InvalidInputError(
            f"{config.source}: {len(train)} prompts to train on, {len(held_out)} held out: expected both"
        )
    return PromptSet(train, held_out, config.source, _digest([*train, *held_out]))


def is_held_out(key: str, share: float) -> bool:
    digest = hashlib.sha256(normalised(key).encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def normalised(text: str) -> str:
    """The same words in any spelling of case and space."""
    return " ".join(text.casefold().split())


def read_prompts(path: Path) -> list[Prompt]:
    """Distinct ones, the first of each spelling.

    Raises InvalidInputError: no such file, a line that is not understood (it is named), or no prompt at all.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: {error}") from error
    read = _json_line if path.suffix == ".jsonl" else lambda line, _where: Prompt(line.strip())
    found: dict[str, Prompt] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            prompt = read(line, f"{path}, line {number}")
            found.setdefault(normalised(prompt.text), prompt)
    if not found:
        raise InvalidInputError(f"{path}: no prompts: expected one a line")
    return list(found.values())


def builtin_prompts() -> list[tuple[str, Prompt]]:
    """(concept, prompt): each of the builtin generator's concepts in each style, on a background of its turn.

    Held-out concepts are held out in all styles. The backgrounds are those that the generator was shown the
    concept on.
    """
    from training.config import read_config
    from training.generator.config import RECIPE, GeneratorConfig
    from training.generator.data import caption, hold_out

    config = read_config(GeneratorConfig, RECIPE)
    held = hold_out(config)
    backgrounds = list(config.data.backgrounds)
    prompts = []
    for number, (concept, words) in enumerate(config.concepts.items()):
        allowed = [name for name in backgrounds if (concept, name) not in held.backgrounds]
        for turn, style in enumerate(config.data.styles):
            if (concept, style) not in held.styles:
                background = allowed[(number + turn) % len(allowed)]
                prompts.append((concept, Prompt(caption(words[0], style, background, form=2 * turn + 1))))
    return prompts


def _json_line(line: str, where: str) -> Prompt:
    try:
        row = json.loads(line)
        text, weight = row["prompt"], float(row.get("weight", 1.0))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            f'{where}: {line[:80]!r}: expected {{"prompt": "…", "weight": 1.0}}'
        ) from error
    if not isinstance(text, str) or not text.strip() or not 0 < weight < float("inf"):
        raise InvalidInputError(f"{where}: {line[:80]!r}: expected words, and a weight above 0")
    return Prompt(text.strip(), weight)


def _digest(prompts: Iterable[Prompt]) -> str:
    text = "".join(json.dumps([prompt.text, prompt.weight], ensure_ascii=False) + "\n" for prompt in prompts)
    return hashlib.sha256(text.encode()).hexdigest()
