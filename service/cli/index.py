"""`kallos index`."""

from typing import Annotated

import typer

from service.cli.console import print_json
from service.cli.options import Collection, DataDir, Json, Model, settings_from


def index(
    sources: Annotated[
        list[str], typer.Argument(help="Folders, pictures, tar shards, or CSV and parquet lists.")
    ],
    sync: Annotated[
        bool, typer.Option("--sync", help="Also forget pictures that are gone, and follow moved ones.")
    ] = False,
    data_dir: DataDir = None,
    collection: Collection = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Add pictures to the collection. Stop it and run it again: it goes on where it was."""
    from service.cli.indexing import print_report, run_sources
    from service.index_job import report_json

    settings = settings_from(data_dir=data_dir, collection=collection, model=model)
    report = run_sources(settings, sources, sync=sync)
    if as_json:
        print_json(report_json(report))
    else:
        print_report(report)
    if report.stopped:
        raise typer.Exit(130)
