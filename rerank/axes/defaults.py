"""The axes that every collection starts with: aesthetics, recency, age, and what is measured of pixels."""

from collections.abc import Mapping

from indexer.protocols import Encoder
from indexer.tables.axes import Axis, AxisStore
from rerank.axes.direction import axis_between

# High end, low end. Several wordings an end cancel the accidents of each.
PROMPTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "aesthetics": (
        (
            "a beautiful, award-winning photograph with perfect composition and light",
            "a stunning professional picture",
            "an elegant, harmonious, well-composed image",
        ),
        (
            "an ugly, badly composed snapshot with poor light",
            "a blurry, noisy, low-quality picture",
            "a boring, cluttered image",
        ),
    ),
    "recency_visual": (
        ("a recent digital photo", "a photo taken in the 2020s", "a modern high-resolution picture"),
        ("an old film photo", "a photo taken in the 1930s", "a faded vintage black and white picture"),
    ),
    "age": (
        ("an elderly person", "a portrait of an 80 year old", "an old man or an old woman with wrinkles"),
        ("a baby", "a portrait of a small child", "a toddler's face"),
    ),
}
# Name → stored field, card.
FIELDS: Mapping[str, tuple[str, str]] = {
    "recency": (
        "taken_at",
        "When the picture was taken, from its EXIF or sidecar date. Pictures without a date come last; "
        "`recency_visual` orders those by how recent they look.",
    ),
    "colourfulness": (
        "measured.colourfulness",
        "Measured: spread and mean of the opponent colours (Hasler and Süsstrunk 2003), 0 for greys, above "
        "100 for extremely colourful pictures. Says nothing about which colours, or whether they fit.",
    ),
    "brightness": (
        "measured.brightness",
        "Measured: mean relative luminance, 0 black to 1 white. A white background counts; whether the "
        "exposure is right is not measured.",
    ),
    "sharpness": (
        "measured.sharpness",
        "Measured: log10(1 + variance of the Laplacian) with the longer side at 160 pixels. Says how much "
        "fine detail there is: a busy texture or noise scores high, a clear sky low; it cannot tell a wanted "
        "blur from a mistake, nor see a slight one.",
    ),
}


def ensure_default_axes(store: AxisStore, encoder: Encoder) -> None:
    """Put the default axes that `store` lacks; axes that a person refitted or added are left alone.

    An axis that was fitted offline for this very model is preferred to one from text prompts.
    """
    present = {axis.name for axis in store.list()}
    for name in FIELDS.keys() - present:
        store.put(_of_field(name, *FIELDS[name], encoder))
    for name in PROMPTS.keys() - present:
        store.put(shipped_or_prompted(name, encoder))


def _of_field(name: str, field: str, card: str, encoder: Encoder) -> Axis:
    return Axis(
        name=name,
        kind="field",
        method="field",
        model_id=encoder.model_id,
        direction_D=None,
        field=field,
        trust="exact",
        card=card,
        inputs={"field": field},
        sign="a larger number is more, and a later date",
    )


def shipped_or_prompted(name: str, encoder: Encoder) -> Axis:
    """The default axis `name`, a key of PROMPTS, of this model."""
    shipped = encoder.axes().get(name)
    if shipped is not None:
        return Axis(
            name=name,
            kind="linear",
            method="shipped",
            model_id=encoder.model_id,
            direction_D=shipped.direction_D,
            field=None,
            trust="weak" if name == "age" else "measured",
            card=shipped.card,
            inputs={},
            sign="as it was fitted, offline",
        )
    return prompt_axis(name, *PROMPTS[name], encoder=encoder)


def prompt_axis(name: str, high: tuple[str, ...], low: tuple[str, ...], *, encoder: Encoder) -> Axis:
    """An axis from words, called what it is."""
    direction_D = axis_between(encoder.encode_texts(high), encoder.encode_texts(low))
    card = f"From text prompts: {'; '.join(high)} — against — {'; '.join(low)}. Not measured on labels."
    weak = encoder.model_id.startswith("builtin")
    if weak:
        # Measured: text axes of this encoder correlate with age at -0.12 and 0.13 (docs/encoder.md).
        card += " The builtin encoder orders poorly by words: teach this axis with example pictures instead."
    return Axis(
        name=name,
        kind="linear",
        method="prompts",
        model_id=encoder.model_id,
        direction_D=direction_D,
        field=None,
        trust="weak" if weak else "prompt",
        card=card,
        inputs={"high": list(high), "low": list(low)},
        sign="the prompts of the high end say what is more",
    )
