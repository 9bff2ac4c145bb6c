"""The law of `rerank.rephrase.chat.ChatModel`: a model behind HTTP, and one in this process."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rerank.rephrase.answers import parse
from rerank.rephrase.chat import ChatError, ChatModel, ChatTimeoutError
from rerank.rephrase.compose import Addition
from rerank.rephrase.endpoint import EndpointModel
from rerank.rephrase.local import LocalModel
from rerank.rephrase.prompts import prompt_for
from tests.support.llm import LanguageServer, language_server
from tests.support.tiny_llm import write_tiny_llm

PROMPT = prompt_for("detail", "red card")
PATIENCE_S = 100.0  # a deadline that no test is meant to reach
ANSWER = '{"description": "birds"}'
BIRDS = ['"', "b", "i", "r", "d", "s", '"}', '"']
ENDLESS = ['"', "a", "b", "a"]
KEY = "sk-very-secret"
KINDS = ("endpoint", "local")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def server() -> Iterator[LanguageServer]:
    with language_server() as state:
        state.answer = ANSWER
        yield state


Make = Callable[[str], ChatModel]


@pytest.fixture
def well(server: LanguageServer, tmp_path: Path) -> Make:
    """A model that answers with ANSWER."""

    def make(kind: str) -> ChatModel:
        if kind == "endpoint":
            return EndpointModel(server.url("say"), "tiny", api_key=KEY)
        return LocalModel(f"local:{write_tiny_llm(tmp_path / 'well', BIRDS)}")

    return make


@pytest.fixture
def broken(server: LanguageServer, tmp_path: Path) -> Make:
    """A model that cannot answer."""

    def make(kind: str) -> ChatModel:
        if kind == "endpoint":
            return EndpointModel(server.url("401"), "tiny", api_key=KEY)
        folder = write_tiny_llm(tmp_path / "broken", BIRDS)
        (folder / "model.safetensors").write_bytes(b"damaged")
        return LocalModel(f"local:{folder}")

    return make


@pytest.fixture
def other(server: LanguageServer, tmp_path: Path) -> Make:
    """A model that writes something else than `well` may."""

    def make(kind: str) -> ChatModel:
        if kind == "endpoint":
            return EndpointModel(server.url("say"), "another", api_key=KEY)
        return LocalModel(f"local:{write_tiny_llm(tmp_path / 'other', ENDLESS)}")

    return make


@every_kind
def test_the_answer_comes_back_as_it_was_written_and_again(well: Make, kind: str) -> None:
    with closing(well(kind)) as model:
        answers = [model.complete(PROMPT, PATIENCE_S) for _ in range(2)]
    assert answers == [ANSWER, ANSWER]
    assert isinstance(parse("detail", answers[0]), Addition)


@every_kind
def test_without_time_left_it_is_a_timeout(well: Make, kind: str) -> None:
    with closing(well(kind)) as model, pytest.raises(ChatTimeoutError) as caught:
        model.complete(PROMPT, 0.0)
    assert caught.value.outcome == "timeout"


@every_kind
def test_it_raises_chat_errors_and_nothing_else_and_goes_on_saying_so(broken: Make, kind: str) -> None:
    with closing(broken(kind)) as model:
        for _ in range(2):
            with pytest.raises(ChatError) as caught:
                model.complete(PROMPT, PATIENCE_S)
            assert not isinstance(caught.value, ChatTimeoutError)
            assert str(caught.value)
            assert KEY not in str(caught.value)


@every_kind
def test_many_threads_may_ask_it(well: Make, kind: str) -> None:
    with closing(well(kind)) as model, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.complete(PROMPT, PATIENCE_S), range(8)))
    assert answers == [ANSWER] * 8


@every_kind
def test_its_name_is_that_of_its_answers_and_holds_no_secret(well: Make, other: Make, kind: str) -> None:
    one, another = well(kind), other(kind)
    with closing(one), closing(another):
        assert one.model_id == one.model_id != another.model_id
        assert KEY not in one.model_id
        json.dumps(one.model_id)  # names a file of the cache


@every_kind
def test_closing_it_leaves_no_thread_behind_and_may_be_done_twice_and_without_a_question(
    well: Make, kind: str
) -> None:
    well(kind).close()
    before = set(threading.enumerate())
    model = well(kind)
    model.complete(PROMPT, PATIENCE_S)
    model.close()
    model.close()
    ours = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("rephrase")}
    assert ours == set()
