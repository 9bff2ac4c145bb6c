"""The engine's benchmarks, small: what they measure is right, and what they say about it too."""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import Built, check_installed, missing_of
from benchmarks.filter import measure_filters, truth_among
from benchmarks.generated import fill, rows_of
from benchmarks.plots import draw_all
from benchmarks.processes import resident_mb
from benchmarks.search import Result, Run, build_apart, measure_apart, truth
from benchmarks.vectors import POLES, VectorSource
from indexer.errors import UnavailableError
from service.cli.main import main

pytestmark = pytest.mark.slow

ROWS, DIM = 2_000, 32


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROWS generated pictures, and Kallos's index over them, which raw FAISS reads too."""
    folder = tmp_path_factory.mktemp("work")
    fill(folder, ROWS, DIM).close()
    build_apart("kallos", folder, DIM, 2)
    return folder


def contender(name: str) -> Any:  # noqa: ANN401 - pytest does not name its class
    missing = missing_of(CONTENDERS[name].packages)
    reason = f"{', '.join(missing)} not installed: they come with the extra `bench`"
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=reason))


@pytest.mark.parametrize("name", [contender(name) for name in CONTENDERS])
def test_a_contender_is_built_once_and_finds_what_brute_force_finds(work: Path, name: str) -> None:
    built = build_apart(name, work, DIM, 2)
    assert build_apart(name, work, DIM, 2) == built
    result = measure_apart(name, work, DIM, 40, [2], 2)
    assert max(run.recall for run in result.runs) >= 0.98
    best = result.best(0.95)
    assert best is not None
    assert best.qps["2"] > 0
    assert 0 < best.cpu_ms < 1e3


def test_the_truth_is_what_sorting_all_scores_gives(work: Path) -> None:
    query_QD = VectorSource(DIM).queries(5)
    rows_ND = rows_of(work, DIM).astype(np.float32)
    expected_QK = np.argsort(-(query_QD @ rows_ND.T), axis=1)[:, :10]
    np.testing.assert_array_equal(truth(work, query_QD), expected_QK)
    allowed_N = np.arange(ROWS) % 3 == 0
    expected = [row_K[allowed_N[row_K]][:10] for row_K in np.argsort(-(query_QD @ rows_ND.T), axis=1)]
    np.testing.assert_array_equal(truth_among(rows_of(work, DIM), query_QD, allowed_N), expected)


def test_a_missing_package_is_named_with_the_command_that_helps() -> None:
    with pytest.raises(
        UnavailableError, match=r"'milvus' needs no-such-engine: run `pip install no-such-engine`"
    ):
        check_installed("milvus", ["numpy", "no-such-engine"])


def test_the_best_run_is_the_fastest_that_reached_the_recall() -> None:
    runs = [
        Run("1", 0.90, 1.0, 2.0, 1.0, {"1": 900.0, "2": 800.0}),
        Run("2", 0.96, 1.0, 2.0, 1.0, {"1": 500.0, "2": 700.0}),
        Run("3", 0.99, 1.0, 2.0, 1.0, {"1": 600.0, "2": 650.0}),
    ]
    result = Result("one", Built(1.0, 2.0, 3.0, 2), 0.0, runs)
    assert result.best(0.95) == runs[1]
    assert result.best(0.97) == runs[2]
    assert result.best(0.995) is None


def test_queries_of_a_theme_lie_near_its_pole_and_lean_says_so(work: Path) -> None:
    source = VectorSource(DIM)
    collection = fill(work, ROWS, DIM)
    stored = collection.snapshot().scroll(limit=50)
    lean_NP = rows_of(work, DIM)[:50].astype(np.float32) @ source.pole_PD.T
    for pole, theme in enumerate(POLES):
        about = source.queries_about(theme, 30) @ source.pole_PD[pole]
        others = source.queries(300) @ source.pole_PD[pole]
        assert np.median(about) > np.quantile(others, 0.8)
        leans = [row.metadata[f"lean_{pole}"] for row in stored]
        np.testing.assert_allclose(np.array(leans, float), lean_NP[:, pole], atol=2e-3)
    collection.close()


def test_filters_are_as_narrow_as_asked_and_small_ones_lose_nothing(work: Path) -> None:
    collection = fill(work, ROWS, DIM)
    report = measure_filters(collection, 6, 0.95)
    collection.close()
    assert len(report.rows) == 15
    for row in report.rows:
        assert abs(row.matches - row.share * ROWS) <= 0.02 * ROWS
        assert row.recall == 1.0
        assert set(row.modes) == {"exact"}


def test_memory_counts_what_is_held() -> None:
    before = resident_mb()
    # Not from the allocator, which may have kept as much from an earlier test.
    with mmap.mmap(-1, 50 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        np.frombuffer(held, np.uint8)[:] = 1
        assert 45 < resident_mb() - before < 70


def bench(tmp_path: Path, name: str, *arguments: object) -> dict[str, Any]:
    """Run the command; what it wrote."""
    out, kept = tmp_path / "out", tmp_path.parent / "kept"
    line = ["bench", name, "--work", kept, "--out", out, *arguments]
    assert main([str(argument) for argument in line]) == 0
    (path,) = out.glob(f"{name}*.json")
    document: dict[str, Any] = json.loads(path.read_text())
    assert {"commit", "machine", "load"} <= document.keys()
    return document


def test_restart_deletes_growth_and_mixed_measure_and_record(tmp_path: Path) -> None:
    assert bench(tmp_path, "restart", "--count", 1000, "--times", 1)["recall"] >= 0.8
    before, deleted, compacted = bench(tmp_path, "deletes", "--count", 1000, "--queries", 20)["rows"]
    assert [row["pictures"] for row in (before, deleted, compacted)] == [1000, 500, 500]
    assert [row["rows"] for row in (before, deleted, compacted)] == [1000, 1000, 500]
    assert min(row["recall"] for row in (before, deleted, compacted)) >= 0.9
    (row,) = bench(tmp_path, "growth", "--count", 1000, "--queries", 20)["rows"]
    assert (row["pictures"], row["disk_bytes_per_vector"] > 1024) == (1000, True)
    alone, ingest, _ = bench(tmp_path, "mixed", "--count", 1000, "--seconds", 1)["rows"]
    assert alone["written_per_s"] == 0
    assert ingest["written_per_s"] > 0


def test_a_collection_of_yours_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    data_dir, work = tmp_path / "data", tmp_path.parent / "kept"
    collection = fill(data_dir, ROWS, DIM)
    collection.delete([row.id for row in collection.snapshot().scroll(limit=100)])
    before = collection.state()
    arguments = ("--data-dir", data_dir, "--queries", 20, "--contender", "kallos", "--contender", "numpy")
    document = bench(tmp_path, "search", *arguments, "--clients", 1)
    assert document["data"] == f"collection 'default', {ROWS - 100 - 20} x {DIM}"
    assert {one["name"]: one["at_recall"]["0.99"]["recall"] for one in document["contenders"]}["numpy"] == 1.0
    assert collection.state() == before
    (copy,) = work.glob("own-*")
    query_QD, rows_ND = np.load(copy / "queries.npy"), rows_of(copy, DIM).astype(np.float32)
    stored_ND = np.concatenate(list(collection.snapshot().live_rows(1000))).astype(np.float32)
    collection.close()
    both_ND = np.concatenate([query_QD, rows_ND])
    np.testing.assert_array_equal(np.sort(both_ND, axis=0), np.sort(stored_ND, axis=0))
    assert not (query_QD[:, None, :] == rows_ND[None, :, :]).all(axis=2).any()


def test_too_few_pictures_are_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "data", 1000, DIM).close()
    line = ["bench", "search", "--data-dir", str(tmp_path / "data"), "--work", str(tmp_path / "work")]
    assert main([*line, "--contender", "numpy"]) == 2
    assert "has 1000 pictures: expected at least 1000, and the 300 that" in capsys.readouterr().err


def test_every_kind_of_figure_is_drawn(tmp_path: Path) -> None:
    run = {"recall": 0.9, "qps": {"1": 10.0, "2": 20.0}}
    documents: dict[str, dict[str, Any]] = {
        "search-1": {"data": "d", "contenders": [{"name": "kallos", "runs": [run, run | {"recall": 0.95}]}]},
        "filter-1": {
            "data": "d",
            "limit_ms": 15.0,
            "rows": [
                {"kind": "correlated", "share": share, "recall": 1.0, "p50_ms": 1.0} for share in (0.1, 0.5)
            ],
        },
        "growth": {
            "rows": [
                dict.fromkeys(
                    ("p50_ms", "qps", "recall", "build_cpu_s", "resident_mb", "disk_bytes_per_vector"), 1.0
                )
                | {"pictures": 1000}
            ]
        },
        "rest-1": {},
    }
    for name, document in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    drawn = draw_all(tmp_path)
    assert [path.name for path in drawn] == ["filter-1.svg", "growth.svg", "search-1.svg"]
    assert all("<svg" in path.read_text()[:1000] for path in drawn)
