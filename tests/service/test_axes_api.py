"""/axes over HTTP: every way to teach, evaluate, versions, files, and what is refused."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from rerank.axes.heads import Head, Layer
from tests.service.test_search_api import names, post, problem
from tests.support.server import COLOURS, kallos_server

DIM = 640
ALL = 20


def pictures(client: httpx.Client) -> dict[str, int]:
    """Ids by file name."""
    hits = post(client, "/rank?axis=aesthetics", {"limit": 100})["hits"]
    return {hit["uri"].rsplit("/", 1)[1]: hit["id"] for hit in hits}


@pytest.fixture(scope="module")
def by_name(client: httpx.Client) -> dict[str, int]:
    return pictures(client)


def teach(client: httpx.Client, **body: object) -> dict[str, Any]:
    response = client.post("/axes", json=body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def plainness(by_name: dict[str, int], squares: int = 12) -> list[dict[str, Any]]:
    """Plain colours are 1, squares are 0: anybody can see that."""
    plain = [{"id": by_name[f"{name}.png"], "value": 1} for name in COLOURS]
    return plain + [{"id": by_name[f"squares{n:02}.png"], "value": 0} for n in range(squares)]


def test_labels_teach_an_axis_that_says_how_good_it_is(client: httpx.Client, by_name: dict[str, int]) -> None:
    made = teach(client, name="plain", labels=plainness(by_name))
    assert (made["kind"], made["method"], made["model"]) == ("linear", "labels", "builtin-2")
    assert made["figures"]["n_train"] == 16
    assert made["figures"]["held_out"] == pytest.approx(made["figures"]["maximum"], abs=1e-6)
    assert made["trust"] == "measured"
    assert f"{made['figures']['held_out']:.2f}" in made["card"]
    assert made["inputs"]["count"] == 16
    assert [by_name["red.png"], 1.0, None] in made["inputs"]["labels"]
    ranked = names(post(client, "/rank?axis=plain", {"limit": ALL}))
    assert set(ranked[:4]) == {f"{name}.png" for name in COLOURS}
    detail = client.get("/axes/plain").json()
    assert len(detail["direction"]) == DIM
    assert np.linalg.norm(detail["direction"]) == pytest.approx(1.0, abs=1e-5)
    assert detail["standard"]["std"] > 0


def test_evaluation_counts_what_it_leaves_out(client: httpx.Client, by_name: dict[str, int]) -> None:
    teach(client, name="judged", labels=plainness(by_name, 6)[1:])
    found = client.post("/axes/judged/evaluate", json={"labels": plainness(by_name, 15)}).json()
    assert (found["n"], found["left_out"], found["without_value"]) == (10, 9, 0)
    assert found["spearman"] == pytest.approx(
        found["maximum"]
    )  # the red card before nine pictures of squares
    assert found["low"] is not None
    assert found["pearson"] > 0.9
    again = client.post("/axes/judged/evaluate", json={"labels": plainness(by_name, 6)[1:]})
    assert "none of the 9 labels is left" in problem(again, 422, "invalid_axis")["detail"]
    one = client.post("/axes/judged/evaluate", json={"labels": plainness(by_name, 6)})
    assert "1 labels are left" in problem(one, 422, "invalid_axis")["detail"]
    problem(client.post("/axes/nope/evaluate", json={"labels": []}), 404, "unknown_axis")


def test_pairs_teach_an_order(client: httpx.Client, by_name: dict[str, int]) -> None:
    pairs = [
        {"more": by_name[f"{name}.png"], "less": by_name[f"squares{n:02}.png"]}
        for n, name in enumerate([*COLOURS] * 3)
    ]
    made = teach(client, name="calm", pairs=pairs)
    assert made["method"] == "pairs"
    assert made["inputs"]["pairs"][0] in [[pair["more"], pair["less"]] for pair in pairs]
    ranked = names(post(client, "/rank?axis=calm", {"limit": ALL}))
    assert set(ranked[:4]) == {f"{name}.png" for name in COLOURS}


def test_old_versions_stay_until_they_are_deleted(client: httpx.Client, by_name: dict[str, int]) -> None:
    red, blue = by_name["red.png"], by_name["blue.png"]
    teach(client, name="warm", extremes={"high": [red], "low": [blue]})
    second = teach(client, name="warm", extremes={"high": [blue], "low": [red]})
    assert second["version"] == 2
    first, newest, named = (
        names(post(client, f"/rank?axis={axis}", {"limit": ALL})) for axis in ("warm@1", "warm", "warm@2")
    )
    assert newest == named == first[::-1]
    assert client.get("/axes/warm@1").json()["versions"] == [1, 2]
    answer = post(client, "/search", {"query": "a card", "axes": {"warm@1": 1, "warm": 1}})
    for hit in answer["hits"]:  # the two versions point in opposite directions
        assert hit["contributions"]["warm"] == pytest.approx(-hit["contributions"]["warm@1"], abs=1e-5)
    assert client.delete("/axes/warm@2").status_code == 204
    assert client.get("/axes/warm").json()["version"] == 1
    problem(client.post("/rank?axis=warm@2"), 404, "unknown_axis")
    assert client.delete("/axes/warm").status_code == 204
    detail = problem(client.get("/axes/warm@1"), 404, "unknown_axis")["detail"]
    assert "aesthetics" in detail


def test_a_head_ranks(client: httpx.Client, by_name: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.standard_normal((o, i)).astype(np.float32), rng.standard_normal(o).astype(np.float32))
        for i, o in ((DIM, 5), (5, 1))
    ]
    data = Head(tuple(layers), "relu").to_bytes()
    made = teach(client, name="head", head={"data": base64.b64encode(data).decode(), "activation": "relu"})
    assert (made["kind"], made["trust"]) == ("head", "taught")
    assert made["inputs"]["widths"] == [DIM, 5, 1]
    answer = post(client, "/search", {"query": "a card", "axes": {"head": 1.5}, "limit": 5})
    assert answer["candidates"] == {"mode": "exact", "n": ALL}
    for hit in answer["hits"]:
        assert sum(hit["contributions"].values()) == pytest.approx(hit["score"], abs=1e-4)
    assert len(post(client, "/rank?axis=head", {"limit": ALL})["hits"]) == ALL
    unsaid = {"name": "head", "head": {"data": base64.b64encode(data).decode()}}
    assert "give the activation" in problem(client.post("/axes", json=unsaid), 422, "invalid_axis")["detail"]


def test_an_axis_travels_to_another_collection(
    client: httpx.Client, by_name: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = teach(client, name="travels", labels=plainness(by_name))
    exported = client.get("/axes/travels/export")
    assert exported.headers["content-type"] == "application/octet-stream"
    assert exported.headers["content-disposition"] == 'attachment; filename="travels-1.safetensors"'
    headers = {"content-type": "application/octet-stream"}
    with kallos_server(tmp_path_factory.mktemp("elsewhere")) as other:
        response = other.post("/axes/import?name=arrived", content=exported.content, headers=headers)
        assert response.status_code == 201, response.text
        assert response.headers["location"] == "/axes/arrived"
        back = response.json()
        for key in ("kind", "method", "trust", "card", "inputs", "gain", "bias", "sign", "figures"):
            assert back[key] == made[key]
        here = names(post(client, "/rank?axis=travels", {"limit": ALL}))
        assert names(post(other, "/rank?axis=arrived", {"limit": ALL})) == here
        # The same pictures, indexed elsewhere, are still those that it was fitted on.
        elsewhere = pictures(other)
        known = other.post("/axes/arrived/evaluate", json={"labels": plainness(elsewhere)})
        problem(known, 422, "invalid_axis")
    broken = client.post("/axes/import", content=b"hello", headers=headers)
    problem(broken, 422, "invalid_input")
    problem(client.post("/axes/import", content=b"", headers=headers), 422, "invalid_request")


def problem_of(client: httpx.Client, body: dict[str, Any], status: int, code: str) -> str:
    detail: str = problem(client.post("/axes", json=body), status, code)["detail"]
    return detail


@pytest.mark.parametrize(
    ("lesson", "status", "code", "said"),
    [
        ({"labels": [{"id": 1, "value": 1}]}, 422, "invalid_axis", "at least two"),
        (
            {"labels": [{"id": 1, "value": 2}, {"id": 2, "value": 2}]},
            422,
            "invalid_axis",
            "all 2 labels are 2",
        ),
        ({"labels": [{"id": 1, "value": 1}, {"id": 1, "value": 2}]}, 422, "invalid_axis", "image 1 has two"),
        ({"labels": [{"id": 1, "value": 1}, {"id": 9999, "value": 2}]}, 404, "not_found", "9999"),
        ({"labels": [{"id": 1, "value": "NaN"}]}, 422, "invalid_request", "finite"),
        ({"labels": [{"id": 1, "value": 1}] * 50_001}, 422, "invalid_request", "at most 50000"),
        ({"pairs": [{"more": 1, "less": 1}]}, 422, "invalid_axis", "paired with itself"),
        ({"pairs": [{"more": 1, "less": 9999}]}, 404, "not_found", "9999"),
        ({"pairs": []}, 422, "invalid_axis", "at least one"),
        ({"extremes": {"high": [1], "low": []}}, 422, "invalid_request", "low"),
        ({"extremes": {"high": [1], "low": [9999]}}, 404, "not_found", "9999"),
        ({"field": "stars", "pairs": []}, 422, "invalid_request", "exactly one of"),
        ({"field": 'a"b'}, 422, "invalid_filter", "no quotes"),
        ({"head": {"data": "!!"}}, 422, "invalid_input", "the head is not base64"),
        ({"head": {"data": "aGVsbG8="}}, 422, "invalid_input", "not a safetensors file"),
        ({"head": {"data": "", "activation": "tanh"}}, 422, "invalid_request", "activation"),
    ],
)
def test_bad_lessons_store_nothing(
    client: httpx.Client, lesson: dict[str, Any], status: int, code: str, said: str
) -> None:
    before = client.get("/axes").json()
    assert said in problem_of(client, {"name": "bad"} | lesson, status, code)
    assert client.get("/axes").json() == before


def test_numbers_that_json_does_not_have_are_refused(client: httpx.Client) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        body = f'{{"name": "bad", "labels": [{{"id": 1, "value": {number}}}, {{"id": 2, "value": 1}}]}}'
        response = client.post("/axes", content=body, headers={"content-type": "application/json"})
        problem(response, 422, "invalid_request")


@pytest.mark.parametrize("name", ["", " ", "query", "Bad Name", "a@2", "../up"])
def test_names_that_cannot_stand_in_a_url_or_a_hit_are_refused(client: httpx.Client, name: str) -> None:
    assert repr(name) in problem_of(client, {"name": name, "field": "stars"}, 422, "invalid_axis")


def test_heads_and_axes_of_other_models_are_refused(client: httpx.Client) -> None:
    head = Head((Layer(np.ones((1, 768), np.float32), np.zeros(1, np.float32)),), "none")
    body = {"name": "bad", "head": {"data": base64.b64encode(head.to_bytes()).decode()}}
    assert "takes 768 numbers, builtin-2 makes 640" in problem_of(client, body, 422, "invalid_axis")


def test_ten_thousand_axis_weights_are_too_many(client: httpx.Client) -> None:
    weights = {f"axis{n}": 1.0 for n in range(10_000)}
    response = client.post("/search", json={"query": "a card", "axes": weights})
    assert "at most 64" in problem(response, 422, "invalid_request")["detail"]


def test_a_huge_body_is_refused_before_it_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    with kallos_server(tmp_path_factory.mktemp("small"), max_upload_bytes=100_000) as small:
        labels = [{"id": 1, "value": 1}] * 10_000
        problem(small.post("/axes", json={"name": "bad", "labels": labels}), 413, "request_too_large")
        problem(small.post("/axes/import", content=bytes(200_000)), 413, "request_too_large")
