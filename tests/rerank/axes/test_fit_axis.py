"""Axes as resources: what they are fitted on, what they say of themselves, and what is refused."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float32
from numpy import ndarray
from scipy import stats

from indexer.collection.collection import Collection
from indexer.encoders.tensor_files import read_safetensors, write_safetensors
from indexer.errors import (
    InvalidAxisError,
    InvalidInputError,
    KallosError,
    ModelMismatchError,
    NotFoundError,
    UnknownAxisError,
)
from indexer.tables.axes import Axis, AxisStore, content_key
from rerank.axes.evaluate import evaluate
from rerank.axes.examples import Label, OrderedPair
from rerank.axes.file import KEY, export_axis, import_axis
from rerank.axes.fit_axis import (
    FromExtremes,
    FromField,
    FromHead,
    FromLabels,
    FromPairs,
    FromPrompts,
    TrainingSignal,
    fit_axis,
)
from rerank.axes.heads import Head, Layer
from rerank.axes.pairwise import fit_pairs
from rerank.axes.ridge import Ridge, fit_left_out, unit_rows
from rerank.engine import Engine
from rerank.types import RankQuery, SearchQuery, VectorPart
from tests.support.encoder import DIM, ColourEncoder
from tests.support.engine import open_engine
from tests.support.labels import labelled
from tests.support.pictures import new_image

N = 240


@dataclass(frozen=True)
class Stand:
    collection: Collection
    axes: AxisStore
    engine: Engine
    stored_ND: Float32[ndarray, "n d"]
    label_N: ndarray
    ids: list[int]

    def teach(self, signal: TrainingSignal, name: str = "warmth") -> Axis:
        return fit_axis(name, signal, self.collection, ColourEncoder())

    def labels(self, n: int, *, seed: int = 0) -> tuple[Label, ...]:
        rows = np.random.default_rng(seed).permutation(N)[:n]
        return tuple(Label(self.ids[i], float(self.label_N[i])) for i in rows)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    """Pictures whose label follows a hidden direction, with noise."""
    collection = Collection.open(tmp_path_factory.mktemp("teach"), model_id="colours-1", dim=DIM)
    vectors_ND, label_N = labelled(N, DIM, seed=3, noise=0.3)
    images = [new_image(i, **({"price": i} if i % 2 else {})) for i in range(N)]
    ids = [int(i) for i in collection.add(images, vectors_ND)]
    axes = AxisStore(collection.database, "default")
    engine = open_engine(collection, axes)
    return Stand(collection, axes, engine, vectors_ND.astype(np.float16).astype(np.float32), label_N, ids)


# --- Fitting ---


def test_few_labels_are_all_used_and_cross_validated(stand: Stand) -> None:
    labels = stand.labels(40)
    axis = stand.teach(FromLabels(labels))
    rows = np.sort([stand.ids.index(label.id) for label in labels])
    std_D = unit_rows(stand.stored_ND).std(axis=0)
    line = fit_left_out(stand.stored_ND[rows], stand.label_N[rows], std_D=std_D)
    assert axis.direction_D == pytest.approx(line.direction_D, abs=1e-5)
    assert (axis.gain, axis.bias) == pytest.approx((line.gain, line.bias))
    figures = axis.figures
    assert figures is not None
    assert (figures.n_train, figures.n_held_out) == (40, 40)
    score_N = stand.stored_ND @ line.direction_D
    expected = stats.spearmanr(score_N[rows], stand.label_N[rows])[0]
    assert figures.training == pytest.approx(expected)
    assert figures.held_out is not None
    assert figures.training is not None
    assert 0.3 < figures.held_out < figures.training
    assert axis.trust == "measured"
    assert f"{figures.held_out:.2f}" in axis.card
    assert axis.standard is not None
    assert (axis.standard.mean, axis.standard.std) == pytest.approx((score_N.mean(), score_N.std()), rel=1e-4)


def test_many_labels_are_split_and_the_test_side_is_never_seen(stand: Stand) -> None:
    labels = stand.labels(N)
    axis = stand.teach(FromLabels(labels))
    assert axis.figures is not None
    assert axis.used_U is not None
    assert (axis.figures.n_train, axis.figures.n_held_out) == (216, 24)
    used = set(axis.used_U.tolist())
    rows = stand.collection.snapshot().rows(stand.ids)
    held = np.array([n for n, row in enumerate(rows) if content_key(row.sha256) not in used])
    assert len(held) == 24
    assert axis.direction_D is not None
    expected = stats.spearmanr(stand.stored_ND[held] @ axis.direction_D, stand.label_N[held])[0]
    assert axis.figures.held_out == pytest.approx(expected)
    nonsense = [
        replace(label, value=-label.value) if stand.ids.index(label.id) in held else label for label in labels
    ]
    again = stand.teach(FromLabels(tuple(nonsense)))
    assert again.direction_D == pytest.approx(axis.direction_D, abs=1e-6)
    assert again.figures is not None
    assert again.figures.held_out == pytest.approx(-expected)
    assert again.trust == "weak"
    fit_rows = np.setdiff1d(np.arange(N), held)
    assert isinstance(axis.inputs["penalty"], float)
    line = Ridge.of(stand.stored_ND[fit_rows], stand.label_N[fit_rows]).line(axis.inputs["penalty"])
    assert axis.direction_D == pytest.approx(line.direction_D, abs=1e-5)


def test_labels_without_meaning_make_a_weak_axis_that_says_so(stand: Stand) -> None:
    noise_N = np.random.default_rng(8).standard_normal(60)
    axis = stand.teach(FromLabels(tuple(Label(stand.ids[i], float(noise_N[i])) for i in range(60))))
    assert axis.figures is not None
    assert axis.figures.low is not None
    assert axis.figures.low <= 0
    assert axis.trust == "weak"
    assert "Weak: the interval includes 0" in axis.card


def test_groups_are_not_torn_apart(stand: Stand) -> None:
    """Each group has one label and, but for noise, one look: a split within groups would look perfect."""
    rng = np.random.default_rng(2)
    labels = tuple(
        Label(stand.ids[i], float(value), f"g{i % 20}")
        for i, value in enumerate(np.resize(rng.standard_normal(20), N))
    )
    axis = stand.teach(FromLabels(labels))
    assert axis.inputs["groups"] == 20
    assert axis.used_U is not None
    used, rows = set(axis.used_U.tolist()), stand.collection.snapshot().rows(stand.ids)
    sides = {(label.group, content_key(row.sha256) in used) for label, row in zip(labels, rows, strict=True)}
    assert len(sides) == 20


def test_copies_of_a_picture_are_on_one_side_whatever_their_groups(tmp_path: Path) -> None:
    vectors_ND, label_N = labelled(120, DIM)
    collection = Collection.open(tmp_path, model_id="colours-1", dim=DIM)
    copies = [replace(new_image(n), sha256=new_image(n // 2).sha256) for n in range(120)]
    ids = collection.add(copies, vectors_ND)
    labels = tuple(Label(i, float(y), f"g{n}") for n, (i, y) in enumerate(zip(ids, label_N, strict=True)))
    axis = fit_axis("copied", FromLabels(labels), collection, ColourEncoder())
    assert axis.figures is not None
    assert axis.used_U is not None
    assert axis.figures.n_train + axis.figures.n_held_out == 120
    assert axis.figures.n_train == 2 * len(axis.used_U)  # both copies of each


def test_two_labels_are_enough_to_teach_and_too_few_to_measure(stand: Stand) -> None:
    axis = stand.teach(FromLabels(stand.labels(2)))
    assert axis.trust == "taught"
    assert "Too few examples to measure" in axis.card


def test_pairs_teach_an_order(stand: Stand) -> None:
    rng = np.random.default_rng(4)
    pairs = []
    for _ in range(120):
        a, b = sorted(rng.choice(60, 2, replace=False), key=lambda i: -stand.label_N[i])
        pairs.append(OrderedPair(stand.ids[a], stand.ids[b]))
    axis = stand.teach(FromPairs(tuple(pairs)))
    assert axis.direction_D is not None
    assert axis.figures is not None
    assert stats.spearmanr(stand.stored_ND @ axis.direction_D, stand.label_N)[0] > 0.7
    assert isinstance(axis.inputs["penalty"], float)
    more, less = (
        [stand.ids.index(i) for i in side] for side in zip(*((p.more, p.less) for p in pairs), strict=True)
    )
    difference_PD = stand.stored_ND[more] - stand.stored_ND[less]
    line = fit_pairs(stand.stored_ND[more], stand.stored_ND[less], penalty=axis.inputs["penalty"])
    assert axis.direction_D == pytest.approx(line.direction_D, abs=1e-4)
    assert axis.figures.training == pytest.approx(2 * np.mean(difference_PD @ line.direction_D > 0) - 1)
    assert axis.trust == "measured"
    assert "occur in other pairs too" in axis.card
    apart = [OrderedPair(stand.ids[2 * i], stand.ids[2 * i + 1]) for i in range(20)]
    assert "occur in other pairs too" not in stand.teach(FromPairs(tuple(apart))).card


def test_a_cycle_of_pairs_is_data(stand: Stand) -> None:
    a, b, c, d = stand.ids[:4]
    cycle = [OrderedPair(a, b), OrderedPair(b, c), OrderedPair(c, a)]
    axis = stand.teach(FromPairs((*cycle, OrderedPair(d, a))))
    assert axis.direction_D is not None
    assert stand.stored_ND[3] @ axis.direction_D > stand.stored_ND[0] @ axis.direction_D
    with pytest.raises(InvalidAxisError, match="cancel each other"):
        stand.teach(FromPairs(tuple(cycle)))


def test_extremes_are_told_apart_but_the_middle_is_not_measured(stand: Stand) -> None:
    order = np.argsort(stand.label_N)
    high, low = ([stand.ids[i] for i in end] for end in (order[-5:], order[:5]))
    axis = stand.teach(FromExtremes(tuple(high), tuple(low)))
    difference_D = stand.stored_ND[order[-5:]].mean(axis=0) - stand.stored_ND[order[:5]].mean(axis=0)
    assert axis.direction_D == pytest.approx(difference_D / np.linalg.norm(difference_D), abs=1e-5)
    assert axis.figures is not None
    assert axis.figures.n_held_out == 10
    assert axis.figures.maximum == pytest.approx(np.sqrt(1 - 2 * (5**3 - 5) / (10**3 - 10)))
    assert axis.trust == "taught"
    one = stand.teach(FromExtremes((high[0],), (low[0],)))
    assert one.trust == "taught"
    assert "Too few examples" in one.card


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_order_of_examples_changes_nothing(stand: Stand, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(30)
    labels = stand.labels(30)
    pairs = [OrderedPair(a.id, b.id) for a, b in zip(labels[:15], labels[15:], strict=True)]
    moved = [pairs[i] for i in order if i < 15]
    one, other = (stand.teach(FromLabels(given)) for given in (labels, tuple(labels[i] for i in order)))
    assert np.array_equal(one.direction_D, other.direction_D)  # type: ignore[arg-type]
    assert (one.figures, one.inputs, one.card) == (other.figures, other.inputs, other.card)
    one, other = (stand.teach(FromPairs(tuple(given))) for given in (pairs, moved))
    assert np.array_equal(one.direction_D, other.direction_D)  # type: ignore[arg-type]


# --- Storing, evaluating ---


def test_everything_about_an_axis_is_stored_and_versions_stay(stand: Stand) -> None:
    taught = stand.teach(FromLabels(stand.labels(40)), "kept")
    first = stand.axes.put(taught)
    second = stand.axes.put(stand.teach(FromLabels(stand.labels(30, seed=1)), "kept"))
    assert (first.version, second.version) == (1, 2)
    found = stand.axes.get("kept@1")
    assert np.array_equal(found.direction_D, taught.direction_D)  # type: ignore[arg-type]
    same = replace(found, direction_D=None, created_at=0.0, version=0)
    assert same == replace(taught, direction_D=None, used_U=None)
    assert stand.axes.used(found).tolist() == taught.used_U.tolist()  # type: ignore[union-attr]
    assert [axis.version for axis in stand.axes.versions("kept")] == [1, 2]
    assert [axis.version for axis in stand.axes.list() if axis.name == "kept"] == [2]
    top = stand.engine.rank(RankQuery({"kept@1": 1.0}, limit=3)).hits
    assert taught.direction_D is not None
    assert top[0].image.id == stand.ids[int(np.argmax(stand.stored_ND @ taught.direction_D))]
    both = stand.engine.search(SearchQuery(axes={"kept@1": 1.0, "kept": -1.0}, limit=3))
    assert set(both.hits[0].contributions) == {"kept@1", "kept"}
    assert both.hits[0].score == pytest.approx(sum(both.hits[0].contributions.values()), abs=1e-5)
    stand.axes.delete("kept@2")
    assert stand.axes.get("kept").version == 1
    with pytest.raises(UnknownAxisError, match=r"no axis named 'kept@2'; there are: .*kept"):
        stand.axes.get("kept@2")
    stand.axes.delete("kept")
    for name in ("kept", "kept@1", "kept@", "kept@x"):
        with pytest.raises(UnknownAxisError):
            stand.axes.get(name)


def test_evaluation_leaves_out_what_the_axis_was_fitted_on(stand: Stand) -> None:
    known, everything = stand.labels(60), stand.labels(N)
    axis = stand.axes.put(stand.teach(FromLabels(known), "judged"))
    found = evaluate(axis, stand.axes, everything, stand.collection, ColourEncoder())
    assert (found.n, found.left_out, found.without_value) == (N - 60, 60, 0)
    seen = {label.id for label in known}
    rows = np.array([i for i in range(N) if stand.ids[i] not in seen])
    assert axis.direction_D is not None
    score_N = stand.stored_ND[rows] @ axis.direction_D
    assert found.spearman == pytest.approx(stats.spearmanr(score_N, stand.label_N[rows])[0], abs=1e-4)
    assert found.pearson == pytest.approx(stats.pearsonr(score_N, stand.label_N[rows])[0], abs=1e-4)
    assert found.spearman is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.spearman < found.high
    assert found.maximum == pytest.approx(1.0)
    with pytest.raises(InvalidAxisError, match="none of the 60 labels is left"):
        evaluate(axis, stand.axes, known, stand.collection, ColourEncoder())


def test_a_field_axis_is_evaluated_where_it_has_a_value(stand: Stand) -> None:
    axis = stand.axes.put(stand.teach(FromField("price"), "price"))
    labels = tuple(Label(stand.ids[i], -float(i)) for i in range(20))
    found = evaluate(axis, stand.axes, labels, stand.collection, ColourEncoder())
    assert (found.n, found.without_value) == (10, 10)
    assert found.spearman == pytest.approx(-1.0)


# --- Heads ---


def random_head(activation: str, dim: int = DIM) -> Head:
    rng = np.random.default_rng(1)
    shapes = [(6, dim), (1, 6)]
    layers = [
        Layer(*(rng.standard_normal(shape).astype(np.float32) for shape in ((o, i), (o,)))) for o, i in shapes
    ]
    return Head(tuple(layers), activation)  # type: ignore[arg-type]


def test_a_head_ranks_and_weighs_like_any_axis(stand: Stand) -> None:
    head = random_head("relu")
    axis = stand.axes.put(stand.teach(FromHead(head.to_tensors(), "relu"), "head"))
    assert (axis.kind, axis.trust, axis.direction_D) == ("head", "taught", None)
    value_N = head(stand.stored_ND)
    standard_N = (value_N - value_N.mean()) / value_N.std()
    ranked = stand.engine.rank(RankQuery({"head": 1.0}, limit=N)).hits
    assert [hit.image.id for hit in ranked] == [stand.ids[i] for i in np.argsort(-value_N, kind="stable")]
    assert ranked[0].score == pytest.approx(standard_N.max(), rel=1e-3)
    query_D = stand.stored_ND[7]
    query_N = stand.stored_ND @ (query_D / np.linalg.norm(query_D))
    answer = stand.engine.search(SearchQuery((VectorPart(query_D),), {"head": 2.0}, limit=5))
    total_N = query_N + 2 * query_N.std() * standard_N
    assert answer.mode == "exact"
    assert [hit.image.id for hit in answer.hits] == [stand.ids[i] for i in np.argsort(-total_N)[:5]]
    for hit in answer.hits:
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-4)


def test_a_head_without_activations_is_a_direction(stand: Stand) -> None:
    head = random_head("none")
    axis = stand.teach(FromHead(head.to_tensors(), "none"))
    assert axis.kind == "linear"
    assert axis.direction_D is not None
    assert axis.gain * (stand.stored_ND @ axis.direction_D) + axis.bias == pytest.approx(
        head(stand.stored_ND), abs=2e-3
    )
    with pytest.raises(InvalidAxisError, match="takes 7 numbers, colours-1 makes 16"):
        stand.teach(FromHead(random_head("relu", 7).to_tensors(), "relu"))


# --- Files ---


@pytest.mark.parametrize("kind", ["labels", "head", "field", "prompts"])
def test_an_axis_travels_as_one_file(stand: Stand, kind: str) -> None:
    signal: dict[str, TrainingSignal] = {
        "labels": FromLabels(stand.labels(50)),
        "head": FromHead(random_head("gelu").to_tensors(), "gelu"),
        "field": FromField("price"),
        "prompts": FromPrompts(("red",), ("blue",)),
    }
    axis = stand.axes.put(stand.teach(signal[kind], "sent"))
    data = export_axis(axis, stand.axes)
    back = import_axis(data, ColourEncoder())
    arrays = {"direction_D": None, "used_U": None}
    expected = replace(axis, standard=None, version=0, created_at=0.0, **arrays)  # type: ignore[arg-type]
    assert replace(back, **arrays) == expected  # type: ignore[arg-type]
    assert np.array_equal(back.direction_D, axis.direction_D)  # type: ignore[arg-type]
    assert back.used_U.tolist() == stand.axes.used(axis).tolist()  # type: ignore[union-attr]
    assert import_axis(data, ColourEncoder(), name="other").name == "other"


class OtherEncoder(ColourEncoder):
    model_id = "colours-2"


def test_an_axis_of_another_model_is_refused_unless_it_is_a_field(stand: Stand) -> None:
    linear = export_axis(stand.axes.put(stand.teach(FromLabels(stand.labels(9)), "sent")), stand.axes)
    with pytest.raises(ModelMismatchError, match="fitted for colours-1, this collection is of colours-2"):
        import_axis(linear, OtherEncoder())
    field = export_axis(stand.axes.put(stand.teach(FromField("price"), "sent")), stand.axes)
    assert import_axis(field, OtherEncoder()).field == "price"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: (t | {"direction": t["direction"][:5]}, d), "shape"),
        (lambda t, d: (t | {"direction": 2 * t["direction"]}, d), "length 2"),
        (lambda t, d: (t | {"direction": np.full(DIM, np.nan, np.float32)}, d), "length nan"),
        (lambda t, d: (t, d.replace('"linear"', '"cubic"')), "damaged"),
        (lambda t, d: (t, d.replace('"taught"', '"divine"')), "damaged"),
        (lambda t, d: (t, d.replace('"gain": ', '"gain": NaN, "x": ')), "damaged"),
        (lambda t, d: (t, d.replace('"sent"', '"Sent Axis"')), "cannot name an axis"),
        (lambda t, d: (t, d[:-1]), "damaged"),
        (lambda t, d: (t, "[" * 50_000), "damaged"),
        (lambda t, d: ({"used": t["used"]}, d), "damaged"),
        (lambda t, d: (t | {"used": t["direction"]}, d), "damaged"),
        (lambda t, d: (t, None), "holds no axis"),
    ],
)
def test_damaged_axis_files_are_refused(stand: Stand, change: object, message: str) -> None:
    axis = stand.axes.put(stand.teach(FromLabels(stand.labels(2)), "sent"))
    data = export_axis(axis, stand.axes)
    document = data[8 : 8 + int.from_bytes(data[:8], "little")].decode()
    text = __import__("json").loads(document)["__metadata__"][KEY]
    tensors, text = change(dict(read_safetensors(data)), text)  # type: ignore[operator]
    broken = write_safetensors(tensors, {} if text is None else {KEY: text})
    with pytest.raises(InvalidAxisError, match=message):
        import_axis(broken, ColourEncoder())
    with pytest.raises(InvalidInputError, match="not a safetensors file"):
        import_axis(data[:40], ColourEncoder())


# --- Bad lessons ---


@pytest.mark.parametrize(
    ("signal", "error", "message"),
    [
        (FromLabels((Label(1, 1.0),)), InvalidAxisError, "1 labelled pictures: an axis needs at least two"),
        (FromLabels((Label(1, 1.0), Label(2, 1.0))), InvalidAxisError, "all 2 labels are 1"),
        (FromLabels((Label(1, 1.0), Label(2, float("nan")))), InvalidAxisError, "image 2 is nan"),
        (FromLabels((Label(1, 1.0), Label(2, float("inf")))), InvalidAxisError, "image 2 is inf"),
        (FromLabels((Label(1, 1.0), Label(1, 2.0))), InvalidAxisError, "image 1 has two labels, 1 and 2"),
        (FromLabels((Label(1, 1.0), Label(999, 2.0))), NotFoundError, "no image with id 999"),
        (FromLabels(()), InvalidAxisError, "at least two"),
        (FromLabels((Label(1, 1.0),) * 50_001), InvalidAxisError, "expected at most 50000"),
        (FromPairs(()), InvalidAxisError, "at least one"),
        (FromPairs((OrderedPair(3, 3),)), InvalidAxisError, "image 3 is paired with itself"),
        (FromPairs((OrderedPair(1, 999),)), NotFoundError, "no image with id 999"),
        (FromPairs((OrderedPair(1, 2),) * 10_001), InvalidAxisError, "expected at most 10000"),
        (FromExtremes((1,), ()), InvalidAxisError, "both ends need an example"),
        (FromExtremes((1,), (1,)), InvalidAxisError, "image 1 is given for both ends"),
        (FromExtremes((1,), (999,)), NotFoundError, "no image with id 999"),
        (FromField("colour"), InvalidAxisError, "no picture of this collection has a number in 'colour'"),
        (FromPrompts(("  ",), ("low",)), InvalidAxisError, "blank"),
        (FromHead({}), InvalidAxisError, "no layers"),
    ],
)
def test_bad_lessons_are_explained(
    stand: Stand, signal: TrainingSignal, error: type[KallosError], message: str
) -> None:
    with pytest.raises(error, match=message):
        stand.teach(signal)


@pytest.mark.parametrize("name", ["", " ", "query", "Warm", "a@1", "a" * 65, "ä"])
@pytest.mark.parametrize("signal", [FromLabels((Label(1, 1.0), Label(2, 2.0))), FromField("price")])
def test_names_that_cannot_stand_everywhere_are_refused(
    stand: Stand, signal: TrainingSignal, name: str
) -> None:
    with pytest.raises(InvalidAxisError, match="name"):
        stand.teach(signal, name)


def test_a_database_of_before_is_read(tmp_path: Path, stand: Stand) -> None:
    """Axes that were stored without figures, marks and units."""
    axis = stand.axes.put(stand.teach(FromPrompts(("red",), ("blue",)), "old"))
    with stand.collection.database.write() as connection:
        connection.execute(
            "UPDATE axis SET params = ?, used = NULL WHERE name = 'old'",
            ('{"field": null, "trust": "prompt", "inputs": {}}',),
        )
    found = stand.axes.get("old")
    assert np.array_equal(found.direction_D, axis.direction_D)  # type: ignore[arg-type]
    assert (found.gain, found.bias, found.figures, found.standard) == (1.0, 0.0, None, None)
    assert stand.axes.used(found).tolist() == []
