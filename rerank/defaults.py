"""The axes that every collection starts with: aesthetics, recency and age."""

from collections.abc import Mapping

from indexer.axis_store import Axis, AxisStore
from indexer.protocols import Encoder
from rerank.axes import axis_between

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
RECENCY_CARD = (
    "When the picture was taken, from its EXIF or sidecar date. Pictures without a date come last; "
    "`recency_visual` orders those by how recent they look."
)


def ensure_default_axes(store: AxisStore, encoder: Encoder) -> None:
    """Put the default axes that `store` lacks; axes that a person refitted or added are left alone.

    An axis that was fitted offline for this very model is preferred to one from text prompts.
    """
    present = {axis.name for axis in store.list()}
    if "recency" not in present:
        store.put(_recency(encoder))
    for name in PROMPTS.keys() - present:
        store.put(_shipped_or_prompted(name, encoder))


def _recency(encoder: Encoder) -> Axis:
    return Axis(
        name="recency",
        kind="field",
        method="field",
        model_id=encoder.model_id,
        direction_D=None,
        field="taken_at",
        trust="exact",
        card=RECENCY_CARD,
        inputs={"field": "taken_at"},
        sign="a later date is more",
    )


def _shipped_or_prompted(name: str, encoder: Encoder) -> Axis:
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
