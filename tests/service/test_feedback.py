"""What people wanted: recorded where it is switched on, and turned into prompts."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexer.collection.collection import DATABASE
from indexer.tables.database import Database
from indexer.tables.interactions import Interaction, InteractionLog
from rerank.generate.safety import Blocklist
from tests.support.painter import Painter
from tests.support.processes import until
from tests.support.server import kallos_server
from training.prompts.from_log import TYPING_S, WantedPrompt, counted, prompts_from_log

NOTHING = {"match": {"camera": "none"}}


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[httpx.Client]:
    with kallos_server(tmp_path, generator=Painter(), log_queries=True) as client:
        yield client


def logged(root: Path) -> list[Interaction]:
    database = Database(root / "data" / DATABASE, read_only=True)
    try:
        return InteractionLog(database, "default").all()
    finally:
        database.close()


def test_misses_clicks_and_promotions_become_prompts(recording: httpx.Client, tmp_path: Path) -> None:
    recording.post("/search", json={"query": "A purple Cow", "filter": NOTHING})
    wish = {"query": "a purple  cow", "filter": NOTHING, "generate_if_no_match": True}
    job = recording.post("/search", json=wish).json()["job"]["id"]
    result = until(lambda: recording.get(f"/jobs/{job}").json(), lambda it: it["state"] == "succeeded")
    (made,) = result["result"]["generations"]
    image = recording.post(f"/generations/{made}/promote").json()["id"]
    recording.post(f"/generations/{made}/promote")  # changes nothing
    hit = recording.post("/search", json={"query": "a red card", "match_threshold": 0}).json()["hits"][0][
        "id"
    ]
    click = {"query": "a red card", "image": hit, "action": "click"}
    answer = recording.post("/feedback", json=click)
    assert (answer.status_code, answer.json()) == (202, {"recorded": True})

    rows = [(one.kind, one.words, one.image_id, one.generation) for one in logged(tmp_path)]
    assert rows == [
        ("miss", "A purple Cow", None, None),
        ("miss", "a purple cow", None, None),
        ("promotion", "a purple cow", image, made),
        ("click", "a red card", hit, None),
    ]
    cow = WantedPrompt("A purple Cow", {"miss": 2, "promotion": 1})  # its job is one of the misses
    card = WantedPrompt("a red card", {"click": 1})
    data = tmp_path / "data"
    assert prompts_from_log(data) == [cow, card]
    assert prompts_from_log(data, least=2) == [cow]
    assert prompts_from_log(data, blocklist=Blocklist(["purple"])) == [card]
    assert prompts_from_log(data, collection="other") == []


def test_without_the_setting_only_the_jobs_of_misses_are_known(tmp_path: Path) -> None:
    with kallos_server(tmp_path, generator=Painter()) as client:
        wish = {"query": "a purple cow", "filter": NOTHING, "generate_if_no_match": True}
        client.post("/search", json=wish).raise_for_status()
        hit = client.get("/images").json()["images"][0]["id"]
        click = {"query": "a red card", "image": hit, "action": "click"}
        answer = client.post("/feedback", json=click)
        assert (answer.status_code, answer.json()) == (202, {"recorded": False})
        assert prompts_from_log(tmp_path / "data") == [WantedPrompt("a purple cow", {"started": 1})]
    assert logged(tmp_path) == []
    assert prompts_from_log(tmp_path / "data") == [WantedPrompt("a purple cow", {"started": 1})]


def test_nonsense_is_refused(recording: httpx.Client, tmp_path: Path) -> None:
    good = {"query": "a cow", "image": 1, "action": "click"}
    changes = (
        {"query": ""},
        {"query": " "},
        {"query": "x" * 2001},
        {"image": 0},
        {"image": "one"},
        {"action": "stare"},
        {"address": "::1"},
    )
    for change in changes:
        answer = recording.post("/feedback", json=good | change)
        assert answer.status_code == 422, change
        assert answer.headers["content-type"] == "application/problem+json"
    unknown = recording.post("/feedback", json=good | {"image": 10_000})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert logged(tmp_path) == []


def test_a_miss_while_typing_does_not_count() -> None:
    misses = [
        Interaction("miss", "a pur", at=10.0),
        Interaction("click", "a pur", at=10.5),  # a click is meant
        Interaction("miss", "A purple", at=11.0),
        Interaction("miss", "a purple cow", at=12.0),
        Interaction("miss", "a purple cow", at=12.5),  # asked again
        Interaction("miss", "a purple cow with a hat", at=12.5 + 2 * TYPING_S),
    ]
    assert counted(misses, []) == [
        WantedPrompt("a pur", {"click": 1}),
        WantedPrompt("a purple cow", {"miss": 2}),
        WantedPrompt("a purple cow with a hat", {"miss": 1}),
    ]


def test_words_that_are_no_prompt_change_no_answer(recording: httpx.Client, tmp_path: Path) -> None:
    answer = recording.post("/search", json={"query": "x" * 9000, "filter": NOTHING})
    assert (answer.status_code, answer.json()["hits"]) == (200, [])
    assert logged(tmp_path) == []
