"""Connections come and go with threads, and a full disk is said to be full."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.tables.database import Database

OPEN_FILES = Path("/proc/self/fd")


def open_files() -> int:
    return sum(1 for _ in OPEN_FILES.iterdir())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "kallos.sqlite")
    yield database
    database.close()


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="there is no /proc to count open files in")
def test_a_thread_that_ends_closes_its_connection(database: Database) -> None:
    def read() -> None:
        with database.read() as connection:
            connection.execute("SELECT count(*) FROM image").fetchone()

    before, threads = open_files(), 20
    for _ in range(threads):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert open_files() < before + threads  # a connection has one file at least


def test_a_full_disk_is_said_to_be_full_and_writing_goes_on_when_there_is_room(database: Database) -> None:
    with database.write() as connection:
        connection.execute("CREATE TABLE filler (bytes BLOB)")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    fill = "INSERT INTO filler VALUES (zeroblob(1000000))"
    with database.read() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="disk is full"), database.write() as connection:
        connection.execute(fill)
    with database.write() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
        connection.execute(fill)
