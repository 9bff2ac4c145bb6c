"""The tables of words: filled where they are missing, and empty of what is gone."""

import sqlite3
from pathlib import Path

from indexer.attributes import Words, WordTerm
from indexer.collection.collection import Collection
from indexer.collection.word_index import MOST_FOUND_BYTES
from indexer.tables.words import WordTables
from indexer.types import Count
from tests.support.pictures import new_image, unit_vectors

DIM = 8
TABLES = ("words", "postings", "parts", "term")


def open_collection(folder: Path, name: str = "default") -> Collection:
    return Collection.open(folder, name, model_id="m", dim=DIM)


def test_a_collection_from_before_words_gets_those_of_its_pictures(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    ids = collection.add(
        [new_image(n, caption=f"picture of a fox {n}") for n in range(3)], unit_vectors(3, DIM)
    )
    collection.patch(ids[0], {"caption": "a hare"})
    before = collection.snapshot().version
    collection.close()
    database = sqlite3.connect(tmp_path / "kallos.sqlite")
    for table in TABLES:
        database.execute(f'DROP TABLE "{table}_default"')
    database.commit()
    database.close()

    collection = open_collection(tmp_path)
    assert collection.snapshot().tokens("fox") == [Count("fox", 2)]
    assert collection.snapshot().tokens("hare") == [Count("hare", 1)]
    assert collection.snapshot().version == before  # nothing that anyone sees has changed
    collection.close()


def test_collections_share_no_words(tmp_path: Path) -> None:
    one, other = open_collection(tmp_path, "one"), open_collection(tmp_path, "two-2")
    one.add([new_image(1, caption="fox")], unit_vectors(1, DIM))
    assert one.snapshot().tokens("fox") == [Count("fox", 1)]
    assert other.snapshot().tokens("fox") == []
    one.close()
    other.close()


def test_a_token_is_forgotten_with_the_last_picture_that_holds_it(tmp_path: Path) -> None:
    collection = open_collection(tmp_path)
    collection.add([new_image(1, caption="fox hare"), new_image(2, caption="hare")], unit_vectors(2, DIM))
    tables = WordTables("default")
    with collection.database.write() as connection:
        tables.drop(connection, [0])
        for how in (tables.containing, tables.resembling, tables.beginning_with):
            assert how(connection, "fox", 10) == []
        assert tables.containing(connection, "har", 10) == ["hare"]
        assert tables.postings(connection, "hare") == [(1, "caption")]
    collection.close()


def test_what_a_reader_has_kept_grows_with_the_collection(tmp_path: Path) -> None:
    """Occurrences are remembered: those of later pictures must be among them, and of earlier ones no more."""
    collection = open_collection(tmp_path)
    collection.add([new_image(1, caption="fox")], unit_vectors(1, DIM))
    early = collection.snapshot()
    assert early.tokens("fox") == [Count("fox", 1)]
    collection.add([new_image(2, caption="fox")], unit_vectors(1, DIM))
    assert collection.snapshot().tokens("fox") == [Count("fox", 2)]
    assert early.tokens("fox") == [Count("fox", 1)]
    collection.close()


def test_what_snapshots_remember_of_words_is_bounded_in_bytes(tmp_path: Path) -> None:
    """A client chooses the words: thousands of them, in any mixture, may not fill the memory."""
    collection = open_collection(tmp_path)
    collection.add([new_image(n, caption="fox") for n in range(2000)], unit_vectors(2000, DIM))
    words = collection.snapshot()._words
    for n in range(600):  # each match holds 16 bytes a picture: 19 MB in all
        words.matching(Words((WordTerm(("fox",), 1.0 + n),)))
    kept = words._found
    assert 0 < len(kept) * 16 * 2000 <= MOST_FOUND_BYTES
    collection.close()
