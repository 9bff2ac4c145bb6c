"""Pictures on demand over HTTP: jobs, limits, what is kept, promotion, generate on a miss, safety."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from indexer.collection.verify import verify
from indexer.imaging.provenance import SOURCE_TYPE, XMP_KEY
from rerank.generate.request import GenerationRequest, Pixels
from rerank.generate.safety import Verdict
from tests.support.painter import HEIGHT, WIDTH, Painter, painted
from tests.support.processes import until
from tests.support.server import kallos_server

NO_REDS = "tests.service.test_generate_api:NoReds"


class NoReds:
    """A `Classifier`."""

    def judge(self, pixels: Pixels) -> Verdict:
        red, green, _ = pixels.reshape(-1, 3).mean(axis=0)
        return Verdict(bool(red < 3 * green), "too red")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with kallos_server(tmp_path_factory.mktemp("kallos"), generator=Painter()) as client:
        yield client


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/jobs/{job['id']}").json()
        return found

    return until(look, lambda it: it["finished_at"] is not None)


def made(client: httpx.Client, **body: object) -> list[dict[str, Any]]:
    """Generations of a job that succeeds."""
    response = client.post("/generate", json=body)
    assert response.status_code == 202, response.text
    job = ended(client, response.json())
    assert job["state"] == "succeeded", job
    return [client.get(f"/generations/{one}").json() for one in job["result"]["generations"]]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def events(client: httpx.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        return [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]


def test_a_wish_becomes_pictures_that_say_where_they_are_from(client: httpx.Client) -> None:
    response = client.post("/generate", json={"prompt": "a red fox 🦊", "seed": 7, "count": 2, "steps": 3})
    job = response.json()
    assert response.headers["Location"] == f"/jobs/{job['id']}"
    assert (job["kind"], job["params"]["seed"]) == ("generate", 7)
    first, second = made(client, prompt="a red fox 🦊", seed=7, count=2, steps=3, guidance=1.5)
    assert [first["seed"], second["seed"]] == [7, 8]
    assert (first["generated"], first["model"], first["steps"], first["guidance"]) == (
        True,
        "painter-1",
        3,
        1.5,
    )
    assert (first["width"], first["height"]) == (512, 384)
    assert (first["native_width"], first["native_height"]) == (WIDTH, HEIGHT)

    content = client.get(first["content"])
    assert content.headers["Content-Type"] == "image/png"
    with opened(content.content) as image:
        assert image.size == (512, 384)
        assert SOURCE_TYPE in image.text[XMP_KEY]  # type: ignore[attr-defined]  # of PNG files only
        assert json.loads(image.text["Generation"])["seed"] == 7  # type: ignore[attr-defined]
        drawn = painted(GenerationRequest("a red fox 🦊", seed=7))
        middle = np.asarray(image)[8::16, 8::16]
        assert np.abs(middle.astype(int) - drawn).max() <= 60  # smooth between squares, else the same
    with opened(client.get(first["content"], params={"width": 64}).content) as small:
        assert (small.format, small.size) == ("JPEG", (64, 48))
    tag = {"If-None-Match": content.headers["ETag"]}
    assert client.get(first["content"], headers=tag).status_code == 304


def test_the_same_wish_makes_the_same_file_and_without_a_seed_another(client: httpx.Client) -> None:
    same = [made(client, prompt="a cat", seed=3)[0]["sha256"] for _ in range(2)]
    assert same[0] == same[1]
    drawn = [made(client, prompt="a cat")[0] for _ in range(2)]
    assert drawn[0]["seed"] != drawn[1]["seed"]
    assert made(client, prompt="a cat", seed=drawn[0]["seed"])[0]["sha256"] == drawn[0]["sha256"]


@pytest.mark.parametrize(
    ("asked", "got"), [((256, 256), (256, 192)), ((16, 16), (16, 12)), ((2048, 100), (133, 100))]
)
def test_a_size_is_fitted_into_never_distorted(
    client: httpx.Client, asked: tuple[int, int], got: tuple[int, int]
) -> None:
    (one,) = made(client, prompt="a cat", seed=1, width=asked[0], height=asked[1])
    assert (one["width"], one["height"]) == got
    with opened(client.get(one["content"]).content) as image:
        assert image.size == got


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "x" * 10_000},
        {"prompt": "a\0b"},
        {"prompt": "   "},
        {"prompt": "cat", "negative_prompt": "a\0b"},
        {"prompt": "cat", "width": 100_000, "height": 100_000},
        {"prompt": "cat", "width": 512},
        {"prompt": "cat", "steps": -1},
        {"prompt": "cat", "steps": 10_000},
        {"prompt": "cat", "guidance": -0.1},
        {"prompt": "cat", "seed": -1},
        {"prompt": "cat", "seed": 2**63 - 1, "count": 2},
        {"prompt": "cat", "count": 0},
        {"prompt": "cat", "count": 1000},
        {"prompt": "cat", "sampler": "euler"},
        {},
    ],
)
def test_wishes_that_make_no_sense_are_problems(client: httpx.Client, wrong: dict[str, object]) -> None:
    response = client.post("/generate", json=wrong)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] in ("invalid_request", "invalid_input")


@pytest.mark.parametrize(
    "body", ['{"prompt": "cat", "guidance": NaN}', '{"prompt": "\\ud800"}', '{"prompt": "cat"', "[]"]
)
def test_numbers_and_letters_that_are_none_are_problems(client: httpx.Client, body: str) -> None:
    response = client.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


def test_an_idempotency_key_finds_its_job(client: httpx.Client) -> None:
    def ask(prompt: str, key: str = "k-1") -> httpx.Response:
        return client.post("/generate", json={"prompt": prompt}, headers={"Idempotency-Key": key})

    first = ask("a blue bird").json()
    assert ask("a blue bird").json()["id"] == first["id"]
    assert ask("a blue bird").json()["params"]["seed"] == first["params"]["seed"]
    assert ask("a blue bird", "k-2").json()["id"] != first["id"]
    refused = ask("a green bird")
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert ask("a cat", "k" * 300).status_code == 422


def test_an_idempotency_key_finds_index_jobs_too(client: httpx.Client) -> None:
    uris = [image["uri"] for image in client.get("/images").json()["images"]]
    (folder,) = {str(Path(uri).parent) for uri in uris if uri.startswith("/")}

    def ask(sync: bool) -> httpx.Response:
        body = {"sources": [folder], "sync": sync}
        return client.post("/jobs/index", json=body, headers={"Idempotency-Key": "nightly"})

    assert ask(False).json()["id"] == ask(False).json()["id"]
    assert ask(True).json()["code"] == "idempotency_key_reused"


def test_generations_are_listed_and_forgotten(client: httpx.Client) -> None:
    one, two = made(client, prompt="twins", seed=4)[0], made(client, prompt="twins", seed=4)[0]
    newest = client.get("/generations", params={"limit": 2}).json()
    assert [it["id"] for it in newest["generations"]] == [two["id"], one["id"]]
    further = client.get("/generations", params={"limit": 1, "cursor": newest["cursor"]}).json()
    assert further["generations"][0]["id"] not in (one["id"], two["id"])
    assert client.delete(f"/generations/{one['id']}").status_code == 204
    for path in (f"/generations/{one['id']}", one["content"]):
        assert client.get(path).json()["code"] == "not_found"
    assert client.get(two["content"]).status_code == 200  # the same file, still needed


def test_only_what_is_promoted_is_found(client: httpx.Client) -> None:
    (one,) = made(client, prompt="a blue moon", seed=11)
    condition = {"match": {"generated": True}}

    def found() -> list[dict[str, Any]]:
        hits: list[dict[str, Any]] = client.post(
            "/search", json={"query": "moon", "filter": condition}
        ).json()["hits"]
        return hits

    assert found() == []
    image = client.post(f"/generations/{one['id']}/promote").json()
    assert [hit["id"] for hit in found()] == [image["id"]]
    facts = image["metadata"]
    assert (facts["generated"], facts["prompt"], facts["seed"], facts["model"]) == (
        True,
        "a blue moon",
        11,
        "painter-1",
    )
    assert client.get(f"/images/{image['id']}/content").content == client.get(one["content"]).content
    assert client.get(f"/generations/{one['id']}").json()["image_id"] == image["id"]

    generation = client.get("/health/ready").json()["generation"]
    for path in (f"/generations/{one['id']}/promote", f"/images/{one['id']}/promote"):
        assert client.post(path).json() == image
    assert client.get("/health/ready").json()["generation"] == generation  # nothing has changed

    assert client.delete(f"/images/{image['id']}").status_code == 204
    assert found() == []
    assert client.get(f"/generations/{one['id']}").json()["image_id"] is None
    again = client.post(f"/images/{one['id']}/promote").json()
    assert client.delete(f"/generations/{one['id']}").status_code == 204
    assert client.get(f"/images/{again['id']}/content").status_code == 200  # the picture stays
    assert client.delete(f"/images/{again['id']}").status_code == 204
    assert client.post("/generations/none/promote").json()["code"] == "not_found"


def test_what_cannot_be_made_fails_with_its_reason_and_can_be_retried(client: httpx.Client) -> None:
    job = ended(client, client.post("/generate", json={"prompt": "too large"}).json())
    assert (job["state"], job["code"]) == ("failed", "out_of_memory")
    retried = client.post(f"/jobs/{job['id']}/retry")
    assert (retried.status_code, retried.json()["id"]) == (202, job["id"])
    assert ended(client, job)["code"] == "out_of_memory"
    fine = ended(client, client.post("/generate", json={"prompt": "a cat"}).json())
    assert client.post(f"/jobs/{fine['id']}/retry").json()["code"] == "conflict"


def test_progress_previews_places_and_an_end_at_the_next_step(tmp_path: Path) -> None:
    painter = Painter(pause_s=0.03, default_steps=20)
    with kallos_server(tmp_path, generator=painter) as client:
        made(client, prompt="a cat", steps=2)
        running, waiting = (
            client.post("/generate", json={"prompt": word, "count": 2}).json() for word in ("red", "blue")
        )
        until(lambda: client.get(f"/jobs/{running['id']}").json(), lambda it: it["position"] == 0)
        place = client.get(f"/jobs/{waiting['id']}").json()
        assert place["position"] == 1
        assert place["eta_seconds"] > 0

        seen = events(client, running)
        assert (seen[-1]["state"], seen[-1]["progress"]) == ("succeeded", {"done": 2, "total": 2})
        told = [it["progress"] for it in seen if "preview" in it["progress"]]
        assert told
        assert [it["done"] for it in told] == sorted(it["done"] for it in told)
        head, _, body = told[0]["preview"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert len(body) < 10_000

        until(lambda: client.get(f"/jobs/{waiting['id']}").json(), lambda it: "step" in it["progress"])
        client.delete(f"/jobs/{waiting['id']}")
        stopped = ended(client, waiting)
        assert (stopped["state"], stopped["result"]) == ("cancelled", {"generations": [], "refused": 0})
        client.post(f"/jobs/{waiting['id']}/retry")
        assert len(ended(client, waiting)["result"]["generations"]) == 2
        assert painter.most_at_once == 1


def test_fifty_at_once_find_a_bounded_queue(tmp_path: Path) -> None:
    painter = Painter(pause_s=0.02)
    with (
        kallos_server(tmp_path, generator=painter, generate_queue=5) as client,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = list(
            pool.map(lambda n: client.post("/generate", json={"prompt": "cat", "seed": n}), range(50))
        )
        accepted = [answer.json() for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(accepted) + len(refused) == 50
        assert 5 <= len(accepted) < 50
        for answer in refused:
            assert answer.json()["code"] == "queue_full"
            assert int(answer.headers["Retry-After"]) >= 1
        for job in accepted:
            assert ended(client, job)["state"] == "succeeded"
        # Each made its own picture: nothing of one request was seen by another.
        seeds = {it["seed"]: it for it in client.get("/generations").json()["generations"]}
        assert seeds.keys() == {job["params"]["seed"] for job in accepted}
        assert len({it["sha256"] for it in seeds.values()}) == len(accepted)
        assert painter.most_at_once == 1


def test_each_client_has_its_share(tmp_path: Path) -> None:
    with kallos_server(tmp_path, generator=Painter(), generate_per_hour=3) as client:

        def ask(key: str | None, count: int) -> httpx.Response:
            headers = {} if key is None else {"X-Api-Key": key}
            return client.post("/generate", json={"prompt": "cat", "count": count}, headers=headers)

        assert [ask(key, 3).status_code for key in ("ann-secret", "bob", None)] == [202, 202, 202]
        bearer = {"Authorization": "Bearer bob"}
        assert client.post("/generate", json={"prompt": "cat"}, headers=bearer).status_code == 429
        refused = ask("ann-secret", 1)
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_spent")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600
    stored = (tmp_path / "data" / "kallos.sqlite").read_bytes()
    assert b"key:" in stored
    assert b"ann-secret" not in stored


def test_refusals_have_codes_of_their_own(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("# not these\nFLYING saucer\n")
    options = {"generate_blocklist": words, "generate_classifier": NO_REDS}
    with kallos_server(tmp_path, generator=Painter(), **options) as client:
        refused = client.post("/generate", json={"prompt": "two Flying  SAUCER"})
        assert (refused.status_code, refused.json()["code"]) == (422, "prompt_refused")
        assert "saucer" not in refused.json()["detail"].lower()
        made(client, prompt="flying saucers of tea")  # another word
        job = ended(client, client.post("/generate", json={"prompt": "a red card", "count": 2}).json())
        assert (job["state"], job["code"]) == ("failed", "picture_refused")
        assert "too red" in job["error"]
        assert len(client.get("/generations").json()["generations"]) == 1
    assert verify(tmp_path / "data", full=True).problems == []


def test_a_search_that_finds_nothing_is_answered_by_a_picture(client: httpx.Client) -> None:
    nothing = {"query": "a purple hat", "filter": {"match": {"camera": "none such"}}}
    plain = client.post("/search", json=nothing).json()
    assert (plain["hits"], plain["miss"], plain["job"]) == ([], None, None)
    first = client.post("/search/generate-if-no-match", json=nothing).json()
    assert first["miss"]["outcome"] == "started"
    ended(client, first["job"])
    again = client.post("/search", json=nothing | {"generate_if_no_match": True, "query": "A  purple hat"})
    kept = again.json()["miss"]
    assert (kept["outcome"], kept["generation"]["prompt"]) == ("kept", "a purple hat")
    assert again.json()["job"] == first["job"]
    generated = {"query": "a purple hat", "filter": {"match": {"generated": True}}, "limit": 100}
    before = client.post("/search", json=generated).json()["hits"]
    promoted = client.post(f"/generations/{kept['generation']['id']}/promote").json()
    after = client.post("/search", json=generated).json()["hits"]
    assert {hit["id"] for hit in after} - {hit["id"] for hit in before} == {promoted["id"]}


def test_a_search_that_finds_something_makes_nothing(client: httpx.Client) -> None:
    found = client.post("/search/generate-if-no-match", json={"query": "a red card"}).json()
    assert found["hits"]
    assert (found["miss"], found["job"]) == (None, None)
    by_picture = {"query": [{"id": found["hits"][0]["id"]}], "filter": {"match": {"camera": "none"}}}
    assert client.post("/search/generate-if-no-match", json=by_picture).json()["miss"] is None
