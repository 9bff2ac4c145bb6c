"""The server compacts by itself, once at a time, and not for ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.collection.collection import Collection
from indexer.collection.compaction import FEWEST, Aims
from service.jobs import JobRunner
from service.upkeep import Upkeep
from tests.support.pictures import new_image, unit_vectors

AIMS = Aims(memory_bytes=2**30)


@pytest.fixture
def due(tmp_path: Path) -> Iterator[Collection]:
    """Most of its pictures are deleted."""
    collection = Collection.open(tmp_path, model_id="m", dim=8)
    ids = collection.add([new_image(str(n)) for n in range(FEWEST)], unit_vectors(FEWEST, 8))
    collection.delete(ids[: FEWEST * 2 // 3])
    yield collection
    collection.close()


def test_one_compaction_is_started_however_many_servers_look(due: Collection) -> None:
    servers = [JobRunner(due.database, {}) for _ in range(2)]
    for jobs in servers:
        Upkeep(due, lambda: AIMS, jobs).look(AIMS)
    assert [job.kind for job in servers[0].list()] == ["compact"]


def test_a_compaction_that_kills_the_server_is_not_started_again_by_itself(due: Collection) -> None:
    jobs = JobRunner(due.database, {})
    upkeep = Upkeep(due, lambda: AIMS, jobs)
    upkeep.look(AIMS)
    (job,) = jobs.list()
    with due.database.write() as connection:
        connection.execute("UPDATE job SET state = 'failed', code = 'gave_up' WHERE id = ?", (job.id,))
    upkeep.look(AIMS)
    assert len(jobs.list()) == 1
    jobs.submit_once("compact", {})  # but by a person
    assert len(jobs.list()) == 2
