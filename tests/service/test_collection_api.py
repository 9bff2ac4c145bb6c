"""The collection as a whole over HTTP: scroll, count, facets, groups, deletion by filter, upkeep, metrics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

from indexer.ann.index import Calibration, Point
from indexer.collection.collection import Collection
from indexer.tables.recall_log import RecallLog
from indexer.where import EVERYTHING
from rerank.monitor import RecallMonitor, Sample
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import until
from tests.support.server import kallos_server

T = TypeVar("T")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    with kallos_server(tmp_path) as client:
        yield client


def search(client: httpx.Client, **body: Any) -> dict[str, Any]:  # noqa: ANN401
    response = client.post("/search", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def scroll(client: httpx.Client, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.get("/images", params={**parameters, **({"cursor": cursor} if cursor else {})}).json()
        found += page["images"]
        cursor = page["cursor"]
        if cursor is None:
            return found


def test_scrolling_gives_every_picture_once(server: httpx.Client) -> None:
    images = scroll(server, limit=7)
    assert len(images) == server.get("/images/count").json()["count"] == 20
    assert [image["id"] for image in images] == sorted({image["id"] for image in images})


def test_filters_scroll_count_and_delete_alike(server: httpx.Client) -> None:
    condition = json.dumps({"range": {"taken_at": {"gte": "1970-01-01"}}})
    dated = [image for image in scroll(server) if image["metadata"]["taken_at"]]
    assert 0 < len(dated) < 20
    assert [image["id"] for image in scroll(server, filter=condition, limit=3)] == [i["id"] for i in dated]
    assert server.get("/images/count", params={"filter": condition}).json() == {"count": len(dated)}
    assert server.delete("/images", params={"filter": condition}).json() == {"deleted": len(dated)}
    assert server.get("/images/count").json() == {"count": 20 - len(dated)}
    assert server.delete("/images").status_code == 422  # everything is not deleted by leaving something out
    wrong = server.get("/images", params={"filter": "{"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_filter")


def test_facets_count_what_passes_the_filter(server: httpx.Client) -> None:
    images = scroll(server)
    answer = search(server, query="a card", limit=1, facets=["format", "absent"])
    pngs = sum(image["metadata"]["format"] == "png" for image in images)
    expected = [{"value": "png", "count": pngs}, {"value": "jpeg", "count": len(images) - pngs}]
    assert answer["facets"] == {"format": expected, "absent": []}
    condition = {"match": {"id": [images[0]["id"], images[1]["id"]]}}
    narrowed = search(server, query="a card", filter=condition, facets=["format"])
    assert narrowed["facets"]["format"] == [{"value": "png", "count": 2}]


def test_groups_show_the_best_of_each_and_pages_repeat_none(server: httpx.Client) -> None:
    images = scroll(server)
    for number, image in enumerate(images):
        server.patch(f"/images/{image['id']}", json={"metadata": {"album": f"album {number % 4}"}})
    everything = search(server, query="a red card", limit=100)["hits"]
    best: dict[str, int] = {}
    for hit in everything:
        best.setdefault(hit["metadata"]["album"], hit["id"])
    first = search(server, query="a red card", limit=3, group_by="album")
    second = search(server, query="a red card", limit=3, group_by="album", cursor=first["cursor"])
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == list(best.values())
    assert second["cursor"] is None


def test_a_chosen_picture_that_is_deleted_between_two_pages_is_passed_over(server: httpx.Client) -> None:
    ids = [image["id"] for image in scroll(server)[:6]]
    everything = server.post("/rank?axis=aesthetics", json={"ids": ids}).json()["hits"]
    first = server.post("/rank?axis=aesthetics", json={"ids": ids, "limit": 2}).json()
    server.delete(f"/images/{everything[3]['id']}")
    rest = server.post("/rank?axis=aesthetics", json={"ids": ids, "cursor": first["cursor"]}).json()
    assert [hit["id"] for hit in rest["hits"]] == [everything[n]["id"] for n in (2, 4, 5)]
    assert server.post("/rank?axis=aesthetics", json={"ids": ids}).status_code == 404


@pytest.mark.parametrize("path", ["/search?query=a red card", "/rank?axis=aesthetics"])
def test_a_picture_that_is_edited_between_two_pages_is_shown_once(server: httpx.Client, path: str) -> None:
    path, _, text = path.partition("?query=")
    body: dict[str, Any] = {"query": text} if text else {}
    everything = [hit["id"] for hit in server.post(path, json={**body, "limit": 100}).json()["hits"]]
    first = server.post(path, json={**body, "limit": 5}).json()
    for place in (4, 7, 12):
        changed = server.patch(f"/images/{everything[place]}", json={"metadata": {"caption": "new"}})
        assert changed.status_code == 200
    rest = server.post(path, json={**body, "limit": 100, "cursor": first["cursor"]}).json()
    assert [hit["id"] for hit in first["hits"] + rest["hits"]] == everything


def test_a_threshold_cuts_the_list(server: httpx.Client) -> None:
    everything = search(server, query="a red card", limit=100)["hits"]
    middle = everything[9]["score"]
    kept = search(server, query="a red card", limit=100, min_score=middle)["hits"]
    assert [hit["id"] for hit in kept] == [hit["id"] for hit in everything if hit["score"] >= middle]


def test_the_server_compacts_when_asked(server: httpx.Client) -> None:
    response = server.post("/jobs/compact")
    assert response.status_code == 202
    job = until(
        lambda: server.get(response.headers["Location"]).json(), lambda it: it["state"] == "succeeded"
    )
    assert job["result"]["family"] == "exact"


def test_metrics_count_requests_by_route_and_describe_the_collection(server: httpx.Client) -> None:
    search(server, query="a card")
    server.get("/images/1")
    text = server.get("/metrics").text
    assert 'kallos_requests_total{method="POST",route="/search",status="200"} 1.0' in text
    assert 'route="/images/{image_id}"' in text
    assert re.search(r"^kallos_images 20\.0$", text, re.MULTILINE)
    assert "kallos_recall_alert 0.0" in text


def test_live_recall_is_measured_against_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not against what the index itself finds: true answers have recall 1, and the index's own have less."""
    collection = Collection.open(tmp_path, model_id="m", dim=64, exact_rows=0)
    vectors_ND = np.random.default_rng(0).standard_normal((6000, 64)).astype(np.float32)
    collection.add([new_image(i) for i in range(6000)], vectors_ND)
    build(collection, "ivf_sq8")
    # On a busy machine a calibration may find that the best point is the fastest.
    monkeypatch.setattr(Calibration, "cheapest", lambda _, recall, k: Point(k, 4, k, recall, 1.0))
    log, snapshot = RecallLog(collection.database, "default"), collection.snapshot()
    monitor = RecallMonitor(log, share=1.0)
    stored_ND, found = vectors_ND.astype(np.float16).astype(np.float32), 0
    for query_D in np.random.default_rng(1).standard_normal((6, 64)).astype(np.float32):
        truth_K = np.argsort(-(stored_ND @ query_D), kind="stable")[:10] + 1  # ids
        found += len(np.intersect1d(snapshot.nearest(query_D, 10, recall=0.25).ids_K, truth_K))
        monitor.offer(Sample(snapshot, query_D, EVERYTHING, 0.25, truth_K))
    estimate = until(log.estimate, lambda it: it is not None and it.samples == 6)
    monitor.close()
    assert found < 60, "the index must miss some, or this shows nothing"
    assert estimate is not None
    assert (estimate.recall, estimate.wanted) == (1.0, 0.25)


def test_live_searches_are_measured(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="m", dim=16, exact_rows=0)
    vectors_ND = unit_vectors(3000, 16)
    collection.add([new_image(i) for i in range(3000)], vectors_ND)
    build(collection, "ivf_sq8")
    log = RecallLog(collection.database, "default")
    assert log.estimate() is None
    monitor = RecallMonitor(log, share=1.0)
    snapshot = collection.snapshot()
    found = [snapshot.nearest(query_D, 10, recall=0.9) for query_D in vectors_ND[:4]]
    for query_D, matches in zip(vectors_ND, found, strict=False):
        assert matches.mode == "top_k"
        monitor.offer(Sample(snapshot, query_D, EVERYTHING, 0.9, matches.ids_K))
    # An answer that is half wrong must be seen as one.
    wrong = np.concatenate([found[3].ids_K[:5], np.arange(2901, 2906)])
    monitor.offer(Sample(snapshot, vectors_ND[3], EVERYTHING, 0.9, wrong))
    estimate = until(log.estimate, lambda it: it is not None and it.samples == 5)
    monitor.close()
    assert estimate is not None
    assert estimate.low <= estimate.recall <= estimate.high
    assert 0.6 <= estimate.recall <= 0.91  # (4 x about 1 + 0.5) / 5
    assert estimate.wanted == pytest.approx(0.9)
