"""The routes of other programs' shapes, with the client libraries of those programs."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import openai
import pytest
import webuiapi
from PIL import Image

from rerank.generate.request import GenerationRequest
from tests.support.painter import Painter, painted
from tests.support.processes import until
from tests.support.server import kallos_server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("kallos")
    words = root / "words"
    words.write_text("saucer\n")
    with kallos_server(root, generator=Painter(), generate_blocklist=words) as client:
        yield client


@contextmanager
def openai_of(client: httpx.Client, max_retries: int = 0) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="any", max_retries=max_retries) as library:
        yield library


@contextmanager
def webui_of(client: httpx.Client) -> Iterator[webuiapi.WebUIApi]:
    library = webuiapi.WebUIApi(host=client.base_url.host, port=client.base_url.port)
    with library.session:
        yield library


@pytest.fixture
def library(client: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai_of(client) as library:
        yield library


@pytest.fixture
def webui(client: httpx.Client) -> Iterator[webuiapi.WebUIApi]:
    with webui_of(client) as webui:
        yield webui


def corner(data: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(data)) as image:
        found = image.getpixel((0, image.height - 1))
    assert isinstance(found, tuple)
    return found


def test_openai_pictures_come_as_addresses_and_inline(library: openai.OpenAI) -> None:
    found = library.images.generate(prompt="a red fox", n=2, size="256x256", extra_body={"seed": 5})
    assert found.data is not None
    assert len(found.data) == 2
    inline = library.images.generate(
        prompt="a red fox", size="256x256", response_format="b64_json", extra_body={"seed": 5}
    )
    assert inline.data is not None
    assert inline.data[0].url is None
    first = httpx.get(found.data[0].url or "").content
    assert base64.b64decode(inline.data[0].b64_json or "") == first
    expected = painted(GenerationRequest("a red fox", seed=5))[-1, 0]
    assert corner(first) == tuple(int(value) for value in expected)
    with Image.open(io.BytesIO(first)) as image:
        assert image.size == (256, 192)
    assert inline.data[0].model_extra is not None
    assert inline.data[0].model_extra["seed"] == 5


def test_openai_clients_get_their_own_errors(library: openai.OpenAI) -> None:
    ask = library.images.generate
    with pytest.raises(openai.BadRequestError) as long:
        ask(prompt="x" * 10_000)
    assert (long.value.code, long.value.type) == ("invalid_input", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="WIDTHxHEIGHT"):
        ask(prompt="cat", size="big")
    with pytest.raises(openai.BadRequestError) as refused:
        ask(prompt="a flying saucer")
    assert refused.value.code == "content_policy_violation"
    with pytest.raises(openai.BadRequestError) as unsafe:
        ask(prompt="a gruesome thing")
    assert unsafe.value.code == "content_policy_violation"
    with pytest.raises(openai.NotFoundError, match="painter-1"):
        ask(prompt="cat", model="dall-e-3")
    assert ask(prompt="cat", model="painter-1").data is not None
    with pytest.raises(openai.InternalServerError) as failed:
        ask(prompt="too large")
    assert failed.value.code == "out_of_memory"
    with pytest.raises(openai.NotFoundError):
        library.models.list()


def test_openai_clients_hear_of_limits(tmp_path: Path) -> None:
    options = {"generate_per_hour": 1, "max_upload_bytes": 20_000}
    with kallos_server(tmp_path, generator=Painter(), **options) as client:
        with openai_of(client) as library, pytest.raises(openai.APIStatusError) as large:
            library.images.generate(prompt="x" * 30_000)
        assert (large.value.status_code, large.value.code) == (413, "request_too_large")
        with openai_of(client) as library, pytest.raises(openai.RateLimitError) as limited:
            library.images.generate(prompt="cat", n=2)
        assert limited.value.code == "budget_spent"
        assert int(limited.value.response.headers["Retry-After"]) >= 1


def test_webui_pictures_come_with_what_made_them(webui: webuiapi.WebUIApi) -> None:
    found = webui.txt2img(
        prompt="a blue bird",
        negative_prompt="red",
        seed=9,
        steps=3,
        cfg_scale=4.0,
        width=128,
        height=128,
        batch_size=2,
    )
    assert [image.size for image in found.images] == [(128, 96)] * 2
    info = found.info
    assert (info["all_seeds"], info["steps"], info["cfg_scale"]) == ([9, 10], 3, 4.0)
    assert (info["sd_model_name"], info["native_width"]) == ("painter-1", 32)
    assert "Negative prompt: red\nSteps: 3, " in info["infotexts"][0]
    assert json.loads(found.images[0].text["Generation"])["seed"] == 9
    drawn = webui.txt2img(prompt="a blue bird")
    assert 0 <= drawn.info["seed"] < 2**32
    again = webui.txt2img(prompt="a blue bird", seed=drawn.info["seed"])
    assert again.info | {"job_timestamp": ""} == drawn.info | {"job_timestamp": ""}


def test_webui_clients_find_the_model_and_the_sampler(webui: webuiapi.WebUIApi) -> None:
    assert webui.util_get_model_names() == ["painter-1"]
    assert webui.util_get_sampler_names() == ["Default"]
    assert webui.get_progress()["progress"] == 0


def test_webui_clients_get_their_own_errors(webui: webuiapi.WebUIApi) -> None:
    with pytest.raises(RuntimeError) as wrong:
        webui.txt2img(prompt="cat", width=100_000)
    status, body = wrong.value.args
    assert status == 422
    assert json.loads(body)["error"] == "invalid_request"
    with pytest.raises(RuntimeError, match="enable_hr is not supported"):
        webui.txt2img(prompt="cat", enable_hr=True)


def test_progress_shows_the_picture_that_is_being_made(tmp_path: Path) -> None:
    with kallos_server(tmp_path, generator=Painter(pause_s=0.05, default_steps=40)) as client:
        client.post("/generate", json={"prompt": "cat"})
        with webui_of(client) as webui:
            seen = until(webui.get_progress, lambda it: it["current_image"] is not None)
        assert 0 < seen["progress"] < 1
        assert seen["state"]["sampling_steps"] == 40
        with Image.open(io.BytesIO(base64.b64decode(seen["current_image"]))) as image:
            assert image.format == "JPEG"


def test_no_request_waits_for_ever(tmp_path: Path) -> None:
    painter = Painter(pause_s=0.05, default_steps=200)
    with kallos_server(tmp_path, generator=painter, generate_wait_s=0.3) as client:
        with openai_of(client, 2) as library, pytest.raises(openai.InternalServerError) as late:
            library.images.generate(prompt="cat")
        assert late.value.code == "took_too_long"
        (job,) = client.get("/jobs").json()[
            "jobs"
        ]  # it did not try again, and no work goes on without a client
        ended = until(
            lambda: client.get(f"/jobs/{job['id']}").json(), lambda it: it["finished_at"] is not None
        )
        assert ended["state"] == "cancelled"


def test_a_client_that_disconnects_cancels_its_job(tmp_path: Path) -> None:
    with kallos_server(tmp_path, generator=Painter(pause_s=0.05, default_steps=200)) as client:
        waiting = HTTPConnection(client.base_url.host, client.base_url.port)
        body, headers = json.dumps({"prompt": "cat"}), {"Content-Type": "application/json"}
        waiting.request("POST", "/v1/images/generations", body, headers)
        assert until(lambda: client.get("/jobs").json()["jobs"], bool)
        waiting.close()
        jobs = until(lambda: client.get("/jobs").json()["jobs"], lambda it: it[0]["finished_at"] is not None)
        assert [job["state"] for job in jobs] == ["cancelled"]
