"""POST /search, POST /rank and /axes over HTTP."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from indexer.encoders.builtin import BuiltinEncoder
from tests.support.files import encoded
from tests.support.server import COLOURS

ALL = 20


def post(client: httpx.Client, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def names(answer: dict[str, Any]) -> list[str]:
    return [hit["uri"].rpartition("/")[2] for hit in answer["hits"]]


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["detail"]
    assert "Traceback" not in response.text
    return body


@pytest.mark.slow
def test_the_answer_is_what_numpy_finds(client: httpx.Client) -> None:
    everything = post(client, "/rank?axis=aesthetics", {"limit": 100})
    encoder = BuiltinEncoder(threads=1)
    query_D = encoder.encode_texts(["a red card"])[0]
    stored = {}
    for hit in everything["hits"]:
        data = client.get(f"/images/{hit['id']}/content").content
        answer = post(client, "/search", {"query": [{"image": base64.b64encode(data).decode()}], "limit": 1})
        assert answer["hits"][0]["score"] == pytest.approx(1.0, abs=2e-3)
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        stored[hit["id"]] = float(encoder.encode_images([pixels])[0] @ query_D)
    answer = post(client, "/search", {"query": "a red card", "mode": "vectors", "limit": ALL})
    assert answer["candidates"] == {"mode": "exact", "n": ALL}
    for hit in answer["hits"]:
        assert hit["score"] == pytest.approx(stored[hit["id"]], abs=2e-3)
        assert hit["contributions"] == {"query": pytest.approx(hit["score"], abs=1e-5)}
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_a_vector_in_base64_is_the_vector_as_a_list(client: httpx.Client) -> None:
    vector_D = np.random.default_rng(3).standard_normal(640).astype("<f4")
    listed = post(client, "/search", {"query": [{"vector": vector_D.tolist()}], "limit": ALL})
    packed = base64.b64encode(vector_D.tobytes()).decode()
    answer = post(client, "/search", {"query": [{"vector": packed}], "limit": ALL})
    assert len(answer["hits"]) == ALL
    assert answer["hits"] == listed["hits"]


def test_a_picture_finds_itself_and_its_id_finds_its_neighbours(client: httpx.Client) -> None:
    red = base64.b64encode(encoded(Image.new("RGB", (120, 90), COLOURS["red"]))).decode()
    answer = post(client, "/search", {"query": [{"image": red}], "limit": 3})
    assert names(answer)[0] == "red.png"
    its_id = answer["hits"][0]["id"]
    around = post(client, "/search", {"query": [{"id": its_id}], "limit": 3})
    assert names(around)[:2] == names(answer)[1:]  # the picture itself is left out


def test_contributions_sum_to_the_score(client: httpx.Client) -> None:
    body = {
        "query": [{"text": "a red card"}, {"text": "a blue card", "weight": -0.5}],
        "axes": {"aesthetics": 1.5, "recency": -0.5, "age": 0.3},
        "limit": ALL,
    }
    for hit in post(client, "/search", body)["hits"]:
        assert set(hit["contributions"]) == {"query", "words", "aesthetics", "recency", "age"}
        assert sum(hit["contributions"].values()) == pytest.approx(hit["score"], abs=1e-4)


def test_an_answer_says_where_a_match_becomes_unlikely(client: httpx.Client) -> None:
    body = {"query": "a red card", "match_threshold": 0.25}
    assert post(client, "/search", body)["match"]["threshold"] == 0.25
    default = post(client, "/search", {"query": "a red card"})["match"]["threshold"]
    assert default == post(client, "/rank", {"axes": {"aesthetics": 1}})["match"]["threshold"] == 0.1


def test_pages_follow_each_other_without_gaps(client: httpx.Client) -> None:
    whole = names(post(client, "/search", {"query": "squares", "limit": ALL}))
    pages: list[str] = []
    cursor = None
    while True:
        answer = post(client, "/search", {"query": "squares", "limit": 7, "cursor": cursor})
        pages += names(answer)
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert pages == whole


def test_a_cursor_belongs_to_its_request(client: httpx.Client) -> None:
    cursor = post(client, "/search", {"query": "squares", "limit": 2})["cursor"]
    problem(
        client.post("/search", json={"query": "other", "limit": 2, "cursor": cursor}), 422, "invalid_cursor"
    )
    problem(client.post("/search", json={"query": "squares", "cursor": "AAAA"}), 422, "invalid_cursor")


def test_filters_narrow_search_and_rank(client: httpx.Client) -> None:
    since = {"must": [{"range": {"taken_at": {"gte": "2003-01-01"}}}]}
    for answer in (
        post(client, "/search", {"query": "a card", "filter": since}),
        post(client, "/rank?axis=aesthetics", {"filter": since}),
    ):
        assert sorted(names(answer)) == ["black.png", "blue.png"]
        assert answer["candidates"] == {"mode": "exact", "n": 2}


def test_recency_follows_the_dates_and_undated_pictures_come_last(client: httpx.Client) -> None:
    dated = ["black.png", "blue.png", "green.png", "red.png"]
    down = post(client, "/rank?axis=recency", {"limit": ALL})
    assert names(down)[:4] == dated
    assert all(hit["score"] is None for hit in down["hits"][4:])
    up = post(client, "/rank?axis=recency", {"limit": ALL, "order": "asc"})
    assert names(up)[:4] == dated[::-1]
    assert all(hit["score"] is None for hit in up["hits"][4:])


def test_rank_needs_no_body_and_says_what_it_ordered(client: httpx.Client) -> None:
    answer = post(client, "/rank?axis=aesthetics")
    assert answer["candidates"] == {"mode": "exact", "n": ALL}
    assert len(answer["hits"]) == 10
    matches = post(client, "/rank?axis=aesthetics", {"query": "squares", "candidates": 5})
    assert matches["candidates"] == {"mode": "top_k", "n": 5}
    best = set(names(post(client, "/search", {"query": "squares", "limit": 5})))
    assert set(names(matches)) == best
    ids = [hit["id"] for hit in answer["hits"][2:4]]
    assert [h["id"] for h in post(client, "/rank?axis=aesthetics", {"ids": ids[::-1]})["hits"]] == ids


def test_an_axis_is_taught_used_and_deleted(client: httpx.Client) -> None:
    by_name = {name: hit["id"] for name, hit in zip(*_everything(client), strict=True)}
    ends = {"high": [by_name["red.png"]], "low": [by_name["blue.png"]]}
    made = client.post("/axes", json={"name": "redness", "extremes": ends})
    assert made.status_code == 201
    assert made.headers["location"] == "/axes/redness"
    assert made.json()["version"] == 1
    ranked = names(post(client, "/rank?axis=redness", {"limit": ALL}))
    assert ranked.index("red.png") < ranked.index("halves.jpg") < ranked.index("blue.png")
    stars = client.post("/axes", json={"name": "stars", "field": "stars"})
    assert stars.json()["kind"] == "field"
    assert names(post(client, "/rank?axis=stars"))[:4] == ["black.png", "blue.png", "green.png", "red.png"]
    assert client.post("/axes", json={"name": "redness", "extremes": ends}).json()["version"] == 2
    assert client.get("/axes/redness").json()["version"] == 2
    assert client.delete("/axes/redness").status_code == 204
    problem(client.get("/axes/redness"), 404, "unknown_axis")


def _everything(client: httpx.Client) -> tuple[list[str], list[dict[str, Any]]]:
    answer = post(client, "/rank?axis=aesthetics", {"limit": 100})
    return names(answer), answer["hits"]


def test_the_three_axes_are_there_from_the_start(client: httpx.Client) -> None:
    axes = {axis["name"]: axis for axis in client.get("/axes").json()["axes"]}
    assert {"aesthetics", "recency", "age"} <= set(axes)
    assert axes["age"]["trust"] == "weak"
    answer = post(client, "/rank?axis=age")
    assert any("weak" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/search", {}, 422, "invalid_query"),
        ("/search", {"query": "a", "limitt": 3}, 422, "invalid_request"),
        ("/search", {"query": "a", "limit": 0}, 422, "invalid_request"),
        ("/search", {"query": []}, 422, "invalid_query"),
        ("/search", {"query": [{"text": "a", "id": 1}]}, 422, "invalid_request"),
        ("/search", {"query": [{"image": "!!!"}]}, 422, "invalid_input"),
        ("/search", {"query": [{"image": "aGVsbG8="}]}, 422, "unreadable_image"),
        ("/search", {"query": [{"vector": [1, 2]}]}, 422, "invalid_query"),
        ("/search", {"query": [{"vector": [0.0] * 640}]}, 422, "invalid_query"),
        ("/search", {"query": [{"vector": "!!!"}]}, 422, "invalid_input"),
        ("/search", {"query": [{"vector": "AAAAAAA="}]}, 422, "invalid_input"),
        ("/search", {"query": [{"vector": "AAAAAA=="}]}, 422, "invalid_query"),
        ("/search", {"query": [{"id": 10_000}]}, 404, "not_found"),
        ("/search", {"query": "a", "axes": {"nope": 1}}, 404, "unknown_axis"),
        ("/search", {"query": "a", "axes": {"aesthetics": 1e9}}, 422, "invalid_query"),
        ("/search", {"query": "a", "filter": {"nope": []}}, 422, "invalid_filter"),
        ("/rank?axis=nope", None, 404, "unknown_axis"),
        ("/rank", None, 422, "invalid_query"),
        ("/axes", {"name": "Bad Name", "field": "stars"}, 422, "invalid_axis"),
        ("/axes", {"name": "x", "field": "nothing_there"}, 422, "invalid_axis"),
        ("/axes", {"name": "x", "extremes": {"high": [1], "low": [1]}}, 422, "invalid_axis"),
        ("/axes", {"name": "x"}, 422, "invalid_request"),
    ],
)
def test_bad_requests_are_explained(
    client: httpx.Client, path: str, body: dict[str, Any] | None, status: int, code: str
) -> None:
    problem(client.post(path, json=body), status, code)


def test_broken_json_and_unknown_places_are_problems_too(client: httpx.Client) -> None:
    broken = client.post("/search", content=b"{", headers={"content-type": "application/json"})
    problem(broken, 422, "invalid_request")
    problem(client.get("/nowhere"), 404, "not_found")
    problem(client.get("/search"), 405, "method_not_allowed")


def test_health_names_the_model_and_its_licence(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready").json()
    assert ready["images"] == ALL
    assert ready["model"] == {"id": "builtin-2", "dim": 640, "licence": "Apache-2.0"}
