"""Where commands print: results on stdout, for people or as one JSON document; everything else on stderr."""

import json
from typing import Any

from rich.console import Console

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    OUT.out(json.dumps(document, ensure_ascii=False))
