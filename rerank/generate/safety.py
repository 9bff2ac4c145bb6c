"""What a server refuses: words in a list, and pictures that a classifier objects to. Off by default."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from indexer.errors import InvalidInputError, PromptRefusedError
from rerank.generate.request import Pixels

MOST_BYTES = 16 * 2**20  # of a list


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is shown to the client that asked for the picture."""

    allowed: bool
    reason: str = ""


class Classifier(Protocol):
    """Called once for each picture, in the worker's thread, before anything is stored."""

    def judge(self, pixels: Pixels) -> Verdict: ...


class Blocklist:
    """Words and phrases, whole and in any case: `cat` is not found in `catalogue`."""

    def __init__(self, phrases: Iterable[str]) -> None:
        kept = [normalised(phrase) for phrase in phrases if phrase.strip()]
        pattern = "|".join(re.escape(phrase) for phrase in sorted(kept))
        self._found = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)") if kept else None

    @classmethod
    def read(cls, path: Path) -> "Blocklist":
        """One phrase a line; empty lines and those that begin with # say nothing."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise InvalidInputError(
                    f"{path} is larger than {MOST_BYTES} bytes: expected a list of phrases"
                )
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"cannot read the blocklist {path}: {error}") from error
        return cls(line for line in lines if not line.startswith("#"))

    def check(self, prompt: str) -> None:
        """Raises PromptRefusedError, which does not repeat the phrase: the list is private."""
        if self._found is not None and self._found.search(normalised(prompt)):
            raise PromptRefusedError("this server does not make pictures of that")


def normalised(text: str) -> str:
    """As it is compared: one form of each letter, without case, and with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
