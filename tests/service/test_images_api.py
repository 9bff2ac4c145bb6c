"""Pictures as resources, and jobs."""

import base64
import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from indexer.tables.metadata import DEEPEST
from tests.support.files import encoded, noise
from tests.support.processes import until
from tests.support.server import COLOURS, kallos_server
from tests.support.web import web_server

JSON = {"content-type": "application/json"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    with kallos_server(tmp_path) as client:
        yield client


def count(client: httpx.Client) -> int:
    images: int = client.get("/health/ready").json()["images"]
    return images


def wait(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/jobs/{job['id']}").json()
        return found

    return until(look, lambda found: found["state"] in ("succeeded", "failed", "cancelled"))


def test_uploads_are_found_shown_patched_and_deleted(server: httpx.Client) -> None:
    data = encoded(noise(77, (600, 400)))
    files = [("files", ("new.png", data)), ("files", ("bad.png", b"no picture"))]
    new, bad = server.post("/images", files=files).json()["results"]
    assert (new["status"], bad["status"], bad["reason"]) == ("indexed", "failed", "not_an_image")
    assert count(server) == 21
    place = f"/images/{new['id']}"

    original = server.get(f"{place}/content")
    assert original.content == data
    assert original.headers["content-type"] == "image/png"
    assert "sandbox" in original.headers["content-security-policy"]
    again = server.get(f"{place}/content", headers={"If-None-Match": original.headers["etag"]})
    assert again.status_code == 304
    small = Image.open(io.BytesIO(server.get(f"{place}/content", params={"width": 100}).content))
    assert (small.format, small.width) == ("JPEG", 100)

    patched = server.patch(place, json={"metadata": {"stars": 5, "note": "mine"}}).json()
    assert patched["metadata"]["stars"] == 5
    assert server.patch(place, json={"metadata": {"note": None}}).json()["metadata"].get("note") is None
    starred = {"query": "squares", "filter": {"must": [{"match": {"stars": 5}}]}}
    assert [hit["id"] for hit in server.post("/search", json=starred).json()["hits"]] == [new["id"]]

    assert server.delete(place).status_code == 204
    assert server.get(place).json()["code"] == "not_found"
    assert server.get(f"{place}/content").status_code == 404
    assert count(server) == 20


def test_the_same_picture_twice_is_one_picture(server: httpx.Client) -> None:
    data = base64.b64encode(encoded(noise(78))).decode()
    body = {"images": [{"data": data}, {"data": data, "metadata": {"tags": ["sea"]}}]}
    first, second = server.post("/images", json=body).json()["results"]
    assert first["id"] == second["id"]
    (third,) = server.post("/images", json={"images": [{"data": data}]}).json()["results"]
    assert (third["id"], third["status"]) == (first["id"], "unchanged")
    assert count(server) == 21


def test_pictures_come_by_url_too(server: httpx.Client) -> None:
    with web_server() as site:
        body = {"images": [{"url": f"{site}/a.png"}, {"url": f"{site}/missing.png"}]}
        good, bad = server.post("/images", json=body).json()["results"]
    assert good["status"] == "indexed"
    assert (bad["status"], bad["reason"]) == ("failed", "unreachable")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"images": []},
        {"images": [{}]},
        {"images": [{"data": "a", "url": "b"}]},
        {"images": [{"data": "%"}]},
    ],
)
def test_bad_uploads_are_explained(server: httpx.Client, body: dict[str, Any]) -> None:
    response = server.post("/images", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "value",
    ["NaN", "-Infinity", "1e999", '{"deep": [NaN]}', "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)],
    ids=["NaN", "-Infinity", "1e999", "nested", "deep"],
)
def test_metadata_that_cannot_be_stored_is_refused(client: httpx.Client, value: str) -> None:
    metadata = f'{{"caption": "odd", "stars": {value}}}'
    data = base64.b64encode(encoded(noise(79))).decode()
    before = client.get("/images/1").json()
    for response in (
        client.patch("/images/1", content=f'{{"metadata": {metadata}}}', headers=JSON),
        client.post(
            "/images", content=f'{{"images": [{{"data": "{data}", "metadata": {metadata}}}]}}', headers=JSON
        ),
    ):
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert "metadata: " in response.json()["detail"]
        assert "for 'stars', expected finite numbers" in response.json()["detail"]
    assert client.get("/images/1").json() == before
    captioned = {"filter": '{"exists": "caption"}'}
    assert client.get("/images/count", params=captioned).json() == {"count": len(COLOURS)}


def test_a_body_past_the_limit_is_refused(tmp_path: Path) -> None:
    with kallos_server(tmp_path, max_upload_bytes=20_000) as client:
        for content in (b"x" * 30_000, iter([b"x" * 15_000, b"x" * 15_000])):  # declared, and streamed
            response = client.post("/images", content=content, headers={"content-type": "application/json"})
            assert response.status_code == 413
            assert response.json()["code"] == "request_too_large"


def test_what_is_too_much_at_once_is_refused(tmp_path: Path) -> None:
    with (
        kallos_server(tmp_path, max_concurrent=1) as client,
        socket.create_server(("127.0.0.1", 0)) as slow,
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"http://127.0.0.1:{slow.getsockname()[1]}/a.png"
        first = pool.submit(client.post, "/images", json={"images": [{"url": url}]})
        connection, _ = slow.accept()  # the first request has the one place, and waits for its picture
        refused = client.post("/search", json={"query": "a bird"})
        connection.close()
        first.result()
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["retry-after"] == "1"
        assert client.post("/search", json={"query": "a bird"}).status_code == 200


def test_a_place_is_given_back_after_an_error(tmp_path: Path) -> None:
    """Of whatever kind, KALLOS_MAX_CONCURRENT wrong requests do not make the server refuse all later ones."""
    wrong: list[tuple[str, dict[str, Any], int]] = [
        ("/search", {"query": 3}, 422),  # not of the schema
        ("/search", {"query": "a bird", "filter": {"near": {}}}, 422),  # refused by the filter language
        ("/search", {"ids": [10**9]}, 422),
        ("/rank", {"axes": {"no-such-axis": 1}}, 404),
        ("/images", {"images": [{"url": "http://127.0.0.1:9/a.png"}]}, 0),
    ]
    with kallos_server(tmp_path, max_concurrent=2) as client:
        for path, body, status in wrong:
            for _ in range(3):
                answer = client.post(path, json=body)
                assert answer.status_code != 429, (path, body)
                assert status in (0, answer.status_code), answer.text
        assert client.post("/search", json={"query": "a bird"}).status_code == 200


def test_an_index_job_adds_what_is_new(server: httpx.Client, tmp_path: Path) -> None:
    for seed in range(200, 230):
        (tmp_path / "pictures" / f"new{seed}.png").write_bytes(encoded(noise(seed)))
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    accepted = server.post("/jobs/index", json={"sources": [str(tmp_path / "pictures")]})
    assert accepted.status_code == 202
    assert accepted.headers["location"] == f"/jobs/{accepted.json()['id']}"
    done = wait(server, accepted.json())
    assert done["state"] == "succeeded"
    assert (done["result"]["indexed"], done["result"]["unchanged"]) == (30, 20)
    assert [item["uri"].rpartition("/")[2] for item in done["result"]["failed"]] == ["broken.png"]
    assert (done["progress"]["done"], done["progress"]["total"]) == (51, 51)
    assert count(server) == 50
    with server.stream("GET", f"/jobs/{done['id']}/events") as events:
        text = "".join(events.iter_text())
    assert text.startswith("event: succeeded\n")
    assert json.loads(text.splitlines()[1].removeprefix("data: "))["id"] == done["id"]
    assert server.delete(f"/jobs/{done['id']}").json()["code"] == "conflict"
    unknown = server.get("/jobs/unknown/events")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_a_job_reads_only_what_the_operator_opened(server: httpx.Client) -> None:
    for source in ("/etc", "../..", "/nowhere", "\0"):
        response = server.post("/jobs/index", json={"sources": [source]})
        assert response.status_code == 422
    assert server.get("/jobs/unknown").json()["code"] == "not_found"


@pytest.mark.slow
def test_a_job_that_was_cut_off_goes_on_after_a_restart(tmp_path: Path) -> None:
    with kallos_server(tmp_path) as client:
        for seed in range(300, 420):
            (tmp_path / "pictures" / f"new{seed}.png").write_bytes(encoded(noise(seed)))
        job = client.post("/jobs/index", json={"sources": [str(tmp_path / "pictures")]}).json()
    with kallos_server(tmp_path) as client:  # indexes the same folder before it serves
        done = wait(client, job)
        assert done["state"] == "succeeded"
        assert count(client) == 140


def test_the_same_picture_may_arrive_many_times_at_once(client: httpx.Client) -> None:
    data = encoded(noise(4711, (64, 64)))

    def upload(_: int) -> int:
        response = client.post("/images", files=[("files", ("same.png", data, "image/png"))])
        assert response.status_code == 200, response.text
        return int(response.json()["results"][0]["id"])

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(upload, range(16)))
    assert len(ids) == 1
    (image_id,) = ids
    assert client.get(f"/images/{image_id}/content").content == data
    client.delete(f"/images/{image_id}")
