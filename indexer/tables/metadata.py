"""What is stored about a picture beside its columns: one JSON object."""

import math

from indexer.types import JSONValue, Metadata

DEEPEST = 64  # lists and objects in each other: who writes an answer of them has a limit too, pydantic 255


def filled(metadata: Metadata, additions: Metadata) -> dict[str, JSONValue]:
    """`metadata` with what it lacks from `additions`, object by object; what is there is never replaced."""
    merged = dict(metadata)
    for name, value in additions.items():
        have = merged.get(name)
        if isinstance(have, dict) and isinstance(value, dict):
            merged[name] = filled(have, value)
        else:
            merged.setdefault(name, value)
    return merged


def storable(metadata: Metadata) -> dict[str, JSONValue]:
    """As SQLite and clients read JSON: null for numbers that are not finite and for what lies deeper than
    DEEPEST, question marks for halves of letters.
    """
    return {_whole(name): _storable(value, DEEPEST) for name, value in metadata.items()}


def _storable(value: JSONValue, levels: int) -> JSONValue:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, list | dict) and levels == 0:
        return None
    if isinstance(value, list):
        return [_storable(item, levels - 1) for item in value]
    if isinstance(value, dict):
        return {_whole(name): _storable(item, levels - 1) for name, item in value.items()}
    return value


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
