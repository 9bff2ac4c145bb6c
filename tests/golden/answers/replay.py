"""Asking a store over REST, and asking it again what was asked before."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.golden.answers.stores import Store

LEARNING_S = 120.0


@dataclass(frozen=True, slots=True)
class Step:
    """A request and its answer. `cursor_of`: the step whose cursor it sends, whatever that cursor says."""

    store: str
    number: int
    method: str
    path: str
    body: dict[str, Any] | None
    cursor_of: int | None
    status: int
    answer: Any

    @classmethod
    def of_line(cls, line: str) -> "Step":
        return cls(**json.loads(line))

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)


class Session:
    """A running service; `ask` remembers each step."""

    def __init__(self, client: TestClient, store: str) -> None:
        self.steps: list[Step] = []
        self._client = client
        self._store = store

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, cursor_of: int | None = None
    ) -> Step:
        """Send it. After a step whose answer was the last page, the request goes out without a cursor."""
        cursor = None if cursor_of is None else self.steps[cursor_of].answer.get("cursor")
        sent, query = body, {}
        if cursor is not None and body is not None:
            sent = body | {"cursor": cursor}
        elif cursor is not None:
            query = {"cursor": cursor}
        url = self._client.base_url.join(path)
        response = self._client.request(method, url.copy_merge_params(query), json=sent)
        answer = response.json() if response.content else None
        number = len(self.steps)
        step = Step(self._store, number, method, path, body, cursor_of, response.status_code, answer)
        self.steps.append(step)
        return step

    def has(self, image_id: int) -> bool:
        """Whether a picture is there. Nothing is remembered of it."""
        return self._client.get(f"/images/{image_id}").status_code == 200

    def again(self, steps: Sequence[Step]) -> list[Step]:
        """The same requests in the same order, with the cursors that are answered now.

        They are of a version that searched by vectors only, so that is what they ask for.
        """
        return [
            self.ask(step.method, step.path, _by_vectors(step), cursor_of=step.cursor_of) for step in steps
        ]


def _by_vectors(step: Step) -> dict[str, Any] | None:
    is_search = step.path.startswith(("/search", "/rank"))
    return {"mode": "vectors"} | step.body if is_search and step.body is not None else step.body


@contextmanager
def session(store: Store) -> Iterator[Session]:
    """The service over a copy of `store`, which stays as it is."""
    with tempfile.TemporaryDirectory(prefix="kallos-answers-") as folder:
        copy = Path(folder) / "data"
        shutil.copytree(store.data_dir, copy)
        with _client(store, copy) as client:
            yield Session(client, store.name)


def let_learn(store: Store) -> None:
    """Have the service learn when nothing matches: that happens once, in the background, and is kept."""
    with _client(store, store.data_dir) as client:
        end = time.monotonic() + LEARNING_S
        asked = {"query": "a boat", "mode": "vectors"}
        while client.post("/search", json=asked).json()["match_probability"] is None:
            if time.monotonic() > end:
                raise TimeoutError(f"{store.name} has not learned within {LEARNING_S:g} s")
            time.sleep(0.1)


@contextmanager
def _client(store: Store, data_dir: Path) -> Iterator[TestClient]:
    settings = Settings(
        data_dir=data_dir, model=store.model, device="cpu", threads=2, recall_sample_share=0.0
    )
    with TestClient(create_app(settings)) as client:
        yield client


def record(store: Store, scenario: Callable[[Session, int], None]) -> list[Step]:
    with session(store) as asking:
        scenario(asking, store.dim)
        return asking.steps
