"""Background queries of everyday words, to calibrate what needs ordinary language."""

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
CALIBRATION_QUERIES = tuple(f"{subject} {place}".strip() for subject in SUBJECTS for place in PLACES)


def unrelated_pairs() -> Sequence[tuple[int, int]]:
    """Pairs of places in `CALIBRATION_QUERIES` that share neither subject nor place, each pair once."""
    width = len(PLACES)
    return [
        (first, second)
        for first in range(len(CALIBRATION_QUERIES))
        for second in range(first)
        if first // width != second // width and first % width != second % width
    ]
