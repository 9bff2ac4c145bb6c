"""What is asked: fixed questions, and combinations drawn from a seed.

Each scenario keeps its edits under a twentieth of its store: beyond that, statistics are taken anew.

Dimension key   D embedding
"""

import base64
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.random import Generator
from PIL import Image
from safetensors.numpy import save

from tests.golden.answers.replay import Session, Step
from tests.golden.answers.stores import COLOURS, THINGS

Body = dict[str, Any]
RECALLS = (0.8, 0.9, 0.95, 0.99, "exact")
LIMITS = (1, 5, 10, 10, 20, 50)
FIELDS = ("album", "format", "tags", "stars", "person", "camera.make", "flag")

FILTERS: tuple[Body, ...] = (
    {"match": {"format": "jpeg"}},
    {"match": {"tags": ["sea", "night"]}},
    {"match": {"flag": True}},
    {"match": {"stars": [4, 5]}},
    {"match": {"camera.make": "Leica"}},
    {"match": {"album": "album 7"}},
    {"match": {"uri": "/pictures/03/00003.jpeg"}},
    {"match": {"id": [1, 2, 3, 50, 700]}},
    {"match": {"format": "tiff"}},
    {"range": {"taken_at": {"gte": "2010-01-01", "lt": "2015-06-01"}}},
    {"range": {"added_at": {"gte": "2020-01-01"}}},
    {"range": {"price": {"gt": 20, "lte": 70.5}}},
    {"range": {"width": {"gte": 1024}}},
    {"range": {"camera.iso": {"lt": 400}}},
    {"range": {"caption": {"gte": "a g", "lt": "a r"}}},
    {"range": {"measured.brightness": {"gte": 0.98}}},
    {"exists": "caption"},
    {"exists": "latitude"},
    {"exists": "nothing"},
    {"geo_radius": {"latitude": 10, "longitude": 20, "radius_m": 3_000_000}},
    {"geo_radius": {"latitude": -75, "longitude": 179, "radius_m": 2_000_000}},
    {"geo_box": {"south": -30, "west": -20, "north": 40, "east": 90}},
    {"geo_box": {"south": -60, "west": 150, "north": 60, "east": -120}},
    {
        "must": [{"exists": "person"}, {"range": {"stars": {"gte": 2}}}],
        "must_not": [{"match": {"flag": True}}],
    },
    {"should": [{"match": {"tags": "snow"}}, {"match": {"album": ["album 1", "album 2"]}}]},
    {"must_not": [{"match": {"format": ["jpeg", "png"]}}]},
    {
        "must": [
            {"should": [{"match": {"stars": 1}}, {"match": {"stars": 5}}]},
            {"must_not": [{"exists": "price"}]},
        ]
    },
)
WRONG: tuple[tuple[str, str, Body | None], ...] = (
    ("POST", "/search", {}),
    ("POST", "/search", {"query": "  "}),
    ("POST", "/search", {"query": "boat", "limit": 0}),
    ("POST", "/search", {"query": [{"vector": [1.0, 2.0]}]}),
    ("POST", "/search", {"query": [{"id": 9_999_999}]}),
    ("POST", "/search", {"query": "boat", "axes": {"no such axis": 1}}),
    ("POST", "/search", {"query": "boat", "filter": {"match": {}}}),
    ("POST", "/search", {"query": "boat", "filter": {"near": {"a": 1}}}),
    ("POST", "/search", {"query": "boat", "cursor": "AAAA"}),
    ("POST", "/search", {"query": "boat", "colour": "red"}),
    ("POST", "/rank", {"axes": {"recency": 1}, "ids": []}),
    ("POST", "/rank", {}),
    ("POST", "/axes", {"name": "no way"}),
    ("GET", "/axes/unknown", None),
    ("GET", "/images/9999999", None),
    ("GET", "/images?limit=5000", None),
    ("PATCH", "/images/9999999", {"metadata": {"stars": 1}}),
)  # fmt: skip


class Asker:
    """Draws questions for one store."""

    def __init__(self, session: Session, dim: int, *, words: bool = True) -> None:
        self.session = session
        self.ask = session.ask
        self.rng: Generator = np.random.default_rng(dim)
        self.axes = ["recency", "sharpness", "brightness"]
        self.newest = int(session.ask("GET", "/images/count").answer["count"])
        self.dim = dim
        self._words = words

    def text(self) -> str:
        return f"a {self.rng.choice(COLOURS)} {self.rng.choice(THINGS)}"

    def an_id(self) -> int:
        """Of one that is there."""
        while True:
            image_id = int(self.rng.integers(1, self.newest + 1))
            if self.session.has(image_id):
                return image_id

    def part(self) -> Body:
        kinds = ("vector", "id", "text") if self._words else ("vector", "id")
        match self.rng.choice(kinds):
            case "vector":
                vector_D = self.rng.standard_normal(self.dim).astype("<f4")
                return {"vector": base64.b64encode(vector_D.tobytes()).decode()}
            case "id":
                return {"id": self.an_id()}
            case _:
                return {"text": self.text()}

    def query(self) -> Any:  # noqa: ANN401 - JSON
        if self._words and self.rng.random() < 0.3:
            return self.text()
        parts = [self.part() for _ in range(int(self.rng.integers(1, 4)))]
        for part in parts[1:]:
            part["weight"] = round(float(self.rng.choice([-0.5, 0.3, 0.7])), 2)
        return parts

    def filter(self) -> Body:
        return FILTERS[int(self.rng.integers(len(FILTERS)))]

    def weights(self) -> Body:
        chosen = self.rng.choice(self.axes, size=int(self.rng.integers(1, 4)), replace=False)
        return {str(axis): round(float(self.rng.uniform(-1.5, 2)), 2) for axis in chosen}

    def band(self) -> Body:
        low = int(self.rng.integers(0, 80))
        return {str(self.rng.choice(self.axes)): [low, int(self.rng.integers(low + 10, 101))]}

    def maybe(self, share: float, name: str, make: Callable[[], Any]) -> Body:
        return {name: make()} if self.rng.random() < share else {}

    def one_of(self, *values: Any) -> Any:  # noqa: ANN401 - JSON
        return values[int(self.rng.integers(len(values)))]

    def search(self) -> Body:
        """Any of the ways to search, together."""
        body: Body = {"limit": self.one_of(*LIMITS)}
        body |= self.maybe(0.85, "query", self.query) or {"axes": self.weights()}
        body |= self.maybe(0.3, "filter", self.filter)
        body |= self.maybe(0.3, "axes", self.weights)
        body |= self.maybe(0.15, "percentiles", self.band)
        body |= self.maybe(0.4, "recall", lambda: self.one_of(*RECALLS))
        body |= self.maybe(0.1, "min_score", lambda: 0.1)
        body |= self.maybe(0.15, "facets", lambda: [self.one_of(*FIELDS), self.one_of(*FIELDS)])
        body |= self.maybe(0.12, "group_by", lambda: self.one_of(*FIELDS))
        body |= self.maybe(0.1, "pool", lambda: self.one_of(20, 50, 300))
        body |= self.maybe(0.15, "rerank", self._rerank)
        body |= self.maybe(0.15, "deduplicate", lambda: self.one_of(True, {"cosine": 0.9, "bits": 4}))
        return body | self.maybe(0.15, "diversify", self._diversify)

    def rank(self) -> tuple[str, Body]:
        """Any of the ways to rank: the path, and the body."""
        body: Body = {"limit": self.one_of(*LIMITS), "order": self.one_of("asc", "desc")}
        body |= self.maybe(0.4, "axes", self.weights)
        body |= self.maybe(0.3, "filter", self.filter)
        body |= self.maybe(0.2, "percentiles", self.band)
        if self.rng.random() < 0.35:
            body |= {"query": self.query(), "candidates": self.one_of(10, 200, 1000)}
        elif self.rng.random() < 0.3:
            body["ids"] = [self.an_id() for _ in range(15)]
        return f"/rank?axis={self.rng.choice(self.axes)}", body

    def _rerank(self) -> Body:
        return self.one_of({"axis": "sharpness"}, {"axis": "recency", "weight": 0.4})

    def _diversify(self) -> Body:
        by_fields = {"trade": 0.3, "fields": {"album": 1.0, "person": 0.5}}
        return self.one_of({"method": "mmr", "trade": 0.5}, {"method": "vendi", "trade": 0.6}, by_fields)

    def pages(
        self, path: str, body: Body, count: int, between: Callable[[list[int]], None] | None = None
    ) -> None:
        """`count` pages, or as many as there are; `between` two of them it is called with what was shown."""
        step, shown = self.ask("POST", path, body), []
        for _ in range(count - 1):
            if step.status != 200 or not step.answer["cursor"]:
                return
            shown += [hit["id"] for hit in step.answer["hits"]]
            if between is not None:
                between(shown)
            step = self.ask("POST", path, body, cursor_of=step.number)

    def scroll(self, query: str, count: int) -> None:
        step = self.ask("GET", f"/images?{query}")
        for _ in range(count - 1):
            step = self.ask("GET", f"/images?{query}", cursor_of=step.number)

    def edit(self, shown: list[int]) -> None:
        """What was shown, and what may be shown yet; one comes and one goes."""
        self.ask("PATCH", f"/images/{shown[-1]}", {"metadata": {"stars": 3, "caption": "seen"}})
        self.ask("PATCH", f"/images/{self.an_id()}", {"metadata": {"album": "album 7", "person": None}})
        self.ask("DELETE", f"/images/{self.an_id()}")
        self.add()

    def add(self) -> Step:
        colours = self.rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(colours).resize((32, 32), Image.Resampling.NEAREST).save(out, "PNG")
        picture = {"data": base64.b64encode(out.getvalue()).decode(), "metadata": {"album": "album new"}}
        return self.ask("POST", "/images", {"images": [picture]})

    def ids(self, most: int) -> list[int]:
        return list(dict.fromkeys(self.an_id() for _ in range(most)))

    def labels(self, most: int) -> list[Body]:
        return [
            {"id": image_id, "value": int(self.rng.integers(1, 6)), "group": f"group {at % 5}"}
            for at, image_id in enumerate(self.ids(most))
        ]


def _teach(asker: Asker) -> None:
    """Axes of every kind; each is used by what follows."""
    rng = asker.rng
    ids = asker.ids(70)
    ways: dict[str, Any] = {
        "prompts": {"high": ["a red boat", "a red bird"], "low": ["a blue house"]},
        "extremes": {"high": ids[:6], "low": ids[6:12]},
        "pairs": [{"more": more, "less": less} for more, less in zip(ids[:30], ids[30:60], strict=True)],
        "labels": asker.labels(60),
        "field": "stars",
        "head": {"data": _head(asker.dim, rng), "activation": "relu"},
    }
    for way, lesson in ways.items():
        made = asker.ask("POST", "/axes", {"name": f"by-{way}", way: lesson})
        if made.status == 201:
            asker.axes.append(f"by-{way}")
    asker.ask("POST", "/axes", {"name": "by-price", "field": "price"})
    asker.ask("POST", "/axes", {"name": "by-price", "field": "camera.iso"})
    asker.axes.append("by-price")
    for axis in asker.axes:
        asker.ask("POST", f"/axes/{axis}/evaluate", {"labels": asker.labels(25)})
        asker.ask("GET", f"/axes/{axis}/distribution?bars=12")
        asker.ask("GET", f"/axes/{axis}")
    asker.ask("GET", "/axes")


def _head(dim: int, rng: Generator) -> str:
    tensors = {
        "layers.0.weight": rng.standard_normal((8, dim)).astype(np.float32),
        "layers.0.bias": rng.standard_normal(8).astype(np.float32),
        "layers.1.weight": rng.standard_normal((1, 8)).astype(np.float32),
        "layers.1.bias": rng.standard_normal(1).astype(np.float32),
    }
    return base64.b64encode(save(tensors)).decode()


def _filtered(asker: Asker) -> None:
    for number, condition in enumerate(FILTERS):
        asker.ask("POST", "/search", {"query": [asker.part()], "filter": condition, "facets": ["stars"]})
        asker.ask("GET", f"/images/count?filter={quote(json.dumps(condition))}")
        if number % 3 == 0:
            asker.ask("POST", "/rank?axis=recency", {"filter": condition, "limit": 5})


def _paged(asker: Asker, count: int, limit: int) -> None:
    """Pages of every kind of list, with edits between them and without."""
    lists: list[tuple[str, Body]] = [
        ("/search", {"query": [asker.part()]}),
        ("/search", {"query": [asker.part()], "axes": asker.weights(), "recall": "exact"}),
        ("/search", {"query": [asker.part()], "filter": FILTERS[2], "group_by": "album"}),
        ("/search", {"query": [asker.part()], "deduplicate": True, "pool": 80}),
        ("/search", {"query": [asker.part()], "diversify": {"method": "mmr"}, "pool": 60}),
        ("/search", {"query": [asker.part()], "rerank": {"axis": "sharpness"}, "pool": 60}),
        ("/rank?axis=recency", {}),
        ("/rank?axis=by-field", {"order": "asc"}),
        ("/rank?axis=sharpness", {"query": [asker.part()], "candidates": 100}),
    ]
    for at, (path, body) in enumerate(lists):
        asker.pages(path, body | {"limit": limit}, count, asker.edit if at % 2 else None)


def plain(session: Session, dim: int) -> None:
    asker = Asker(session, dim)
    _teach(asker)
    for method, path, body in WRONG:
        asker.ask(method, path, body)
    _filtered(asker)
    for _ in range(90):
        asker.ask("POST", "/search", asker.search())
    for _ in range(45):
        asker.ask("POST", *asker.rank())
    _paged(asker, 4, 12)
    asker.scroll("limit=30", 3)
    asker.scroll(f"limit=20&filter={quote(json.dumps(FILTERS[4]))}", 3)
    asker.ask("GET", "/health/ready")


def indexed(session: Session, dim: int) -> None:
    """Few pass most filters, and are scanned: the index is asked without a filter, and under wide ones."""
    asker = Asker(session, dim)
    asker.ask("POST", "/axes", {"name": "by-field", "field": "stars"})
    wide = {"must_not": [{"match": {"album": ["album 1", "album 2"]}}]}
    for recall in RECALLS:
        for limit in (1, 10, 40):
            asker.ask("POST", "/search", {"query": [asker.part()], "recall": recall, "limit": limit})
            asker.ask("POST", "/search", {"query": asker.query(), "recall": recall, "filter": wide})
    for _ in range(30):
        asker.ask("POST", "/search", asker.search())
    for _ in range(8):
        asker.ask("POST", *asker.rank())
    _paged(asker, 3, 15)
    asker.ask("GET", "/axes/by-field/distribution")
    asker.scroll("limit=50", 2)
    asker.ask("GET", "/health/ready")


def first_schema(session: Session, dim: int) -> None:
    """Few pictures: one edit more than these would have statistics taken anew."""
    asker = Asker(session, dim)
    asker.axes = ["recency", "aesthetics"]
    asker.scroll("limit=15", 3)
    for image_id in (1, 8, 40):
        asker.ask("GET", f"/images/{image_id}")
    for condition in ({"range": {"n": {"gte": 20}}}, {"match": {"n": [1, 3]}}, {"exists": "n"}):
        asker.ask("POST", "/search", {"query": [asker.part()], "filter": condition, "limit": 38})
        asker.ask("POST", "/rank?axis=recency", {"filter": condition})
    asker.pages("/search", {"query": [asker.part()], "limit": 10}, 4)
    asker.pages("/rank?axis=recency", {"limit": 15}, 3)
    for _ in range(6):
        asker.ask("POST", "/search", {"query": asker.query(), "axes": {"recency": 0.5}})
    asker.ask("GET", "/axes")
    asker.ask("GET", "/axes/recency/distribution?bars=5")
    asker.ask("PATCH", "/images/8", {"metadata": {"caption": "edited"}})
    asker.ask("GET", "/images/8")


SCENARIOS: dict[str, Callable[[Session, int], None]] = {
    "plain": plain,
    "ivf": indexed,
    "hnsw": indexed,
    "v1": first_schema,
}
