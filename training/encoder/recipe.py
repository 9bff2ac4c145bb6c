"""What the heads of the builtin encoders are trained with.

Chosen on held-out pictures: docs/encoder.md for `BUILTIN_1`, training/LOG.md for `BUILTIN_2`.
"""

from dataclasses import dataclass

BATCH, PEAK_RATE, INPUT_DROPOUT, HIDDEN_DROPOUT, SCALE = 384, 3e-3, 0.5, 0.3, 20.0
SAME_TEXT = 0.85  # captions closer than this are not told apart


@dataclass(frozen=True, slots=True)
class Recipe:
    """One head.

    n_crops         further views of each picture, of which the same captions hold
    meaning_weight  of the meanings of the class scores beside what the head says
    n_hidden        units beside the linear map; 0: the head is linear
    photo_share     of each batch, 0 to 1; None: as many as there happen to be
    mixes_captions  a random mean of a picture's captions in place of one of them
    """

    model_id: str
    n_crops: int
    meaning_weight: float
    n_hidden: int
    steps: int
    weight_decay: float
    photo_share: float | None = None
    mixes_captions: bool = False


BUILTIN_1 = Recipe("builtin-1", 0, 2.0, 0, steps=300, weight_decay=0.3)
BUILTIN_2 = Recipe(
    "builtin-2",
    n_crops=2,
    meaning_weight=1.0,
    n_hidden=1024,
    steps=600,
    weight_decay=1.0,
    photo_share=0.6,
    mixes_captions=True,
)
