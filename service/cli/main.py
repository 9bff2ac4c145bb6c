"""The `kallos` command: puts the commands together and turns errors into one line."""

import json
import sys
from collections.abc import Sequence

import typer

from benchmarks import cli as bench
from indexer.errors import InvalidInputError, KallosError
from service.cli import axes, generators
from service.cli.care import backup, compact, delete, models_app, restore, stats, verify
from service.cli.generate import generate
from service.cli.index import index
from service.cli.output import ERR, OUT
from service.cli.search import rank, search
from service.cli.serve import demo, serve

app = typer.Typer(
    help="Image search with taste.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (index, search, rank, generate, serve, demo, verify, stats, compact, backup, restore, delete):
    app.command()(command)
app.add_typer(axes.app, name="axes")
app.add_typer(models_app, name="models")
app.add_typer(generators.app, name="generator")
app.add_typer(generators.choice_app, name="generators")
app.add_typer(bench.app, name="bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done. 1: it failed. 2: it was asked for wrongly. 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        app(arguments, prog_name="kallos")
    except SystemExit as end:  # how Typer ends every command, and reports a wrong option
        return end.code if isinstance(end.code, int) else 1
    except KallosError as error:
        if "--json" in arguments:
            OUT.out(json.dumps({"error": {"code": error.code, "detail": str(error)}}))
        ERR.print(f"kallos: {error}", markup=False, soft_wrap=True, style="red")
        return 2 if isinstance(error, InvalidInputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
