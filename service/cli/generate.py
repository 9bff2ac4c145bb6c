"""`kallos generate`: pictures from words, drawn in this process; no server is needed."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import ERR, OUT, print_json
from service.cli.options import Collection, DataDir, Json, settings_from


def generate(
    prompt: Annotated[str, typer.Argument(help='What to draw, such as "a red fox".')],
    negative: Annotated[str, typer.Option("--negative", help="Words to stay away from.")] = "",
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed draws the same picture.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="More take longer.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="How closely to follow the words.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels, to fit the picture into.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many; each has a seed of its own.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Also write it here: a PNG file.")] = None,
    data_dir: DataDir = None,
    collection: Collection = None,
    as_json: Json = False,
) -> None:
    """Draw pictures and keep them beside the collection, with what made them."""
    from indexer.errors import InvalidInputError
    from service.cli.generating import generate_all, write_files
    from service.generate_schemas import GenerationBody
    from service.generation.spec import GenerationSpec, side_lengths
    from service.wiring import open_image_service, open_library

    width, height = (None, None) if size is None else side_lengths(size)
    spec = GenerationSpec(prompt, negative, seed, steps, guidance, width, height, count).seeded()
    if out is not None and not out.parent.is_dir():
        raise InvalidInputError(f"--out {out}: its folder does not exist")
    settings = settings_from(data_dir=data_dir, collection=collection)
    with open_library(settings, create=True) as library:
        image_service = open_image_service(settings, library.collection)
        made = generate_all(image_service, spec)
        files = [] if out is None else write_files(image_service, made, out)
    if as_json:
        bodies = [GenerationBody.of(one).model_dump() for one in made]
        print_json({"generations": bodies, "files": [str(file) for file in files]})
    else:
        for one in made:
            drawn = f"{one.native_width}x{one.native_height}"
            OUT.print(f"{one.id}  seed {one.seed}  {one.width}x{one.height}, drawn at {drawn}  {one.model}")
    for file in files:
        ERR.print(f"wrote {file}", markup=False)
    if len(made) < spec.count:
        ERR.print("stopped")
        raise typer.Exit(130)
