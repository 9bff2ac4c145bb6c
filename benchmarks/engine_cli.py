"""`kallos bench …` over generated vectors: what the engine does, beside other engines."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import check_installed, missing_of
from benchmarks.deletes import measure_deletes
from benchmarks.filter import measure_filters
from benchmarks.generated import fill, open_generated
from benchmarks.growth import measure_growth
from benchmarks.mixed import measure_mixed
from benchmarks.own import copy_of_own, shape_of
from benchmarks.plots import draw_all
from benchmarks.rank import measure_rank
from benchmarks.record import circumstances, write
from benchmarks.rest import measure_rest
from benchmarks.restart import measure_restart
from benchmarks.search import BUCKETS, Result, build_apart, measure_apart, merged
from indexer.collection.compaction import Aims, compact, is_due
from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError
from service.cli.console import ERR, OUT, print_json
from service.cli.options import Json

RESULTS = Path("docs/benchmarks")
DIM = 512
AIMS = Aims(memory_bytes=2**31, threads=2)

Count = Annotated[int, typer.Option("--count", min=1000, help="Generated pictures.")]
Queries = Annotated[int, typer.Option("--queries", min=10)]
RecallAsked = Annotated[float, typer.Option("--recall", min=0.1, max=1.0)]
Clients = Annotated[list[int] | None, typer.Option("--clients", help="Clients that ask at once.")]
Cores = Annotated[int, typer.Option("--cores", min=1, help="Cores that anything may use.")]
Work = Annotated[Path, typer.Option("--work", help="Where generated collections are kept.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the JSON files.")]


def search(
    count: Count = 1_000_000,
    dim: Annotated[int, typer.Option("--dim", min=8)] = DIM,
    queries: Queries = 300,
    contenders: Annotated[
        list[str] | None,
        typer.Option("--contender", help=f"Of {', '.join(CONTENDERS)}; default: all that are installed."),
    ] = None,
    clients: Clients = None,
    cores: Cores = 2,
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Build what is not built yet; measure later.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Vectors of a collection of yours in place of generated ones; it is only read."),
    ] = None,
    collection: Annotated[str, typer.Option(help="Which one of --data-dir.")] = "default",
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@10 against queries per second, beside other engines over the same rows."""
    names = _chosen(contenders)
    if data_dir is None:
        folder, data, path = _filled(work, count, dim), "generated", out / f"search-{count}.json"
    else:
        folder = copy_of_own(data_dir, collection, queries, work)
        count, dim = shape_of(folder)
        data, path = f"collection {collection!r}", out / f"search-{folder.name}.json"
    for name in names:
        ERR.print(f"building {name}, unless it is there")
        build_apart(name, folder, dim, cores)
    if build_only:
        return
    results = []
    document: dict[str, Any] = {}
    for name in names:
        ERR.print(f"measuring {name}")
        results.append(measure_apart(name, folder, dim, queries, clients or [1, 2, 8], cores))
        packages = CONTENDERS[name].packages
        here = circumstances(packages, data=f"{data}, {count} x {dim}", queries=queries, cores=cores)
        document = merged(path, here, results[-1], count)
        write(path, document)  # at once: the next one may take long, or fail
    _finish(path, document, _search_table(results), as_json)


def _chosen(asked: Sequence[str] | None) -> list[str]:
    """Those asked for, which must be installed; or all that are, and a word about the others."""
    for name in asked or ():
        if name not in CONTENDERS:
            raise InvalidInputError(f"{name!r} is no contender: expected one of {', '.join(CONTENDERS)}")
        check_installed(name, CONTENDERS[name].packages)
    if asked:
        return list(asked)
    for name, contender in CONTENDERS.items():
        if missing := missing_of(contender.packages):
            ERR.print(f"left out {name}: {', '.join(missing)} not installed (extra `bench`)")
    return [name for name, contender in CONTENDERS.items() if not missing_of(contender.packages)]


def rest(
    count: Count = 1_000_000,
    queries: Queries = 500,
    clients: Clients = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Of each number of clients.")] = 10.0,
    recall: RecallAsked = 0.95,
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
        if is_due(collection, AIMS):
            compact(collection, AIMS)
        result = measure_rest(folder, collection, queries, clients or [1, 2, 8, 32], recall, seconds=seconds)
    finally:
        collection.close()
    document = circumstances(data=f"generated, {count} x {encoder.dim}", queries=queries, recall=recall)
    table = Table("in process p50", "REST p50", "requests/s", "first answer", box=None)
    rates = ", ".join(f"{run.load.requests_per_s:.0f} with {n}" for n, run in result.by_clients.items())
    table.add_row(
        f"{result.in_process_p50_ms:.2f} ms",
        f"{result.rest_p50_ms:.2f} ms",
        rates,
        f"{result.restart_s:.2f} s",
    )
    _finish(out / f"rest-{count}.json", document | asdict(result), table, as_json)


def rank(
    count: Count = 1_000_000,
    dim: Annotated[int, typer.Option("--dim", min=8)] = DIM,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """The top 100 of an axis over the whole collection, beside NumPy on the same rows."""
    collection = open_generated(_filled(work, count, dim), dim)
    try:
        result = asdict(measure_rank(collection))
    finally:
        collection.close()
    table = Table("what", "ms", box=None)
    for name, value in result.items():
        table.add_row(name, f"{value:.2f}")
    document = circumstances(data=f"generated, {count} x {dim}") | {"ms": result}
    _finish(out / f"rank-{count}.json", document, table, as_json)


def filter_(
    count: Count = 1_000_000,
    queries: Queries = 60,
    recall: RecallAsked = 0.95,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@10 and time under filters that few or many pictures pass, near to the query and far from it."""
    with _built(_filled(work, count, DIM)) as folder:
        collection = open_generated(folder, DIM)
        report = measure_filters(collection, queries, recall)
        collection.close()
    document = circumstances(data=f"generated, {count} x {DIM}", queries=queries) | asdict(report)
    table = Table("filter", "passes", "recall", "worst", "p50 ms", "p99 ms", "first ms", "CPU ms", box=None)
    for row in report.rows:
        times = [f"{ms:.2f}" for ms in (row.p50_ms, row.p99_ms, row.first_ms, row.cpu_ms)]
        table.add_row(row.kind, f"{row.share:.2%}", f"{row.recall:.3f}", f"{row.worst_recall:.3f}", *times)
    table.caption = (
        f"unfiltered p50 {report.unfiltered_p50_ms:.2f} ms, so the limit is {report.limit_ms:.1f} ms"
    )
    _finish(out / f"filter-{count}.json", document, table, as_json)


def restart(
    count: Count = 1_000_000,
    times: Annotated[int, typer.Option("--times", min=1)] = 7,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """From the start of a fresh process to its first correct answer."""
    with _built(_filled(work, count, DIM)) as folder:
        result = measure_restart(folder, DIM, times)
    document = circumstances(data=f"generated, {count} x {DIM}", times=times) | asdict(result)
    table = Table("first answer s", "CPU s", "of it open and search s", box=None)
    table.add_row(f"{result.first_answer_s:.2f}", f"{result.cpu_s:.2f}", f"{result.open_s:.2f}")
    _finish(out / f"restart-{count}.json", document, table, as_json)


def mixed(
    count: Count = 1_000_000,
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="For each of the three.")] = 15.0,
    recall: RecallAsked = 0.95,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Searches alone, beside ingest at full speed, and beside ingest and a rebuild."""
    with _built(_filled(work, count, DIM)) as folder, _copy(folder) as copy:
        rows = measure_mixed(copy, DIM, seconds, recall)
    document = circumstances(data=f"generated, {count} x {DIM}", seconds=seconds, recall=recall)
    headings = (
        "beside",
        "p50 ms",
        "p99 ms",
        "CPU p50",
        "CPU p99",
        "recall",
        "written /s",
        "behind the index",
    )
    table = Table(*headings, box=None)
    for row in rows:
        times = [f"{ms:.2f}" for ms in (row.p50_ms, row.p99_ms, row.cpu_p50_ms, row.cpu_p99_ms)]
        written = f"{row.written_per_s:.0f}"
        table.add_row(row.beside, *times, f"{row.recall:.3f}", written, str(row.behind))
    _finish(out / f"mixed-{count}.json", document | {"rows": [asdict(row) for row in rows]}, table, as_json)


def deletes(
    count: Count = 1_000_000,
    queries: Queries = 200,
    recall: RecallAsked = 0.95,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Recall@10 before and after half of all pictures are deleted, and when their space was given back."""
    with _built(_filled(work, count, DIM)) as folder, _copy(folder) as copy:
        rows = measure_deletes(copy, DIM, queries, recall)
    document = circumstances(data=f"generated, {count} x {DIM}", queries=queries, recall=recall)
    table = Table("when", "pictures", "rows", "recall", "p50 ms", box=None)
    for row in rows:
        table.add_row(row.when, str(row.pictures), str(row.rows), f"{row.recall:.3f}", f"{row.p50_ms:.2f}")
    _finish(out / f"deletes-{count}.json", document | {"rows": [asdict(row) for row in rows]}, table, as_json)


def growth(
    counts: Annotated[list[int] | None, typer.Option("--count", help="Sizes; default 10k, 100k, 1M.")] = None,
    queries: Queries = 200,
    cores: Cores = 2,
    work: Work = Path(".cache/bench"),
    out: Out = RESULTS,
    as_json: Json = False,
) -> None:
    """Speed, recall, build time and memory at every size. 10,000,000 takes 16 GB of disk and two hours."""
    rows = measure_growth(work, counts or [10_000, 100_000, 1_000_000], DIM, queries, cores)
    document = circumstances(data=f"generated, {DIM} numbers", queries=queries, cores=cores)
    table = Table("pictures", "recall", "p50 ms", "QPS", "build CPU s", "MB", box=None)
    for row in rows:
        speeds = (f"{row.recall:.3f}", f"{row.p50_ms:.2f}", f"{row.qps:.0f}")
        table.add_row(str(row.pictures), *speeds, f"{row.build_cpu_s:.1f}", f"{row.resident_mb:.0f}")
    _finish(out / "growth.json", document | {"rows": [asdict(row) for row in rows]}, table, as_json)


def plot(out: Out = RESULTS) -> None:
    """Draw the recorded figures, an SVG beside each JSON file."""
    check_installed("plot", ["matplotlib"])
    for path in draw_all(out):
        OUT.print(str(path))


def _filled(work: Path, count: int, dim: int) -> Path:
    folder = work / f"{count}x{dim}"
    ERR.print(f"generating {count} x {dim} in {folder}, unless it is there")
    fill(folder, count, dim).close()
    return folder


@contextmanager
def _built(folder: Path) -> Iterator[Path]:
    """With the index that `kallos bench search` measures too."""
    build_apart("kallos", folder, DIM, AIMS.threads)
    yield folder


@contextmanager
def _copy(folder: Path) -> Iterator[Path]:
    """For measurements that change what they measure."""
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("contenders"))
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def _finish(path: Path, document: dict[str, Any], table: Table, as_json: bool) -> None:
    write(path, document)
    if as_json:
        print_json(document)
    else:
        OUT.print(table)


def _search_table(results: list[Result]) -> Table:
    headings = ("engine", "build CPU s", "MB", *(f"QPS at {bucket:.2f}" for bucket in BUCKETS))
    table = Table(*headings, box=None)
    for result in results:
        best = [result.best(bucket) for bucket in BUCKETS]
        speeds = [f"{max(run.qps.values()):.0f}" if run else "not reached" for run in best]
        table.add_row(result.name, f"{result.built.cpu_s:.0f}", f"{result.resident_mb:.0f}", *speeds)
    return table
