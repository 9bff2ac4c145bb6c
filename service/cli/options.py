"""Options that commands share, and the settings that come of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.settings import Settings

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where Kallos keeps its data.", envvar="KALLOS_DATA_DIR")
]
Collection = Annotated[str | None, typer.Option("--collection", help="Name of the collection.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="builtin, open_clip:MODEL/PRETRAINED, onnx:FOLDER; see `kallos models`."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress on stderr.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many pictures to show.")]
Sheet = Annotated[
    Path | None, typer.Option("--sheet", help="Also write the pictures as a contact sheet: a PNG file.")
]


def settings_from(**given: object) -> "Settings":
    """The environment's settings, with the options that were given in place of theirs."""
    from service.settings import Settings

    return Settings().model_validate(
        Settings().model_dump() | {k: v for k, v in given.items() if v is not None}
    )
