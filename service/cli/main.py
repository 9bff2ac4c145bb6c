"""The `kallos` command: puts the commands together and turns errors into one line.

A command is imported when it is asked for: help, the version and a typo need none of what commands need.
"""

import json
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.metadata import version
from pkgutil import resolve_name
from typing import Annotated

import typer

from indexer.disk.files import disk_error
from indexer.errors import InvalidInputError, KallosError
from service.cli.console import ERR, OUT

# Where each command is, and the first paragraph of its own help.
COMMANDS: dict[str, tuple[str, str]] = {
    "index": (
        "service.cli.index:index",
        "Add pictures to the collection. Stop it and run it again: it goes on where it was.",
    ),
    "search": (
        "service.cli.search:search",
        "Find pictures by words, by example, by taste, or by all of them together.",
    ),
    "rank": (
        "service.cli.search:rank",
        "Sort the collection, or the matches of a query, by an axis or a mixture of them.",
    ),
    "generate": (
        "service.cli.generate:generate",
        "Draw pictures and keep them beside the collection, with what made them.",
    ),
    "serve": ("service.cli.serve:serve", "Serve the REST interface and the gallery page."),
    "demo": (
        "service.cli.serve:demo",
        "Fetch a sample gallery from the package manager, index it, and serve it.",
    ),
    "verify": (
        "service.cli.care:verify",
        "Check that database, vectors and index agree. Exit status 1 when they do not.",
    ),
    "stats": (
        "service.cli.care:stats",
        "What there is, what the index covers, and how well live searches did.",
    ),
    "compact": ("service.cli.care:compact", "Build the search index anew over everything stored so far."),
    "backup": ("service.cli.care:backup", "Copy everything into a folder, while others read and write."),
    "restore": (
        "service.cli.care:restore",
        "Check a backup, and copy it into a data directory that is missing or empty.",
    ),
    "delete": ("service.cli.care:delete", "Forget pictures."),
    "axes": ("service.cli.axes:app", "Rank axes: attributes that pictures can be sorted by."),
    "models": (
        "service.cli.models:app",
        "Encoders that are installed, cached, or can be fetched by name.",
    ),
    "generator": (
        "service.cli.generators:app",
        "What can draw a picture, and which trained generator is in service.",
    ),
    "generators": (
        "service.cli.generators:choice_app",
        "What can draw a picture: `list` and `download` of `kallos generator`.",
    ),
    "bench": ("benchmarks.cli:app", "The figures that the README quotes."),
}


def make_app(load: Collection[str]) -> typer.Typer:
    """The commands called in `load`; of the others, in their place, what each is for."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(kallos)
    for name, (place, help_text) in COMMANDS.items():
        if name not in load:
            app.command(name, help=help_text)(_not_loaded)
        elif isinstance(found := resolve_name(place), typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        OUT.print(f"kallos {version('kallos')}")
        raise typer.Exit


def kallos(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Image search with taste."""


def _not_loaded() -> None:
    raise AssertionError("the command that is asked for is loaded")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: done. 1: it failed. 2: it was asked for wrongly. 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # What is before the command are options, and none of those takes a value.
        app = make_app([word for word in arguments if not word.startswith("-")][:1])
        app(arguments, prog_name="kallos")
    except SystemExit as end:  # how Typer ends every command, and reports a wrong option
        return end.code if isinstance(end.code, int) else 1
    except (KallosError, OSError) as failure:
        error = failure if isinstance(failure, KallosError) else disk_error(failure)
        if error is None:
            raise
        if "--json" in arguments:
            with suppress(OSError):  # the full disk is perhaps the one that this goes to
                OUT.out(json.dumps({"error": {"code": error.code, "detail": str(error)}}))
        ERR.print(f"kallos: {error}", markup=False, soft_wrap=True, style="red")
        return 2 if isinstance(error, InvalidInputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
