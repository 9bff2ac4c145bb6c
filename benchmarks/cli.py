"""`kallos bench …`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import engine_cli as engine
from benchmarks.diversity import DIM, POOL, measure_diversity
from benchmarks.engine_cli import RESULTS, Out
from benchmarks.ingest import link_all_but_svg, throughput
from benchmarks.levels import RememberedTexts, levelled, levelled_texts
from benchmarks.match import TRIALS, measure
from benchmarks.match_plot import plot_reliability
from benchmarks.match_trial import Material, cost
from benchmarks.record import circumstances, write
from benchmarks.retrieval import encode_captioned, recall_of
from indexer.encoders.known_models import BUILTIN_IDS
from indexer.encoders.registry import load_encoder
from indexer.imaging.decode import Limits
from indexer.protocols import Encoder
from service.cli.console import ERR, OUT, print_json
from service.cli.options import Json
from service.samples import find_samples

app = typer.Typer(help="The figures that the README quotes.", no_args_is_help=True)

LANGUAGES = ("en", "de", "fr", "es")

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Captioned pictures; default: the sample gallery.")
]
ModelName = Annotated[str, typer.Option("--model", help="As in `kallos models list`.")]
Samples = Annotated[Path, typer.Option("--samples", help="Where the sample pictures are kept.")]


@app.command()
def retrieval(
    folder: Folder = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            help="Pictures with English captions, measured beside those: captions.jsonl, COCO's captions, "
            "or a .txt or .json beside each.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="A part of --photos, such as dev; default: all of them.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="As in `kallos models list`; may be repeated. Default: the builtin ones."
        ),
    ] = None,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="Codes as in the sidecars.")
    ] = None,
    samples: Samples = Path(".cache/samples"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@1/5/10 and median rank of captions against their own pictures."""
    source = folder or find_samples(samples).folder
    sets: list[tuple[Path, str | None, list[str]]] = [(source, None, languages or list(LANGUAGES))]
    if photos is not None:
        sets.append((photos, split, ["en"]))
    rows = [row for name in models or BUILTIN_IDS for row in _recall_rows(load_encoder(name), sets)]
    document = circumstances(data=source.name) | {"recall": rows}
    write(out / "retrieval.json", document)
    if as_json:
        print_json(document)
    else:
        OUT.print(_recall_table(rows))


@app.command()
def ingest(
    folder: Folder = None,
    model: ModelName = "builtin",
    cores: Annotated[list[int] | None, typer.Option("--cores", help="Numbers of cores to measure.")] = None,
    most: Annotated[int, typer.Option("--most", help="Pictures for the encoder alone.")] = 512,
    samples: Samples = Path(".cache/samples"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Pictures per second: encoder alone, with decoding, and end to end."""
    source = folder or find_samples(samples).folder
    counts = cores or [1, 2]
    with TemporaryDirectory() as scratch:
        folders = {"all": source, "without SVG": link_all_but_svg(source, Path(scratch, "links"))}
        rows = [
            throughput(pictures, data, model, Path(scratch, f"{number}-{n}"), cores=n, most=most)
            for number, (data, pictures) in enumerate(folders.items())
            for n in counts
        ]
    document = circumstances(model=model, data=source.name) | {"throughput": [asdict(row) for row in rows]}
    write(out / "ingest.json", document)
    if as_json:
        print_json(document)
        return
    table = Table("pictures", "cores", "encoder alone /s", "with decoding /s", "end to end /s", box=None)
    for row in rows:
        rates = (row.encoder_alone, row.decode_and_encode, row.end_to_end)
        table.add_row(row.data, str(row.cores), *(f"{rate:.1f}" for rate in rates))
    OUT.print(table)


for measurement in (engine.search, engine.rank, engine.rest, engine.restart, engine.mixed, engine.deletes):
    app.command()(measurement)
app.command()(engine.growth)
app.command("filter")(engine.filter_)
app.command()(engine.plot)


@app.command()
def match(
    folder: Folder = None,
    model: ModelName = "builtin",
    sizes: Annotated[
        list[int] | None, typer.Option("--size", min=100, help="Pictures in a collection.")
    ] = None,
    samples: Samples = Path(".cache/samples"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Is it known when nothing matches? Against a flat threshold; needs the extra `bench`."""
    source = folder or find_samples(samples).folder
    encoder = load_encoder(model)
    captioned = encode_captioned(source, encoder, Limits.from_memory(), lambda n: ERR.print(n, end="\r"))
    known = [n for n, captions in enumerate(captioned.captions) if "en" in captions]
    vectors_ND = captioned.vectors_ND[known]
    texts = [captioned.captions[n]["en"] for n in known]
    encode = RememberedTexts(encoder.encode_texts)
    measured = []
    for name, of_pictures, of_texts in (
        ("as it is", vectors_ND, encode),
        ("simulated levels and hubs", levelled(vectors_ND), levelled_texts(encode)),
    ):
        material = Material.of(of_pictures, texts, of_texts)
        measured += [
            {"encoder": name} | measure(material, of_texts, size, ERR.print) for size in sizes or list(TRIALS)
        ]
    plain = Material.of(vectors_ND, texts, encode)
    costs = [asdict(cost(plain, encoder.encode_texts, captioned=captioned)) for captioned in (True, False)]
    document = circumstances(model=encoder.model_id, data=source.name, measured=measured, cost=costs)
    write(out / "match.json", document)
    plot_reliability(out.parent / "match.png", [(f"{m['pictures']}, {m['encoder']}", m) for m in measured])
    if as_json:
        print_json(document)
    else:
        OUT.print(_match_table(measured))


@app.command()
def diversity(out: Out = RESULTS, as_json: Json = False) -> None:
    """CPU milliseconds to make a pool of 200 hits diverse."""
    document = circumstances(data=f"generated, {POOL} x {DIM}", cpu_ms=measure_diversity())
    write(out / "diversity.json", document)
    if as_json:
        print_json(document)
    else:
        OUT.print(document["cpu_ms"])


@app.command("all")
def run_all(samples: Samples = Path(".cache/samples"), out: Out = RESULTS) -> None:
    """How well captions find their pictures, and pictures per second."""
    retrieval(samples=samples, out=out)
    ingest(samples=samples, out=out)


def _recall_rows(
    encoder: Encoder, sets: list[tuple[Path, str | None, list[str]]]
) -> Iterator[dict[str, Any]]:
    """A row for each folder (of which only a split counts) and language."""
    limits = Limits.from_memory()
    for folder, split, languages in sets:
        captioned = encode_captioned(
            folder, encoder, limits, lambda n: ERR.print(f"{n} pictures", end="\r"), split=split
        )
        for code in languages:
            of = {"model": encoder.model_id, "data": folder.name, "split": split, "language": code}
            chance = _chance(len(captioned.captions))
            yield of | asdict(recall_of(captioned, encoder, code)) | {"chance": chance}


def _recall_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("model", "pictures", "language", "captions", "R@1", "R@5", "R@10", "median rank", box=None)
    for row in rows:
        shares = [f"{row[key]:.1f}" for key in ("at_1", "at_5", "at_10")]
        data = " ".join(filter(None, (row["data"], row["split"])))
        table.add_row(
            row["model"], data, row["language"], str(row["queries"]), *shares, f"{row['median_rank']:g}"
        )
    return table


def _match_table(measured: list[dict[str, Any]]) -> Table:
    figures = ("auroc_shown", "auroc_held", "ece_shown", "ece_held", "brier_shown")
    table = Table("encoder", "pictures", "rule", *figures, box=None)
    for row in measured:
        for name, rule in row["rules"].items():
            values = [f"{rule[figure]['value']:.3f}" for figure in figures]
            table.add_row(row["encoder"], str(row["pictures"]), name, *values)
    return table


def _chance(pictures: int) -> dict[str, Any]:
    return {f"at_{k}": round(100.0 * min(k, pictures) / max(pictures, 1), 2) for k in (1, 5, 10)}
