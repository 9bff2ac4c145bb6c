"""Settings → the parts that they name, and no others."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexer.errors import InvalidInputError
from service.cli.main import main
from service.settings import Settings
from service.wiring import open_rephraser, open_search
from tests.indexer.tables.test_database import OPEN_FILES, open_files
from tests.support.encoder import ColourEncoder
from tests.support.llm import language_server
from tests.support.processes import until
from tests.support.server import kallos_server, served, write_pictures

KEY = "sk-very-secret"


def settings(folder: Path, **values: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, **values})


def test_a_language_model_is_asked_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with language_server() as server:
        monkeypatch.setenv("KALLOS_LLM_URL", server.url("say"))
        monkeypatch.setenv("KALLOS_LLM_MODEL", "tiny")
        monkeypatch.setenv("KALLOS_LLM_API_KEY", KEY)
        monkeypatch.setenv("KALLOS_LLM_TIMEOUT_S", "20")
        monkeypatch.setenv("KALLOS_LLM_OPTIONS", '{"seed": 7}')
        chosen = settings(tmp_path)
        with closing(open_rephraser(chosen, ColourEncoder())) as rephraser:
            assert [rephraser.rephrase("red card", "detail").outcome for _ in range(2)] == ["ok", "cached"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.bodies[0]["seed"] == 7
    assert KEY not in repr(chosen)
    assert not any(KEY in path.read_text() for path in (tmp_path / "rewrites").iterdir())


def test_without_a_language_model_nothing_is_written(tmp_path: Path) -> None:
    with closing(open_rephraser(settings(tmp_path), ColourEncoder())) as rephraser:
        assert rephraser.rephrase("red card", "auto").outcome == "not_configured"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "values",
    [
        {"llm_url": "http://localhost:1/v1"},
        {"llm_model": "tiny"},
        {"llm_model": "local:smollm2", "llm_url": "http://localhost:1/v1"},
        {"llm_model": "local:/no/such/model.gguf"},
        {"llm_model": "tiny", "llm_url": "localhost:1"},
    ],
)
def test_settings_that_lead_nowhere_are_refused(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        open_rephraser(settings(tmp_path, **values), ColourEncoder())


UNUSABLE = {
    "KALLOS_GENERATOR": "diffusers:org/none",
    "KALLOS_GENERATE_BLOCKLIST": "/no/such/list",
    "KALLOS_GENERATE_CLASSIFIER": "tests.service.test_wiring:broken",
    "KALLOS_SCORER": "tests.service.test_wiring:broken",
    "KALLOS_LLM_MODEL": "local:/no/such/model.gguf",
}


def broken() -> None:
    """A part of the user's own, whose weights are not there."""
    raise RuntimeError("no weights")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with pictures."""
    root = tmp_path_factory.mktemp("indexed")
    write_pictures(root / "pictures")
    assert main(["index", str(root / "pictures"), "--data-dir", str(root / "data")]) == 0
    return root / "data"


def kallos(*arguments: object, data: Path) -> int:
    return main([*map(str, arguments), "--data-dir", str(data)])


READING = [
    ("search", "a red card"),
    ("search", "a red card", "--sheet", "{scratch}/sheet.png"),
    ("rank",),
    ("stats",),
    ("verify",),
    ("axes", "list"),
    ("axes", "show", "brightness"),
    ("axes", "export", "brightness", "{scratch}/brightness.safetensors"),
    ("compact", "--plan"),
]


@pytest.mark.parametrize("setting", UNUSABLE)
@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_what_a_command_does_not_use_does_not_stop_it(
    indexed: Path, tmp_path: Path, setting: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, UNUSABLE[setting])
    assert kallos(*(word.format(scratch=tmp_path) for word in arguments), data=indexed) == 0


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (("generate", "a fox"), "KALLOS_GENERATOR"),
        (("generate", "a fox"), "KALLOS_GENERATE_BLOCKLIST"),
        (("generate", "a fox"), "KALLOS_GENERATE_CLASSIFIER"),
        (("index", "{pictures}"), "KALLOS_SCORER"),
        (("axes", "measure"), "KALLOS_SCORER"),
        (("search", "a fox", "--rephrase", "auto"), "KALLOS_LLM_MODEL"),
    ],
)
def test_what_a_command_uses_does(
    indexed: Path,
    arguments: tuple[str, ...],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(setting, UNUSABLE[setting])
    words = [word.format(pictures=indexed.parent / "pictures") for word in arguments]
    assert kallos(*words, data=indexed) != 0
    assert UNUSABLE[setting].removeprefix("diffusers:").removeprefix("local:") in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        *READING,
        ("delete", "1"),
        ("compact",),
        ("axes", "measure"),
        ("axes", "fit", "warm", "--field", "taken_at"),
        ("axes", "delete", "warm"),
        ("axes", "import", "{scratch}/file"),
        ("axes", "evaluate", "warm", "--labels", "{scratch}/file"),
        ("generator", "show"),
        ("generator", "rollback"),
        ("generator", "use", "{scratch}/no-run"),
        ("backup", "{scratch}/backup"),
        ("restore", "{scratch}/backup"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_collection_makes_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "file").write_text("id,value\n1,2\n")
    status = kallos(*(word.format(scratch=scratch) for word in arguments), data=tmp_path / "data")
    assert status == (0 if arguments == ("generator", "show") else 1)
    assert not (tmp_path / "data").exists()
    assert [path.name for path in scratch.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def crippled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server all of whose optional parts are unusable."""
    indexed = tmp_path_factory.mktemp("crippled")
    with kallos_server(indexed) as client:
        made = client.post("/generate", json={"prompt": "a red card"}).json()
        done(client, made["id"])
    options = {name.removeprefix("KALLOS_").lower(): value for name, value in UNUSABLE.items()}
    with served(settings(indexed / "data", **options)) as client:
        yield client


def done(client: httpx.Client, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        return found

    return until(look, lambda job: job["finished_at"] is not None)


def test_a_server_with_unusable_parts_answers_searches(crippled: httpx.Client) -> None:
    assert len(crippled.post("/search", json={"query": "a red card"}).json()["hits"]) == 10
    assert crippled.post("/rank", json={"axes": {"brightness": 1}}).status_code == 200
    assert crippled.get("/metrics").status_code == 200
    (kept,) = crippled.get("/generations").json()["generations"]
    assert crippled.get(f"/generations/{kept['id']}/content").status_code == 200


def test_it_says_what_it_cannot_do(crippled: httpx.Client) -> None:
    parts = crippled.get("/health/ready").json()["parts"]
    assert {name: part["available"] for name, part in parts.items()} == dict.fromkeys(
        ("generation", "indexing", "rephrasing"), False
    )
    assert "KALLOS_GENERATOR is diffusers:org/none" in parts["generation"]["reason"]
    assert "KALLOS_SCORER" in parts["indexing"]["reason"]
    assert "no/such/model.gguf" in parts["rephrasing"]["reason"]
    refused = crippled.post("/generate", json={"prompt": "a fox"})
    assert (refused.status_code, refused.json()["code"]) == (503, "generation_unavailable")
    refused = crippled.post("/images", json={"images": [{"url": "http://localhost:1/a.png"}]})
    assert (refused.status_code, refused.json()["code"]) == (503, "indexing_unavailable")
    refused = crippled.post("/v1/images/generations", json={"prompt": "a fox"})
    assert refused.status_code == 503
    assert crippled.get("/sdapi/v1/sd-models").status_code == 503


def test_a_miss_there_is_answered_without_a_picture(crippled: httpx.Client) -> None:
    body = {
        "query": "a purple cow",
        "generate_if_no_match": True,
        "filter": {"match": {"caption": "no such thing"}},
    }
    answer = crippled.post("/search", json=body).json()
    assert (answer["miss"]["outcome"], answer["miss"]["code"]) == ("refused", "generation_unavailable")


def test_a_query_there_is_searched_as_it_is(crippled: httpx.Client) -> None:
    answer = crippled.post("/search", json={"query": "a red card", "rephrase": "detail"}).json()
    assert answer["rewrite"]["outcome"] == "not_configured"
    assert len(answer["hits"]) == 10


def test_a_usable_server_says_that_it_is(tmp_path: Path) -> None:
    with kallos_server(tmp_path) as client:
        parts = client.get("/health/ready").json()["parts"]
    assert parts["generation"] == parts["indexing"] == {"available": True, "reason": None}
    assert "KALLOS_LLM_MODEL" in parts["rephrasing"]["reason"]


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="there is no /proc to count open files in")
def test_what_was_opened_is_closed_when_opening_fails_half_way(indexed: Path) -> None:
    with open_search(settings(indexed), rephrases=True):
        pass  # libraries open files of their own, once
    before = open_files()
    wrong = settings(indexed, llm_model=UNUSABLE["KALLOS_LLM_MODEL"])
    with pytest.raises(InvalidInputError) as kept, open_search(wrong, rephrases=True):
        raise AssertionError
    assert open_files() == before, kept


@pytest.mark.parametrize(
    ("setting", "value"),
    [("KALLOS_PORT", "abc"), ("KALLOS_GENERATOR_OFFLOAD", "some"), ("KALLOS_LLM_OPTIONS", "{no JSON")],
)
def test_a_setting_that_makes_no_sense_is_named_in_one_line(
    tmp_path: Path,
    setting: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(setting, value)
    assert kallos("stats", data=tmp_path / "data") == 2
    message = capsys.readouterr().err
    assert setting.removeprefix("KALLOS_").lower() in message.lower()
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("name", "warned"), [("KALLOS_LOG_QUERIES", 0), ("KALLOS_LOG_WISHES", 1)])
def test_the_former_name_of_a_setting_still_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, warned: int
) -> None:
    assert not Settings().log_queries
    monkeypatch.setenv(name, "true")
    assert Settings().log_queries
    assert caplog.text.count("KALLOS_LOG_WISHES is called KALLOS_LOG_QUERIES now") == warned
