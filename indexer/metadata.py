"""What is stored about a picture beside its columns: one JSON object."""

import math

from indexer.types import JSONValue, Metadata


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


def storable(value: JSONValue) -> JSONValue:
    """As SQLite reads JSON: numbers that are not finite are null, halves of letters question marks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {str(storable(name)): storable(item) for name, item in value.items()}
    return value
