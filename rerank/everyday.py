"""What people look for every day: background queries, to calibrate whatever needs ordinary words."""

from collections.abc import Sequence

SUBJECTS = (
    "a dog",
    "a red car",
    "children playing",
    "an old house",
    "sunset",
    "food",
    "a portrait",
    "trees",
)
PLACES = ("", "at the beach", "at night", "in black and white", "in the mountains", "in the city")
EVERYDAY = tuple(f"{subject} {place}".strip() for subject in SUBJECTS for place in PLACES)


def unrelated_pairs() -> Sequence[tuple[int, int]]:
    """Pairs of places in `EVERYDAY` whose phrases share neither subject nor place, each pair once."""
    width = len(PLACES)
    return [
        (first, second)
        for first in range(len(EVERYDAY))
        for second in range(first)
        if first // width != second // width and first % width != second % width
    ]
