"""Options that commands share, and the settings that come of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexer.errors import InvalidInputError

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
    """The environment's settings, with the options that were given in place of theirs.

    Raises InvalidInputError: one of them makes no sense.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from service.settings import Settings

    try:
        return Settings().model_validate(
            Settings().model_dump() | {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        name = "_".join(str(step) for step in wrong["loc"][:1]).upper()
        raise InvalidInputError(f"KALLOS_{name} is {wrong['input']!r}: {wrong['msg']}") from error
    except SettingsError as error:  # such as a value that should be JSON
        raise InvalidInputError(f"a setting cannot be read: {error}") from error
