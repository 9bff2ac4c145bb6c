"""Rephrasing with a safety net: whatever happens to the model, the search goes on, on time, and says so."""

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from indexer.protocols import Encoder
from rerank.rephrase.answers import Refusal, parse
from rerank.rephrase.auto import Choice, choose
from rerank.rephrase.breaker import Breaker, BreakerState
from rerank.rephrase.cache import AnswerCache, cache_key
from rerank.rephrase.chat import ChatError, ChatModel
from rerank.rephrase.compose import Addition, compose, repeat
from rerank.rephrase.drift import DriftGuard
from rerank.rephrase.prompts import VERSION, prompt_for
from rerank.rephrase.types import AddingVariant, Mode, Outcome, Rewrite, WrittenVariant

WORKERS = 8  # queries rephrased at once; more wait, and time out if need be
DEADLINE_MARGIN_S = 0.02  # kept back from the model's time for the checks that follow


@dataclass(frozen=True, slots=True)
class Status:
    """For people and for /metrics."""

    model_id: str | None
    breaker: BreakerState
    outcomes: Mapping[Outcome, int]  # since the start


@dataclass(frozen=True, slots=True)
class _Answer:
    outcome: Outcome
    reason: str
    addition: Addition | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """A `Rewrite` before it is known how long it took."""

    outcome: Outcome
    reason: str
    text: str | None = None
    similarity: float | None = None


class Rephraser:
    """`rephrase` never raises for trouble with the model, and never takes longer than `timeout_s`.

    Every step runs in a worker thread: also the first calibration of the drift guard, and loading a local
    model. Safe to call from threads. Close it, and it closes the model.

    Args:
        encoder: Says what fits, and how alike two texts are.
        model: None: only `original` and `repeat` work.
        cache: None: every question is asked anew.
        timeout_s: For one query, all in all.
        breaker: Decides when the model is not asked for a while.
        no_model: Said where one would be asked and `model` is None.
    """

    def __init__(
        self,
        encoder: Encoder,
        model: ChatModel | None,
        *,
        cache: AnswerCache | None = None,
        timeout_s: float = 2.0,
        breaker: Breaker | None = None,
        no_model: str = "there is no language model",
    ) -> None:
        self._encoder = encoder
        self._model = model
        self._cache = cache
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._no_model = no_model
        self._drift = DriftGuard(encoder)
        self._workers = ThreadPoolExecutor(WORKERS, "rephrase")
        self._counting = Lock()
        self._outcomes: Counter[Outcome] = Counter()

    def close(self) -> None:
        self._workers.shutdown()
        if self._model is not None:
            self._model.close()

    @property
    def problem(self) -> str | None:
        """Why no language model is asked; None: one is."""
        return self._no_model if self._model is None else None

    @property
    def status(self) -> Status:
        with self._counting:
            outcomes = dict(self._outcomes)
        return Status(None if self._model is None else self._model.model_id, self._breaker.state, outcomes)

    def rephrase(self, text: str, mode: Mode) -> Rewrite:
        """`text` with more of what makes its pictures beautiful, or the reason why not."""
        started = time.monotonic()
        text = text.encode("utf-8", "replace").decode()  # JSON can hold half of a character
        choice = choose(text) if mode == "auto" else Choice(mode, "the original was asked for")
        if choice.variant == "original":
            result = _Result("not_needed", choice.reason)
        else:
            result = self._on_time(text, choice.variant, started + self._timeout_s)
        with self._counting:
            self._outcomes[result.outcome] += 1
        milliseconds = (time.monotonic() - started) * 1e3
        return Rewrite(
            mode, choice.variant, result.outcome, result.text, result.reason, milliseconds, result.similarity
        )

    def _on_time(self, text: str, variant: AddingVariant, deadline: float) -> _Result:
        work = self._workers.submit(self._work, text, variant, deadline)
        try:
            return work.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            work.cancel()  # if it still waits for a worker; else the model is under the same deadline
            return _Result("timeout", f"there was no answer within {self._timeout_s:g} s")

    def _work(self, text: str, variant: AddingVariant, deadline: float) -> _Result:
        if not text.strip():
            return _Result("not_needed", "there are no words in it")
        if variant == "repeat":
            return self._composed(text, _Answer("ok", "it stands there twice", repeat(text)), None)
        if not self._encoder.fits(f"{text}, a"):
            return _Result("not_needed", "it fills all that the encoder reads")
        answer = self._answer(text, variant, deadline)
        if answer.addition is None:
            return _Result(answer.outcome, answer.reason)
        similarity = self._drift.similarity(text, answer.addition.text)
        if similarity < self._drift.bound:
            reason = f"the addition is as far from it as from an unrelated query: {answer.addition.text}"
            return _Result("drifted", reason, similarity=similarity)
        return self._composed(text, answer, similarity)

    def _composed(self, text: str, answer: _Answer, similarity: float | None) -> _Result:
        assert answer.addition is not None
        composed = compose(text, answer.addition, self._encoder.fits)
        if composed is None:
            return _Result("not_needed", "the encoder has no room for an addition", similarity=similarity)
        return _Result(answer.outcome, answer.reason, composed, similarity)

    def _answer(self, text: str, variant: WrittenVariant, deadline: float) -> _Answer:
        """From the cache, or else from the model."""
        if self._model is None:
            return _Answer("not_configured", self._no_model)
        key = cache_key(self._model.model_id, variant, VERSION, text)
        known = None if self._cache is None else self._cache.get(key)
        if known is not None and isinstance(addition := parse(variant, known), Addition):
            return _Answer("cached", f"{self._model.model_id} wrote it before", addition)
        if not self._breaker.admits():
            return _Answer("breaker_open", "the language model failed too often lately")
        try:
            written = self._ask(self._model, text, variant, deadline)
        except ChatError as error:
            return _Answer(error.outcome, str(error))
        read = parse(variant, written)
        if isinstance(read, Refusal):
            return _Answer("refused_answer", read.reason)
        if self._cache is not None:
            self._cache.put(key, written)
        return _Answer("ok", f"{self._model.model_id} wrote it", read)

    def _ask(self, model: ChatModel, text: str, variant: WrittenVariant, deadline: float) -> str:
        """Tell the breaker how it went. What was written is not its concern: that depends on the query."""
        try:
            left_s = max(0.0, deadline - DEADLINE_MARGIN_S - time.monotonic())
            written = model.complete(prompt_for(variant, text), left_s)
        except BaseException:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return written
