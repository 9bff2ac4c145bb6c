"""Queries that no sample picture fits, to see what a match model says of them."""

import string
from collections.abc import Sequence

from numpy.random import Generator

# Things, none of which a caption of the Tux Paint stamps names.
_ABSENT = """
a sewing machine; a nuclear power plant; a microscope; an escalator; a chainsaw; a treadmill; a submarine;
a roller coaster; a vending machine; a fax machine; a kayak; a skateboard ramp; a chess tournament;
a surgeon at work; a courtroom; a ballet dancer; a sumo wrestler; a bullfight; an octopus; a jellyfish;
a scorpion; a platypus; a plate of spaghetti; sushi; a hamburger; a cup of tea; a bowl of noodles;
a cheese fondue; an X-ray of a hand; a stock market chart; a passport; a barcode; an oil rig;
a suspension bridge; a mosque; a subway map; a laundromat; a saxophone; a harp; bagpipes; an accordion;
a water polo game; a pole vaulter; a fencing duel; a marathon
"""
_ABSTRACT = """
freedom; the meaning of life; justice; hope; an unexpected turn of events; economic growth; loneliness;
the passage of time; democracy; trust; a difficult decision; nostalgia; progress; chaos; inner peace;
the sound of silence; courage; infinity; irony; success; a bad idea; what might have been; betrayal;
wisdom; the future of work
"""
ABSENT, ABSTRACT = (
    tuple(" ".join(text.split()) for text in block.split(";")) for block in (_ABSENT, _ABSTRACT)
)


def negated(caption: str) -> str:
    """What an encoder of today reads as the caption itself."""
    return f"no {caption.rstrip('.').removeprefix('A ').removeprefix('An ').removeprefix('The ')} anywhere"


def keyboard_noise(count: int, rng: Generator) -> Sequence[str]:
    """One to three words of three to eight random letters."""
    letters = list(string.ascii_lowercase)
    return [
        " ".join("".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(rng.integers(1, 4)))
        for _ in range(count)
    ]
