"""Settings → the parts that they name."""

from contextlib import closing
from pathlib import Path

import pytest

from indexer.errors import InvalidInputError
from service.settings import Settings
from service.wiring import open_rephraser
from tests.support.encoder import ColourEncoder
from tests.support.llm import language_server

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
