"""Where the time of a search request goes: stages that the server tells, and its work on JSON, done again."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.load import Client, get
from service.answer_schemas import SearchAnswer
from service.search_schemas import SearchRequest

FAST_END = 0.05  # of all times: what other programs take on the same cores is not a cost of the request


def stages_us(port: int, requests: Sequence[bytes]) -> dict[str, float]:
    """Microseconds of one request alone, the fast end of many.

    `round_trip` is what the client waits. `engine …` are stages of the search, `engine total` their sum;
    `empty` is the round trip of a request that does nothing; the others are parts of what is between.
    """
    client = Client(port)
    took: dict[str, list[float]] = {}
    for request in requests:
        took.setdefault("round_trip", []).append(_timed(partial(client.ask, request)))
        for stage, ms in json.loads(client.body)["timings_ms"].items():
            took.setdefault(f"engine {stage}", []).append(1e3 * ms)
        took.setdefault("empty", []).append(_timed(partial(client.ask, get("/health/live"))))
    client.ask(requests[0])
    asked = requests[0].partition(b"\r\n\r\n")[2]
    fields = json.loads(asked)
    checked = SearchRequest.model_validate(fields)
    answer = SearchAnswer.model_validate_json(client.body)
    parts: dict[str, Callable[[], object]] = {
        "read JSON": partial(json.loads, asked),
        "check it": partial(SearchRequest.model_validate, fields),
        "to a query": checked.to_query,
        "write JSON": answer.to_response,
    }
    for name, work in parts.items():
        took[name] = [_timed(work) for _ in requests]
    client.socket.close()
    return {name: round(float(np.quantile(times, FAST_END)), 1) for name, times in took.items()}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - started)
