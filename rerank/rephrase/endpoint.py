"""Any server that speaks OpenAI's chat completions: Ollama, vLLM, llama.cpp, OpenAI and many more.

One event loop in a thread of its own serves all callers: there a deadline cancels whatever is going on, also
a name that does not resolve or a server that sends one byte a second, and leaves no thread behind.
"""

import contextlib
import hashlib
import json
import random
from collections.abc import Mapping
from threading import Lock
from typing import Any, Literal

import anyio
import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from indexer.errors import InvalidInputError
from indexer.sources.fetch import checked_endpoint
from indexer.types import JSONValue
from rerank.rephrase.chat import ChatAnswerError, ChatError, ChatTimeoutError
from rerank.rephrase.prompts import Prompt

AnswerFormat = Literal["json_schema", "json_object", "text"]
MOST_BYTES = 1 << 16  # of an answer: a rewrite takes hundreds
RETRIES = 2
FIRST_DELAY_S = 0.1  # doubles with each retry; the wait is uniform between 0 and this ("full jitter")
TOO_MANY = 429
DEFAULT_OPTIONS: Mapping[str, JSONValue] = {"temperature": 0, "max_tokens": 300}


class _PassingError(ChatError):
    """Worth another try: not connected, too many requests, or an error of the server's."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class EndpointModel:
    """The law is `rerank.rephrase.chat.ChatModel`. Connects at the first question.

    Args:
        url: The base, such as http://localhost:11434/v1.
        model: As the server names it.
        api_key: Sent as bearer token to this URL only; redirects are not followed, proxies not used.
        options: Fields of the request body beside the messages.
        answer_format: What is asked for in `response_format`; `text` asks for nothing.

    Raises InvalidInputError for a URL or a key that cannot be used; the key is never quoted.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        options: Mapping[str, JSONValue] = DEFAULT_OPTIONS,
        answer_format: AnswerFormat = "json_schema",
        rng: random.Random | None = None,
    ) -> None:
        self._url = checked_endpoint(url, "the model's").rstrip("/") + "/chat/completions"
        self._headers = {"Accept-Encoding": "identity"}  # so that MOST_BYTES bounds what is unpacked, too
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {_checked_key(api_key)}"
        self._model = model
        self._options = dict(options)
        self._format = answer_format
        self._random = rng or random.Random()
        self._opening = Lock()
        self._running = contextlib.ExitStack()
        self._portal: BlockingPortal | None = None
        self._client: httpx.AsyncClient | None = None
        settings = json.dumps([self._url, self._options, answer_format], sort_keys=True)
        self._model_id = f"{model}@{httpx.URL(url).host}/{hashlib.sha256(settings.encode()).hexdigest()[:8]}"

    @property
    def model_id(self) -> str:
        return self._model_id

    def complete(self, prompt: Prompt, timeout_s: float) -> str:
        return self._started().call(self._within, prompt, timeout_s)

    def close(self) -> None:
        with self._opening:
            if self._portal is not None and self._client is not None:
                self._portal.call(self._client.aclose)
            self._running.close()
            self._portal = self._client = None

    def _started(self) -> BlockingPortal:
        with self._opening:
            if self._portal is None:
                self._portal = self._running.enter_context(start_blocking_portal("asyncio", name="rephrase"))
                # No time limits here: the deadline of the whole covers every part of it.
                self._client = httpx.AsyncClient(
                    timeout=None, follow_redirects=False, trust_env=False, headers=self._headers
                )
            return self._portal

    async def _within(self, prompt: Prompt, timeout_s: float) -> str:
        try:
            with anyio.fail_after(timeout_s) as scope:
                return content_of(await self._persist(prompt, scope.deadline))
        except TimeoutError as error:
            raise ChatTimeoutError(f"no answer within {timeout_s:.3g} s") from error

    async def _persist(self, prompt: Prompt, deadline: float) -> bytes:
        for retry in range(RETRIES + 1):
            try:
                return await self._ask(prompt)
            except _PassingError as error:
                pause_s = max(error.wait_s, self._random.uniform(0, FIRST_DELAY_S * 2**retry))
                if retry == RETRIES or anyio.current_time() + pause_s >= deadline:
                    raise
                await anyio.sleep(pause_s)
        raise AssertionError("the last retry returns or raises")

    async def _ask(self, prompt: Prompt) -> bytes:
        assert self._client is not None
        try:
            async with self._client.stream("POST", self._url, json=self._body(prompt)) as response:
                _check_status(response)
                return await _read(response)
        except httpx.ConnectError as error:
            raise _PassingError("cannot connect") from error
        except httpx.HTTPError as error:  # its text may quote a header, and with it the key
            raise ChatError(f"the connection failed: {type(error).__name__}") from error

    def _body(self, prompt: Prompt) -> dict[str, Any]:  # JSON of any depth
        question, answer = prompt.example
        body: dict[str, Any] = {
            **self._options,
            "model": self._model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
                {"role": "user", "content": prompt.user},
            ],
        }
        if self._format == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif self._format == "json_schema":
            schema = {"name": "rephrased", "strict": True, "schema": prompt.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def content_of(body: bytes) -> str:
    """The text in a chat completion.

    Raises ChatAnswerError, and nothing else, for bytes that are none.
    """
    try:
        choice = json.loads(body)["choices"][0]
        content, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ChatAnswerError("the body is not a chat completion") from error
    if not isinstance(content, str) or not content.strip():
        raise ChatAnswerError("the completion holds no text")
    if finish == "length":
        raise ChatAnswerError("the completion was cut off: it reached max_tokens")
    return content


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == TOO_MANY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise _PassingError(f"the server answered {status}", _seconds(response.headers.get("retry-after")))
    if status != httpx.codes.OK:
        raise ChatError(f"the server answered {status}")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ChatAnswerError(f"the answer has more than {MOST_BYTES} bytes")
    return bytes(body)


def _seconds(text: str | None) -> float:
    """Retry-After in seconds; a date or nonsense counts as not given."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else 0.0


def _checked_key(key: str) -> str:
    if not key or not all("!" <= char <= "~" for char in key):
        raise InvalidInputError("the model's key is blank or holds characters that no header may have")
    return key
