"""`kallos generate`: pictures from words, drawn in this process; no server is needed."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from indexer.errors import InvalidInputError
from indexer.tables.generated import Generation
from rerank.generate.request import Progress
from service.cli.index import Interrupt, steps_bar
from service.cli.options import Collection, DataDir, Json, settings_from
from service.cli.output import ERR, OUT, print_json
from service.generate_schemas import GenerationBody
from service.generation.studio import Studio
from service.generation.wish import Wish, side_lengths
from service.generation.work import StoppedError
from service.wiring import open_services


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
    width, height = (None, None) if size is None else side_lengths(size)
    wish = Wish(prompt, negative, seed, steps, guidance, width, height, count).seeded()
    if out is not None and not out.parent.is_dir():
        raise InvalidInputError(f"--out {out}: its folder does not exist")
    services = open_services(settings_from(data_dir=data_dir, collection=collection), create=True)
    try:
        made = paint_all(services.studio, wish)
        files = [] if out is None else write_files(services.studio, made, out)
    finally:
        services.close()
    if as_json:
        bodies = [GenerationBody.of(one).model_dump() for one in made]
        print_json({"generations": bodies, "files": [str(file) for file in files]})
    else:
        for one in made:
            drawn = f"{one.native_width}x{one.native_height}"
            OUT.print(f"{one.id}  seed {one.seed}  {one.width}x{one.height}, drawn at {drawn}  {one.model}")
    for file in files:
        ERR.print(f"wrote {file}", markup=False)
    if len(made) < wish.count:
        ERR.print("stopped")
        raise typer.Exit(130)


def paint_all(studio: Studio, wish: Wish) -> list[Generation]:
    """With a progress bar; Ctrl-C keeps the pictures that are done."""
    studio.check(wish)
    made: list[Generation] = []
    with steps_bar() as bar, Interrupt() as stop:
        for part in range(wish.count):
            task = bar.add_task(f"picture {part + 1}", total=None, rate="")

            def show(done: int, total: int, task: TaskID = task) -> None:
                bar.update(task, completed=done, total=total)

            try:
                made.append(studio.paint(wish, part, job=None, on_step=_step(stop, show)))
            except StoppedError:
                break
    return made


def _step(stop: Interrupt, show: Callable[[int, int], None]) -> Callable[[Progress], None]:
    def step(progress: Progress) -> None:
        if stop.is_set():
            raise StoppedError
        show(progress.done, progress.total)

    return step


def write_files(studio: Studio, made: list[Generation], out: Path) -> list[Path]:
    """`fox.png`, and for more pictures `fox-2.png`, `fox-3.png`, …"""
    files = []
    for number, one in enumerate(made, start=1):
        file = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        try:
            file.write_bytes(studio.content(one))
        except OSError as error:
            raise InvalidInputError(f"cannot write {file}: {error.strerror}") from error
        files.append(file)
    return files
