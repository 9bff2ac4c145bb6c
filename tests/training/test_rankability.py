"""A synthetic space with known axes: every figure of a report must find them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from indexer.errors import InvalidInputError
from rerank.axes.splits import Split
from tests.support.pictures import unit_vectors
from training.rankability.evaluate import Prompts, read_prompts
from training.rankability.measure import (
    AttributeReport,
    Labelled,
    Text,
    cosines,
    labelled,
    measure,
    split_tables,
    transfer,
)
from training.rankability.nonlinear import nonlinear_scores
from training.rankability.table import LabelledSet, read_table, read_tables

pytestmark = pytest.mark.slow

N, DIM = 300, 24
NOISE = 0.1  # of the labels, in their standard deviations


def picture(folder: Path, name: str) -> str:
    (folder / name).write_bytes(b"")
    return name


def table(tmp_path: Path, text: str, name: str = "faces.csv") -> Path:
    for picture_name in ("a.png", "b.png", "c.png"):
        picture(tmp_path, picture_name)
    (tmp_path / name).write_text(text)
    return tmp_path / name


# --- CSV ---


def test_a_table_has_several_attributes_and_may_lack_some(tmp_path: Path) -> None:
    found = read_table(
        table(tmp_path, "image,age,smile,group\na.png,3,0.5,ann\nb.png,,1e1,ann\nc.png,7,-2,\n")
    )
    assert found.name == "faces"
    assert [path.name for path in found.pictures] == ["a.png", "b.png", "c.png"]
    np.testing.assert_array_equal(found.labels["age"], [3, np.nan, 7])
    np.testing.assert_array_equal(found.labels["smile"], [0.5, 10, -2])
    assert found.groups[0] == found.groups[1] == "ann"
    assert found.groups[2] not in ("", "ann")


def test_a_column_called_label_takes_the_name_of_the_file(tmp_path: Path) -> None:
    assert list(read_table(table(tmp_path, "image,label\na.png,3\n", "age.csv")).labels) == ["age"]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("image,age\na.png,3\nb.png,old\n", "faces.csv line 3", "age is 'old'"),
        ("image,age\na.png,inf\n", "faces.csv line 2", "finite"),
        ("image,age\na.png,nan\n", "faces.csv line 2", "finite"),
        ("image,age\na.png,3\nno.png,3\n", "faces.csv line 3", "'no.png' is no file"),
        ("image,age\n,3\n", "faces.csv line 2", "'' is no file"),
        ("image,age\na.png\n", "faces.csv line 2", "more or fewer fields"),
        ("image,age\na.png,3,4\n", "faces.csv line 2", "more or fewer fields"),
        ('image,age\na.png,3\n"b.png"x,3\n', "faces.csv line 3", "expected after"),
        ("picture,age\na.png,3\n", "faces.csv line 1", "'picture,age'"),
        ("image,group\na.png,3\n", "faces.csv line 1", "an attribute"),
        ("image,age,age\na.png,3,3\n", "faces.csv line 1", "each once"),
        ("image,faces,label\na.png,3,3\n", "faces.csv line 1", "would be called 'faces'"),
        ("image,age\n", "faces.csv", "no pictures"),
        ("", "faces.csv line 1", "the header is ''"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(
    tmp_path: Path, text: str, place: str, says: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        read_table(table(tmp_path, text))
    assert place in str(error.value)
    assert says in str(error.value)


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    paths = [table(folder, "image,age\na.png,3\n") for folder in (tmp_path, tmp_path / "more")]
    with pytest.raises(InvalidInputError, match="two tables are called 'faces'"):
        read_tables(paths)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text", ["[]", '{"age": {"high": ["old"]}}', '{"age": {"high": "old", "low": ["x"]}}', "{"]
)
def test_prompts_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"prompts\.json"):
        read_prompts(path)


def test_prompts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('{"age": {"high": ["old", "aged"], "low": ["new"]}}')
    assert read_prompts(path) == {"age": Prompts(("old", "aged"), ("new",))}


# --- Splits ---


def set_of(name: str, groups: list[str]) -> LabelledSet:
    labels = {"x": np.arange(len(groups), dtype=float)}
    return LabelledSet(name, tuple(Path(f"{name}{i}") for i in range(len(groups))), tuple(groups), labels)


def test_a_group_is_on_one_side_in_all_sets() -> None:
    rng = np.random.default_rng(0)
    tables = [set_of(name, [f"g{g}" for g in rng.integers(0, 40, 150)]) for name in "abc"]
    splits = split_tables(tables, 3, test_share=0.2)
    sides: dict[str, set[int]] = {}
    for one in tables:
        split = splits[one.name]
        rows = [split.train_I, split.validation_I, split.test_I]
        assert sorted(np.concatenate(rows)) == list(range(150))
        for side, rows_I in enumerate(rows):
            for row in rows_I:
                sides.setdefault(one.groups[row], set()).add(side)
    assert {len(on) for on in sides.values()} == {1}


def test_only_labelled_rows_are_measured_and_keep_their_side() -> None:
    one = set_of("a", [str(i) for i in range(60)])
    one.labels["x"][::2] = np.nan
    split = split_tables([one], 1, test_share=0.3)["a"]
    vectors_ND = unit_vectors(60, 8)
    found = labelled(one, "x", vectors_ND, split)
    np.testing.assert_array_equal(found.label_N, np.arange(1, 60, 2))
    np.testing.assert_array_equal(found.vectors_ND, vectors_ND[1::2])
    expected = [row for row in split.test_I if row % 2 == 1]
    np.testing.assert_array_equal(found.label_N[found.split.test_I], expected)


def test_too_few_labels_on_a_side_are_said() -> None:
    one = set_of("few", [str(i) for i in range(10)])
    with pytest.raises(InvalidInputError, match=r"few: x has 1 labels on the validation side"):
        labelled(one, "x", unit_vectors(10, 8), split_tables([one], 0, test_share=0.1)["few"])


# --- Figures ---


def known_axis(seed: int = 0) -> tuple[Labelled, ndarray]:
    """Labels that follow one direction of the space, up to a little noise."""
    rng = np.random.default_rng(seed)
    vectors_ND = unit_vectors(N, DIM, seed=seed)
    axis_D = rng.standard_normal(DIM)
    axis_D /= np.linalg.norm(axis_D)
    score_N = vectors_ND @ axis_D
    return data_of(vectors_ND, score_N + NOISE * score_N.std() * rng.standard_normal(N)), axis_D


def data_of(vectors_ND: ndarray, label_N: ndarray) -> Labelled:
    rows = np.random.default_rng(9).permutation(N)
    split = Split(np.sort(rows[:180]), np.sort(rows[180:210]), np.sort(rows[210:]))
    return Labelled("made", "x", vectors_ND, label_N, split, N)


@pytest.fixture(scope="module")
def report() -> AttributeReport:
    data, axis_D = known_axis()
    untrained = [unit_vectors(N, DIM, seed=seed) for seed in (50, 51, 52)]  # they know nothing of the labels
    text = Text(("much of it",), -axis_D[None].astype(np.float32), axis_D[None].astype(np.float32))
    return measure(data, untrained, text, {"right": axis_D}, 0)[0]


def test_one_direction_finds_a_known_axis(report: AttributeReport) -> None:
    data, axis_D = known_axis()
    line = measure(data, [], None, {}, 0)[1]
    assert report.linear.srcc > 0.97
    assert report.linear.low < report.linear.srcc < report.linear.high
    assert report.pearson > 0.97
    assert report.mean_absolute_error < 0.2 * data.label_N.std()
    assert float(line.direction_D @ axis_D) > 0.95


def test_chance_and_untrained_encoders_are_near_zero(report: AttributeReport) -> None:
    """Unrelated data has a standard deviation of 1/sqrt(90 - 1) = 0.11; these are means of 10 and 3 runs."""
    assert report.permuted is not None
    assert report.no_train is not None
    assert abs(report.permuted.mean) < 0.2
    assert abs(report.no_train.mean) < 0.25
    assert (report.permuted.runs, report.no_train.runs) == (10, 3)


def test_the_gap_is_closed_where_the_attribute_is_linear(report: AttributeReport) -> None:
    assert report.nonlinear is not None
    assert report.no_train is not None
    assert report.nonlinear.mean > 0.9
    expected = (report.linear.srcc - report.no_train.mean) / (report.nonlinear.mean - report.no_train.mean)
    assert report.gap_closed == pytest.approx(expected)
    assert replace(report, no_train=None).gap_closed is None


def test_words_and_shipped_axes_keep_their_sign(report: AttributeReport) -> None:
    """The prompts mean the opposite of the labels: no absolute value hides that."""
    assert report.text["high - low"].srcc < -0.95
    assert report.text["much of it"].srcc < -0.95
    assert report.shipped["right"].srcc > 0.95


def test_more_labels_and_more_pairs_help(report: AttributeReport) -> None:
    assert [draws.n for draws in report.few_shot] == [2, 4, 8, 16, 32, 64, 128, 210]
    assert report.few_shot[-1].mean > 0.97
    assert report.few_shot[0].mean < report.few_shot[4].mean < report.few_shot[-1].mean
    by_tail = {tail.tail: tail.curve for tail in report.extremes}
    assert list(by_tail) == [0.01, 0.05, 0.1, 0.0]
    for curve in by_tail.values():
        assert [draws.n for draws in curve] == [1, 2, 4, 8, 16]
        assert curve[0].mean < curve[-1].mean
    assert {draws.draws for draws in by_tail[0.05]} == {50}
    assert {draws.draws for draws in by_tail[0.0]} == {1}


def test_ties_limit_what_can_be_reached() -> None:
    data, _ = known_axis()
    coarse = replace(data, label_N=(data.label_N > np.median(data.label_N)).astype(float))
    report = measure(coarse, [], None, {}, 0)[0]
    assert report.values == 2
    assert report.linear.srcc <= report.tie_limited < 0.9


def test_a_curve_is_found_by_the_nonlinear_probe_alone() -> None:
    """The square of a symmetric score has no direction: linear near chance, two layers not."""
    rng = np.random.default_rng(4)
    vectors_ND = rng.standard_normal((N, 4)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    report = measure(data_of(vectors_ND, vectors_ND[:, 0].astype(float) ** 2), [], None, {}, 0)[0]
    assert abs(report.linear.srcc) < 0.35
    assert report.nonlinear is not None
    assert report.nonlinear.mean > 0.8


def test_the_same_seed_gives_the_same_report() -> None:
    data, axis_D = known_axis(3)
    first, second, other = (measure(data, [], None, {"axis": axis_D}, seed)[0] for seed in (1, 1, 2))
    assert first == second
    assert first.few_shot[:-1] != other.few_shot[:-1]


def test_the_nonlinear_probe_never_sees_the_test_labels() -> None:
    data, _ = known_axis()
    changed_N = data.label_N.copy()
    changed_N[data.split.test_I] = 1e6
    first_N, second_N = (
        nonlinear_scores(data.vectors_ND, label_N, data.split, seed=0)
        for label_N in (data.label_N, changed_N)
    )
    np.testing.assert_array_equal(first_N, second_N)


def test_transfer_and_cosines_tell_the_same_axis_from_its_opposite() -> None:
    first, _ = known_axis(0)
    same = replace(first, vectors_ND=first.vectors_ND[::-1].copy(), label_N=first.label_N[::-1].copy())
    opposite = replace(first, label_N=-first.label_N)
    sets = [first, same, opposite]
    lines = [measure(one, [], None, {}, 0)[1] for one in sets]
    matrix_AA, cosine_AA = transfer(sets, lines), cosines(lines)
    assert (matrix_AA[:2, :2] > 0.95).all()
    assert (matrix_AA[:2, 2] < -0.95).all()
    assert matrix_AA[2, 2] > 0.95
    np.testing.assert_allclose(np.diag(cosine_AA), 1, atol=1e-6)
    assert cosine_AA[0, 1] > 0.9
    assert cosine_AA[0, 2] < -0.9
