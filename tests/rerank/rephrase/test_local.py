"""A model in this process: begun for it, stopped at its brace or at the deadline, never downloaded."""

from pathlib import Path

import pytest

from indexer.errors import InvalidInputError
from rerank.rephrase import local
from rerank.rephrase.answers import parse
from rerank.rephrase.chat import ChatError, ChatTimeoutError
from rerank.rephrase.compose import Addition
from rerank.rephrase.local import LocalModel
from rerank.rephrase.prompts import prompt_for
from tests.support.processes import PATIENCE_S
from tests.support.tiny_llm import write_tiny_llm

PROMPT = prompt_for("detail", "red card")
BIRDS = ['"', "b", "i", "r", "d", "s", '"}', '"']  # after the brace it would begin anew
ENDLESS = ['"', "a", "b", "a"]


def test_it_goes_on_from_the_opening_and_ends_with_the_brace(tmp_path: Path) -> None:
    model = LocalModel(f"local:{write_tiny_llm(tmp_path, BIRDS)}")
    answer = model.complete(PROMPT, PATIENCE_S)
    assert answer == '{"description": "birds"}'
    assert isinstance(parse("detail", answer), Addition)
    assert model.complete(PROMPT, PATIENCE_S) == answer


def test_a_model_that_never_ends_is_stopped_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MOST_NEW_TOKENS", 10**7)
    model = LocalModel(f"local:{write_tiny_llm(tmp_path, ENDLESS)}")
    with pytest.raises(ChatTimeoutError):
        model.complete(PROMPT, 1.0)
    with pytest.raises(ChatTimeoutError):
        model.complete(PROMPT, 0.0)


def test_an_answer_without_an_end_is_not_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_NEW_TOKENS", 3)
    model = LocalModel(f"local:{write_tiny_llm(tmp_path, ENDLESS)}")
    assert model.complete(PROMPT, PATIENCE_S) == '{"description": "aba'


def test_a_damaged_model_is_an_error_of_the_model(tmp_path: Path) -> None:
    write_tiny_llm(tmp_path, BIRDS)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ChatError, match="does not work"):
        LocalModel(f"local:{tmp_path}").complete(PROMPT, PATIENCE_S)


def test_other_weights_have_another_name(tmp_path: Path) -> None:
    models = [LocalModel(f"local:{write_tiny_llm(tmp_path / name, BIRDS)}") for name in ("a", "b")]
    assert len({model.model_id for model in models}) == 2


@pytest.mark.parametrize("name", ["nothing", "", "pickle.bin"])
def test_names_that_lead_to_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "pickle.bin").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="no local model"):
        LocalModel(f"local:{tmp_path / name}")
