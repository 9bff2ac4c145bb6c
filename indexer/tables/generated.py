"""Pictures made here: rows about files in originals/. No search finds them before they are promoted.

Their bytes are content-addressed as those of uploads are, so that promoting one moves nothing.
"""

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from indexer.blobs.originals import UPLOAD
from indexer.errors import NotFoundError
from indexer.tables.database import Database
from indexer.types import ImageId, JSONValue

SELECT = (
    "SELECT number, id, prompt, negative_prompt, seed, model, adapter, params, width, height, native_width,"
    " native_height, sha256, size, job, part, seconds, created_at, image FROM generation WHERE collection = ?"
)
ONE = f"{SELECT} AND id = ?"
OF_JOB = f"{SELECT} AND job = ? ORDER BY part"
PAGE = f"{SELECT} AND number < ? ORDER BY number DESC LIMIT ?"
INSERT = """
    INSERT INTO generation (id, collection, prompt, negative_prompt, seed, model, adapter, params, width,
                            height, native_width, native_height, sha256, size, job, part, seconds, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    RETURNING number
"""
NEEDED = """
    SELECT sha256 FROM generation WHERE sha256 IN (SELECT value FROM json_each(?1))
    UNION
    SELECT sha256 FROM image WHERE collection IN (SELECT name FROM collection)
        AND sha256 IN (SELECT value FROM json_each(?1)) AND uri = ?2 || sha256
"""


@dataclass(frozen=True, slots=True)
class Generation:
    """A picture, and everything that made it: the same prompt, seed, model and `params` make it again.

    `native_width` and `native_height` are what the model drew; the file was enlarged to `width` and `height`
    and holds no more detail. `image_id` is set once it is promoted. `part` counts the pictures of a job.
    """

    prompt: str
    negative_prompt: str
    seed: int
    model: str
    adapter: str | None
    params: dict[str, JSONValue]  # steps, guidance
    width: int
    height: int
    native_width: int
    native_height: int
    sha256: str
    size: int
    job: str | None
    part: int
    seconds: float
    number: int = 0  # given by the store: rises with every picture
    id: str = ""  # given by the store
    created_at: float = 0.0
    image_id: ImageId | None = None


class GenerationStore:
    """Generations of one collection. The file must lie in originals/ before its row is added."""

    def __init__(self, database: Database, collection: str) -> None:
        self._database = database
        self.collection = collection

    def add(self, made: Generation) -> Generation:
        """Store `made` and return it with its id and time."""
        id_, now = secrets.token_hex(8), time.time()
        with self._database.write() as connection:
            (number,) = connection.execute(
                INSERT,
                (
                    *(id_, self.collection, made.prompt, made.negative_prompt, made.seed),
                    *(made.model, made.adapter, json.dumps(made.params, allow_nan=False)),
                    *(made.width, made.height, made.native_width, made.native_height),
                    *(made.sha256, made.size, made.job, made.part, made.seconds, now),
                ),
            ).fetchone()
        return replace(made, number=int(number), id=id_, created_at=now)

    def get(self, id_: str) -> Generation:
        with self._database.read() as connection:
            row = connection.execute(ONE, (self.collection, id_)).fetchone()
        if row is None:
            raise NotFoundError(f"no generated picture with id {id_!r}")
        return _generation(row)

    def of_job(self, job: str) -> "list[Generation]":
        """What a job has made so far, in its order."""
        with self._database.read() as connection:
            return [_generation(row) for row in connection.execute(OF_JOB, (self.collection, job))]

    def list(self, *, before: int | None = None, limit: int = 100) -> "list[Generation]":
        """The newest first; those with a `number` under `before`."""
        largest = 2**63 - 1
        with self._database.read() as connection:
            rows = connection.execute(PAGE, (self.collection, largest if before is None else before, limit))
            return [_generation(row) for row in rows]

    def promoted(self, id_: str, image_id: ImageId) -> Generation:
        """Remember which picture of the collection it has become."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE generation SET image = ? WHERE collection = ? AND id = ?",
                (image_id, self.collection, id_),
            )
        return self.get(id_)

    def delete(self, id_: str) -> Generation:
        """Forget it; its file stays until `unneeded` says so."""
        made = self.get(id_)
        with self._database.write() as connection:
            connection.execute("DELETE FROM generation WHERE number = ?", (made.number,))
        return made

    def unneeded(self, digests: Iterable[str]) -> set[str]:
        """Files of originals/ that no generation and no uploaded picture of any collection refers to."""
        wanted = set(digests)
        with self._database.read() as connection:
            needed = {sha for (sha,) in connection.execute(NEEDED, (json.dumps(sorted(wanted)), UPLOAD))}
        return wanted - needed


def _generation(row: tuple[object, ...]) -> Generation:
    number, id_, prompt, negative, seed, model, adapter, params, width, height, *rest = row
    native_width, native_height, sha256, size, job, part, seconds, created_at, image = rest
    return Generation(
        prompt=str(prompt),
        negative_prompt=str(negative),
        seed=int(str(seed)),
        model=str(model),
        adapter=None if adapter is None else str(adapter),
        params=json.loads(str(params)),
        width=int(str(width)),
        height=int(str(height)),
        native_width=int(str(native_width)),
        native_height=int(str(native_height)),
        sha256=str(sha256),
        size=int(str(size)),
        job=None if job is None else str(job),
        part=int(str(part)),
        seconds=float(str(seconds)),
        number=int(str(number)),
        id=str(id_),
        created_at=float(str(created_at)),
        image_id=None if image is None else ImageId(int(str(image))),
    )
