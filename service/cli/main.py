"""The `kallos` command: puts the commands together and turns errors into one line."""

import json
import sys
from collections.abc import Sequence

import click
import typer
from typer.main import get_command

from indexer.errors import InvalidInputError, KallosError
from service.cli import axes, bench
from service.cli.care import compact, delete, models_app, verify
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
for command in (index, search, rank, serve, demo, verify, compact, delete):
    app.command()(command)
app.add_typer(axes.app, name="axes")
app.add_typer(models_app, name="models")
app.add_typer(bench.app, name="bench")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done. 1: it failed. 2: it was asked for wrongly."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = get_command(app).main(arguments, prog_name="kallos", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except KallosError as error:
        if "--json" in arguments:
            OUT.out(json.dumps({"error": {"code": error.code, "detail": str(error)}}))
        ERR.print(f"kallos: {error}", markup=False, soft_wrap=True, style="red")
        return 2 if isinstance(error, InvalidInputError) else 1
    return status if isinstance(status, int) else 0
