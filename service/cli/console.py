"""Where commands print: results on stdout, for people or as one JSON document; everything else on stderr."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False)


def plain(text: str, style: str = "") -> Text:
    """What somebody else has written, as it is: never markup, and no character that steers a terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text), style)


def print_json(document: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    OUT.out(json.dumps(document, ensure_ascii=False))
