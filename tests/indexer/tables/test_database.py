"""Connections come and go with threads, and a full disk is said to be full."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.tables import database as database_module
from indexer.tables.database import MIGRATIONS, Database, statements

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


AWKWARD = """
    -- a note; with semicolons; in it
    CREATE TABLE noted (text TEXT DEFAULT 'one; two');  /* another; note */
    CREATE TRIGGER longer AFTER INSERT ON noted BEGIN
        UPDATE noted SET text = text || '; three' WHERE rowid = new.rowid;
        DELETE FROM noted WHERE text = 'nothing; at all';
    END;
    INSERT INTO noted DEFAULT VALUES;
    -- the end; of it
"""


def test_a_migration_may_hold_semicolons_in_literals_comments_and_triggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(tmp_path / "kallos.sqlite").close()
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, AWKWARD))
    database = Database(tmp_path / "kallos.sqlite")
    with database.read() as connection:
        assert connection.execute("SELECT text FROM noted").fetchall() == [("one; two; three",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    database.close()


def test_a_migration_that_fails_half_way_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(tmp_path / "kallos.sqlite").close()
    broken = AWKWARD + "SELECT absent FROM nowhere"
    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(StoreError, match="nowhere"):
        Database(tmp_path / "kallos.sqlite")
    with sqlite3.connect(tmp_path / "kallos.sqlite") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'noted'").fetchone() is None
    connection.close()


def test_statements_are_all_there_and_each_ends_where_sqlite_says() -> None:
    for script in (*MIGRATIONS, AWKWARD):
        parts = list(statements(script))
        assert "".join(parts) == script
        assert all(sqlite3.complete_statement(part) for part in parts[:-1])
    assert [part.count(";") for part in statements(AWKWARD)] == [4, 6, 1, 1]
