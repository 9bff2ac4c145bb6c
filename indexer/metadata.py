"""What is stored about a picture beside its columns: one JSON object."""

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
