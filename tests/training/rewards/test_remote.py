import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from indexer.errors import InvalidInputError, TookTooLongError, UnavailableError
from tests.support.generated_pictures import pictures
from tests.support.reward_server import RewardServer, reward_server
from training.rewards.registry import kind_of
from training.rewards.remote import RemoteReward, scores_of

CARD = kind_of("remote:http://localhost")[0].card
PROMPTS = ["one", "one two", "", "a b c d", "e"]


@pytest.fixture
def server() -> Iterator[RewardServer]:
    with reward_server() as state:
        yield state


def remote(url: str, *, batch: int = 16, timeout_s: float = 20.0) -> RemoteReward:
    return RemoteReward(url, CARD, batch=batch, timeout_s=timeout_s)


def test_pictures_and_prompts_arrive_exactly_and_scores_come_back_in_order(server: RewardServer) -> None:
    score_N = remote(server.url("well"), batch=2).score(pictures(), PROMPTS)
    expected_N = [
        picture[..., 0].mean() + len(prompt.split())
        for picture, prompt in zip(pictures(), PROMPTS, strict=True)
    ]
    np.testing.assert_allclose(score_N, expected_N, rtol=1e-12)
    assert [body["prompts"] for body in server.bodies] == [PROMPTS[:2], PROMPTS[2:4], PROMPTS[4:]]
    sent = [picture for body in server.bodies for picture in body["pictures"]]
    for picture, text in zip(pictures(), sent, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), picture)


def test_a_busy_server_is_asked_again(server: RewardServer) -> None:
    assert remote(server.url("busy-then-well")).score(pictures()[:1], ["a"]).shape == (1,)
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("404", "answered 404: expected 200"),
        ("garbage", "expected a JSON object with scores"),
        ("list", "expected a JSON object with scores"),
        ("short", "expected a list of 2 numbers"),
        ("text", "expected finite numbers"),
        ("nan", "expected finite numbers"),
        ("true", "expected finite numbers"),
        ("vast", "answered"),
        ("huge", "answered more than 1048576 bytes"),
    ],
)
def test_an_answer_that_is_none_is_said_at_once(behaviour: str, message: str, server: RewardServer) -> None:
    with pytest.raises(UnavailableError, match=message):
        remote(server.url(behaviour)).score(pictures()[:2], PROMPTS[:2])
    assert len(server.bodies) == 1


def test_the_deadline_ends_a_slow_request(server: RewardServer) -> None:
    with pytest.raises(TookTooLongError, match=r"no answer within 0.2 s"):
        remote(server.url("slow"), timeout_s=0.2).score(pictures()[:1], ["a"])


def test_at_the_deadline_the_last_failure_is_told(server: RewardServer) -> None:
    with pytest.raises(TookTooLongError, match=r"it answered 500 within 0.3 s"):
        remote(server.url("500"), timeout_s=0.3).score(pictures()[:1], ["a"])
    with pytest.raises(TookTooLongError, match=r"ConnectError\) within 0.3 s"):
        remote("http://127.0.0.1:1/", timeout_s=0.3).score(pictures()[:1], ["a"])


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "scores", "http://me:secret@host/"])
def test_a_url_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="URL"):
        remote(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as raised:
        remote("http://me:secret@host/")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("batch", "timeout_s"), [(0, 1.0), (1, 0.0), (1, float("inf"))])
def test_limits_are_positive(batch: int, timeout_s: float) -> None:
    with pytest.raises(InvalidInputError, match="expected positive numbers"):
        remote("http://localhost/", batch=batch, timeout_s=timeout_s)


def test_integers_are_numbers_too() -> None:
    assert scores_of(b'{"scores": [1, -2.5]}', 2, "url").tolist() == [1.0, -2.5]
