"""Whether a query gains from being rephrased, by looking at it alone. Pure.

Short queries that leave the look open are rephrased. Left alone is what is precise already, and what a
model would blur: queries that state a style, that are long, that exclude something, that quote, or that name
a file. The words are English; a query in another language is judged by its length and signs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rerank.rephrase.types import Variant

MOST_WORDS = 6  # a longer query has said what it wants

LOOKS: Mapping[str, tuple[str, ...]] = {
    "style": (
        "abstract", "anime", "art deco", "art nouveau", "baroque", "cartoon", "cinematic", "cubist",
        "dramatic", "expressionist", "film noir", "futuristic", "gothic", "grunge", "impressionist",
        "manga", "minimalist", "minimalistic", "pastel", "photorealistic", "pop art", "realistic", "retro",
        "surreal", "surrealist", "vaporwave", "vintage",
    ),
    "medium": (
        "3d", "charcoal", "clip art", "clipart", "collage", "diagram", "digital art", "drawing",
        "engraving", "etching", "film still", "fresco", "icon", "illustration", "infographic", "logo",
        "mosaic", "painting", "photo", "photograph", "photography", "pixel art", "polaroid", "poster",
        "render", "rendering", "screenshot", "sculpture", "sketch", "stencil", "vector", "watercolor",
        "watercolour", "woodcut",
    ),
    "lighting": (
        "backlight", "backlit", "blue hour", "candlelight", "candlelit", "chiaroscuro", "dim light",
        "floodlit", "golden hour", "hard light", "high contrast", "high key", "low contrast", "low key",
        "low light", "moonlight", "natural light", "neon", "overexposed", "rim light", "silhouette",
        "soft light", "spotlight", "studio light", "studio lighting", "underexposed",
    ),
    "composition": (
        "aerial", "birds eye", "black and white", "bokeh", "close up", "closeup", "depth of field",
        "double exposure", "fisheye", "from above", "from behind", "from below", "full body", "headshot",
        "hdr", "landscape format", "long exposure", "macro", "monochrome", "motion blur", "negative space",
        "panorama", "panoramic", "portrait", "rule of thirds", "selfie", "sepia", "symmetrical",
        "telephoto", "tilt shift", "top view", "wide angle", "wide shot",
    ),
}  # fmt: skip
NEGATIONS = frozenset(
    (
        "no",
        "not",
        "without",
        "except",
        "excluding",
        "minus",
        "never",
        "nor",
        "none",
        "nothing",
        "neither",
        "non",
    )
)

QUOTE = re.compile(r"[\"“”„«»]|(?<!\w)['‘][^'’]+['’](?!\w)")
EXCLUDED = re.compile(r"(?:^|\s)[-!]\w|n['’]t\b", re.IGNORECASE)
FILE_OR_ID = re.compile(
    r"\w\.[a-z]\w{1,4}\b"  # beach.jpg
    r"|\w:\w"  # field:value
    r"|\w_\w"  # red_car
    r"|[\\#@]\w"
    r"|\b(?!\d{4}s\b)(?=\w*[a-z])\w*\d{3}\w*"  # IMG1234, but not the 1950s
    r"|\b\d{5,}\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Choice:
    variant: Variant
    reason: str  # completes "because"


def choose(query: str) -> Choice:
    """`detail`, or `original` for a query that is best left alone."""
    words = re.findall(r"\w+", query.casefold())
    if not any(any(char.isalpha() for char in word) for word in words):
        return Choice("original", "there are no words in it")
    if QUOTE.search(query):
        return Choice("original", "it quotes a phrase")
    if EXCLUDED.search(query) or NEGATIONS.intersection(words):
        return Choice("original", "it excludes something")
    if FILE_OR_ID.search(query):
        return Choice("original", "it names a file or an id")
    stated = stated_look(query)
    if stated is not None:
        return Choice("original", stated)
    if len(words) > MOST_WORDS:
        return Choice("original", f"it says enough: {len(words)} words, more than {MOST_WORDS}")
    return Choice("detail", "it is short and leaves the look open")


def stated_look(query: str) -> str | None:
    """What the query says of the look, such as "it states a medium: watercolour"."""
    plain = " ".join(re.findall(r"\w+", query.casefold().replace("'", "").replace("’", "")))
    for kind, phrases in LOOKS.items():
        for phrase in phrases:
            if f" {phrase} " in f" {plain} ":
                return f"it states a {kind}: {phrase}"
    return None
