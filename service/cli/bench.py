"""`kallos bench …`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from indexer.compaction import Aims, compact, is_due
from indexer.encoders.registry import load_encoder
from indexer.images import Limits
from rerank.retrieval import Recall
from service.bench.contenders import CONTENDERS, fill
from service.bench.diversity import DIM, POOL, measure_diversity
from service.bench.ingest import throughput, without_svg
from service.bench.levels import RememberedTexts, levelled, levelled_texts
from service.bench.match import TRIALS, measure
from service.bench.match_plot import plot_reliability
from service.bench.match_trial import Material, cost
from service.bench.rank import measure_rank
from service.bench.record import circumstances, write
from service.bench.rest import measure_rest
from service.bench.retrieval import encode_captioned, recall_of
from service.bench.search import BUCKETS, Result, measure_apart
from service.bench.search import as_json as search_json
from service.cli.options import Json
from service.cli.output import ERR, OUT, print_json
from service.samples import find_samples

app = typer.Typer(help="The figures that the README quotes.", no_args_is_help=True)

RESULTS = Path("docs/benchmarks")
LANGUAGES = ("en", "de", "fr", "es")

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Captioned pictures; default: the sample gallery.")
]
ModelName = Annotated[str, typer.Option("--model", help="As in `kallos models list`.")]
Samples = Annotated[Path, typer.Option("--samples", help="Where the sample pictures are kept.")]
Work = Annotated[Path, typer.Option("--work", help="Where generated collections are kept.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the JSON files.")]


@app.command()
def retrieval(
    folder: Folder = None,
    model: ModelName = "builtin",
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="Codes as in the sidecars.")
    ] = None,
    samples: Samples = Path(".cache/samples"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@1/5/10 and median rank of captions against their own pictures."""
    source = folder or find_samples(samples).folder
    limits = Limits.from_memory()
    encoder = load_encoder(model)
    captioned = encode_captioned(source, encoder, limits, lambda n: ERR.print(f"{n} pictures", end="\r"))
    rows = {code: recall_of(captioned, encoder, code) for code in languages or LANGUAGES}
    document = circumstances(model=encoder.model_id, data=source.name) | {
        "chance": _chance(len(captioned.captions)),
        "recall": {code: asdict(row) for code, row in rows.items()},
    }
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
    """Pictures per second, end to end and encoder alone."""
    source = folder or find_samples(samples).folder
    counts = cores or [1, 2]
    rows = [throughput(source, "all", model, cores=n, most=most) for n in counts]
    with without_svg(source) as pixels:
        rows += [throughput(pixels, "without SVG", model, cores=n, most=most) for n in counts]
    document = circumstances(model=model, data=source.name) | {"throughput": [asdict(row) for row in rows]}
    write(out / "ingest.json", document)
    if as_json:
        print_json(document)
        return
    table = Table("pictures", "cores", "encoder alone /s", "end to end /s", "share", box=None)
    for row in rows:
        share = f"{row.end_to_end / row.encoder_alone:.0%}"
        table.add_row(row.data, str(row.cores), f"{row.encoder_alone:.1f}", f"{row.end_to_end:.1f}", share)
    OUT.print(table)


@app.command()
def search(
    count: Annotated[int, typer.Option("--count", min=1000, help="Generated pictures.")] = 1_000_000,
    dim: Annotated[int, typer.Option("--dim", min=8)] = 512,
    queries: Annotated[int, typer.Option("--queries", min=20)] = 500,
    contenders: Annotated[
        list[str] | None, typer.Option("--contender", help=f"Of {', '.join(CONTENDERS)}; default: all.")
    ] = None,
    clients: Annotated[list[int] | None, typer.Option("--clients", help="Threads that ask at once.")] = None,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@10 against queries per second, beside raw FAISS, NumPy, hnswlib and usearch on the same rows."""
    folder = work / f"{count}x{dim}"
    ERR.print(f"generating {count} x {dim} in {folder}")
    fill(folder, count, dim).close()
    results = []
    for name in contenders or list(CONTENDERS):
        ERR.print(f"measuring {name}")
        results.append(measure_apart(name, folder, dim, queries, clients or [1, 2, 8]))
    document = circumstances(data=f"generated, {count} x {dim}", queries=queries) | {
        "contenders": search_json(results)
    }
    write(out / f"search-{count}.json", document)
    if as_json:
        print_json(document)
        return
    OUT.print(_search_table(results))


@app.command()
def rest(
    count: Annotated[int, typer.Option("--count", min=1000, help="Generated pictures.")] = 1_000_000,
    queries: Annotated[int, typer.Option("--queries", min=100)] = 500,
    clients: Annotated[list[int] | None, typer.Option("--clients", help="Clients that ask at once.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of each number of clients.")] = 10.0,
    recall: Annotated[float, typer.Option("--recall", min=0.1, max=1.0)] = 0.95,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """What HTTP adds to a vector search, requests per second, and time from start to first answer."""
    encoder = load_encoder("builtin")
    folder = work / f"{count}x{encoder.dim}-rest"
    ERR.print(f"generating {count} x {encoder.dim} in {folder}")
    collection = fill(folder, count, encoder.dim, encoder.model_id)
    try:
        aims = Aims(memory_bytes=2**31, threads=2)
        if is_due(collection, aims):
            compact(collection, aims)
        result = measure_rest(folder, collection, queries, clients or [1, 2, 8, 32], recall, seconds=seconds)
    finally:
        collection.close()
    document = circumstances(data=f"generated, {count} x {encoder.dim}", queries=queries, recall=recall)
    document |= asdict(result)
    write(out / f"rest-{count}.json", document)
    if as_json:
        print_json(document)
        return
    rates = ", ".join(f"{run.load.requests_per_s:.0f}/s with {n}" for n, run in result.by_clients.items())
    OUT.print(f"in process {result.in_process_p50_ms:.2f} ms, through REST {result.rest_p50_ms:.2f} ms (p50)")
    OUT.print(f"{rates} clients; first answer {result.restart_s:.2f} s after start")


@app.command()
def rank(
    count: Annotated[int, typer.Option("--count", min=1000, help="Generated pictures.")] = 1_000_000,
    dim: Annotated[int, typer.Option("--dim", min=8)] = 512,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """The top 100 of an axis over the whole collection, beside NumPy on the same rows."""
    folder = work / f"{count}x{dim}"
    ERR.print(f"generating {count} x {dim} in {folder}")
    collection = fill(folder, count, dim)
    try:
        result = measure_rank(collection)
    finally:
        collection.close()
    document = circumstances(data=f"generated, {count} x {dim}") | {"ms": asdict(result)}
    write(out / f"rank-{count}.json", document)
    if as_json:
        print_json(document)
        return
    for name, value in asdict(result).items():
        OUT.print(f"{name:>14} {value:9.2f} ms")


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
    """Every benchmark, one after the other."""
    retrieval(samples=samples, out=out)
    ingest(samples=samples, out=out)


def _search_table(results: list[Result]) -> Table:
    headings = ("engine", "build s", "MB", *(f"QPS at {bucket:.2f}" for bucket in BUCKETS))
    table = Table(*headings, box=None)
    for result in results:
        best = [result.best(bucket) for bucket in BUCKETS]
        speeds = [f"{max(run.qps.values()):.0f}" if run else "not reached" for run in best]
        table.add_row(result.name, f"{result.build_s:.1f}", f"{result.anon_mb:.0f}", *speeds)
    return table


def _recall_table(rows: dict[str, Recall]) -> Table:
    table = Table("language", "captions", "R@1", "R@5", "R@10", "median rank", box=None)
    for code, row in rows.items():
        shares = [f"{share:.1f}" for share in (row.at_1, row.at_5, row.at_10)]
        table.add_row(code, str(row.queries), *shares, f"{row.median_rank:g}")
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
