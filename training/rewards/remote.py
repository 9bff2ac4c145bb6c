"""A reward that another process computes, over HTTP. The wire format is documented in docs/rewards.md.

Each request has a deadline for all of it, name resolution and retries included, and at the deadline it is
cancelled whatever it waits for. Redirects are not followed, proxies are not used.

Dimension key   N pictures
"""

import base64
import json
import math
from collections.abc import Sequence

import anyio
import httpx
import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from indexer.errors import InvalidInputError, TookTooLongError, UnavailableError
from indexer.imaging.enlarge import to_png
from indexer.sources.fetch import checked_endpoint
from training.rewards.reward import RewardCard

FIRST_PAUSE_S = 0.2  # before the first retry; doubles with each
LONGEST_PAUSE_S = 10.0
MOST_BYTES = 1 << 20  # of an answer: thousands of numbers
TOO_MANY = 429
QUICK = 1  # effort of PNG: a file that is sent once need not be small


class _PassingError(UnavailableError):
    """Worth another try: not connected, too many requests, or an error of the server's."""


class RemoteReward:
    """Asks the server at `url`, `batch` pictures a request, one request after the other."""

    def __init__(self, url: str, card: RewardCard, *, batch: int, timeout_s: float) -> None:
        if batch < 1 or not 0 < timeout_s < math.inf:
            raise InvalidInputError(f"batch is {batch}, timeout_s is {timeout_s}: expected positive numbers")
        self._url = checked_endpoint(url, "the reward server's")
        self._batch = batch
        self._timeout_s = timeout_s
        self._card = card

    @property
    def card(self) -> RewardCard:
        return self._card

    def score(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        """Raises TookTooLongError at the deadline; UnavailableError for any other failure."""
        return anyio.run(self._all, pictures, prompts)

    async def _all(
        self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]], prompts: Sequence[str]
    ) -> Float64[ndarray, " n"]:
        parts = []
        # No time limits here: the deadline covers every part of a request.
        async with httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=False) as client:
            for start in range(0, len(pictures), self._batch):
                end = start + self._batch
                parts.append(await self._some(client, pictures[start:end], prompts[start:end]))
        return np.concatenate(parts)

    async def _some(
        self,
        client: httpx.AsyncClient,
        pictures: Sequence[UInt8[ndarray, "_ _ 3"]],
        prompts: Sequence[str],
    ) -> Float64[ndarray, " n"]:
        body = json.dumps({"pictures": [_png(picture) for picture in pictures], "prompts": list(prompts)})
        failure = "no answer"
        pause_s = FIRST_PAUSE_S
        try:
            with anyio.fail_after(self._timeout_s):
                while True:
                    try:
                        answer = await _ask(client, self._url, body.encode())
                        return scores_of(answer, len(pictures), self._url)
                    except _PassingError as error:
                        failure = str(error)
                    await anyio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except TimeoutError as error:
            raise TookTooLongError(f"{self._url}: {failure} within {self._timeout_s:g} s") from error


def scores_of(body: bytes, wanted: int, url: str) -> Float64[ndarray, " n"]:
    """The scores in an answer; UnavailableError, and nothing else, where they are not what was asked for."""
    try:
        scores = json.loads(body)["scores"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UnavailableError(f"{url} answered {body[:80]!r}: expected a JSON object with scores") from error
    if not isinstance(scores, list) or len(scores) != wanted:
        raise UnavailableError(f"{url} answered scores {scores!r:.80}: expected a list of {wanted} numbers")
    if not all(type(score) in (int, float) and abs(score) < math.inf for score in scores):
        raise UnavailableError(f"{url} answered scores {scores!r:.80}: expected finite numbers")
    try:
        return np.array(scores, np.float64)
    except OverflowError as error:  # JSON knows integers of any size
        raise UnavailableError(f"{url} answered a score that is too large") from error


async def _ask(client: httpx.AsyncClient, url: str, body: bytes) -> bytes:
    # Uncompressed, so that MOST_BYTES bounds what is unpacked, too.
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    answer = bytearray()
    try:
        async with client.stream("POST", url, content=body, headers=headers) as response:
            status = response.status_code
            if status == TOO_MANY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise _PassingError(f"it answered {status}")
            if status != httpx.codes.OK:
                raise UnavailableError(f"{url} answered {status}: expected 200")
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MOST_BYTES:
                    raise UnavailableError(f"{url} answered more than {MOST_BYTES} bytes")
    except httpx.HTTPError as error:
        raise _PassingError(f"the connection failed ({type(error).__name__})") from error
    return bytes(answer)


def _png(pixels_HW3: UInt8[ndarray, "h w 3"]) -> str:
    return base64.b64encode(to_png(pixels_HW3, level=QUICK)).decode()
