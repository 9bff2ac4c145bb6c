"""What people wanted is kept in order, bounded, and readable without being changed."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.tables.database import MIGRATIONS, Database
from indexer.tables.interactions import MOST_CHARACTERS, Interaction, InteractionLog
from indexer.types import ImageId


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "kallos.sqlite")
    yield database
    database.close()


def test_rows_come_back_in_their_order_for_their_collection_only(database: Database) -> None:
    log = InteractionLog(database, "default")
    given = [
        Interaction("miss", "a purple cow", probability=0.02),
        Interaction("click", "a red card", ImageId(7)),
        Interaction("promotion", "a purple cow", ImageId(8), "cafe"),
    ]
    for one in given:
        log.add(one)
    InteractionLog(database, "other").add(Interaction("miss", "a hat"))
    found = log.all()
    assert [replace(one, at=0.0) for one in found] == given
    assert found[0].at <= found[1].at <= found[2].at


def test_only_the_newest_rows_stay(database: Database) -> None:
    log = InteractionLog(database, "default")
    for number in range(7):
        log.add(Interaction("miss", f"cow {number}"), kept=3)
    assert [one.words for one in log.all()] == ["cow 4", "cow 5", "cow 6"]


def test_spaces_are_evened_and_what_is_no_prompt_is_passed_over(database: Database) -> None:
    log = InteractionLog(database, "default")
    for words in (" a  cow\n", " ", "x" * (MOST_CHARACTERS + 1), "\ud800", "a\0b"):
        log.add(Interaction("miss", words))
    assert [one.words for one in log.all()] == ["a cow"]


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_database_of_any_older_schema_gets_the_table(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.sqlite"
    connection = sqlite3.connect(path)
    for script in MIGRATIONS[:version]:
        connection.executescript(script)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=rf"schema {version}, this Kallos reads {len(MIGRATIONS)}"):
        Database(path, read_only=True)
    database = Database(path)
    InteractionLog(database, "default").add(Interaction("miss", "a cow"))
    database.close()
    reader = Database(path, read_only=True)
    assert [one.words for one in InteractionLog(reader, "default").all()] == ["a cow"]
    reader.close()


def test_a_reader_beside_a_writer_sees_its_rows_and_writes_nothing(database: Database) -> None:
    InteractionLog(database, "default").add(Interaction("miss", "a cow"))
    reader = Database(database.path, read_only=True)
    log = InteractionLog(reader, "default")
    assert [one.words for one in log.all()] == ["a cow"]
    with pytest.raises(StoreError, match="readonly"):
        log.add(Interaction("miss", "a hat"))
    reader.close()


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Database(tmp_path / "none.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []
