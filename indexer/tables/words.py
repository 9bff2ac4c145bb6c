"""Words of pictures, by slot: every statement about the tables that hold them is here.

Each collection has its own, since a slot is known only within it:

    words_NAME      an FTS5 index of tokens (`indexer.words`), one row for each slot, a column for each field
    postings_NAME   the same index read as (term, slot, field, place): a view, it stores nothing
    term_NAME       each token once
    parts_NAME      those tokens by three letters in a row, to find parts of words and other spellings

A slot's words never change, as nothing of a slot does: an edit writes those of the new version.
"""

import json
from collections.abc import Iterable, Sequence

from indexer.tables.database import Connection
from indexer.types import ImageRow, Metadata, NewImage
from indexer.words import BREAK, WEIGHTS, words_of

# ruff: noqa: S608 - names of collections are [a-z0-9_-] (indexer.collection.collection.NAME); values are bound
FIELDS = tuple(WEIGHTS)
BATCH = 1000  # pictures whose words are made at once
GRAM = 3  # letters that FTS5's trigrams are made of


class WordTables:
    """Statements, not transactions: each method runs on a connection that its caller holds."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._words, self._postings, self._term, self._parts = (
            f'"{table}_{collection}"' for table in ("words", "postings", "term", "parts")
        )

    def create(self, connection: Connection) -> None:
        """Make the tables, and fill them with what the collection holds, unless they are there."""
        (is_there,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = ?", (f"words_{self._collection}",)
        ).fetchone()
        if is_there:
            return
        # Tokens are made by `indexer.words`: to this tokenizer, everything but spaces is part of a word.
        connection.execute(
            f"CREATE VIRTUAL TABLE {self._words} USING fts5({', '.join(FIELDS)}, tokenize = 'ascii')"
        )
        connection.execute(
            f"CREATE VIRTUAL TABLE {self._postings} USING fts5vocab({self._words}, 'instance')"
        )
        connection.execute(f"CREATE TABLE {self._term} (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)")
        connection.execute(
            f"CREATE VIRTUAL TABLE {self._parts} USING fts5"
            f"(text, content = {self._term}, content_rowid = 'id', tokenize = 'trigram', detail = 'none')"
        )
        self._fill(connection)

    def add(self, connection: Connection, first_slot: int, pictures: Iterable[NewImage | ImageRow]) -> None:
        """The words of pictures in the slots from `first_slot`."""
        told = ((one.uri, one.taken_at, one.metadata) for one in pictures)
        self._add(connection, ((slot, *words) for slot, words in enumerate(told, start=first_slot)))

    def _add(
        self, connection: Connection, pictures: Iterable[tuple[int, str, float | None, Metadata]]
    ) -> None:
        rows, seen = [], dict[str, None]()
        for slot, uri, taken_at, metadata in pictures:
            words = words_of(uri, taken_at, metadata)
            rows.append((slot, *(" ".join(words.get(field, ())) for field in FIELDS)))
            seen.update(dict.fromkeys(word for own in words.values() for word in own))
        seen.pop(BREAK, None)
        marks = ", ".join("?" * (1 + len(FIELDS)))
        connection.executemany(
            f"INSERT INTO {self._words} (rowid, {', '.join(FIELDS)}) VALUES ({marks})", rows
        )
        fresh = connection.execute(
            f"INSERT OR IGNORE INTO {self._term} (text) SELECT value FROM json_each(?) RETURNING id, text",
            (json.dumps(list(seen), ensure_ascii=False),),
        ).fetchall()
        connection.executemany(f"INSERT INTO {self._parts} (rowid, text) VALUES (?, ?)", fresh)

    def drop(self, connection: Connection, slots: Sequence[int]) -> None:
        """Forget the words of slots that nothing can show any more, and tokens that no other slot holds."""
        bound = (json.dumps([int(slot) for slot in slots]),)
        among = "rowid IN (SELECT value FROM json_each(?))"
        rows = connection.execute(f"SELECT * FROM {self._words} WHERE {among}", bound)
        tokens = {token for row in rows for text in row for token in text.split(" ") if token}
        connection.execute(f"DELETE FROM {self._words} WHERE {among}", bound)
        unheld = [
            (token,)
            for token in tokens
            if not connection.execute(
                f"SELECT 1 FROM {self._postings} WHERE term = ? LIMIT 1", (token,)
            ).fetchone()
        ]
        connection.executemany(
            f"INSERT INTO {self._parts} ({self._parts}, rowid, text)"
            f" SELECT 'delete', id, text FROM {self._term} WHERE text = ?",
            unheld,
        )
        connection.executemany(f"DELETE FROM {self._term} WHERE text = ?", unheld)

    def postings(self, connection: Connection, word: str) -> list[tuple[int, str]]:
        """(slot, field) of every occurrence of a token, by rising slot."""
        return connection.execute(f"SELECT doc, col FROM {self._postings} WHERE term = ?", (word,)).fetchall()

    def slots_with(self, connection: Connection, phrase: Sequence[str]) -> list[int]:
        """Slots with the tokens of `phrase` one after another in a field, rising."""
        rows = connection.execute(
            f"SELECT rowid FROM {self._words} WHERE {self._words} MATCH ? ORDER BY rowid",
            (f'"{" ".join(phrase)}"',),
        )
        return [slot for (slot,) in rows]

    def beginning_with(self, connection: Connection, start: str, most: int) -> list[str]:
        """Tokens that begin with `start`, in the order of their characters."""
        rows = connection.execute(
            f"SELECT text FROM {self._term} WHERE text >= ? AND text < ? ORDER BY text LIMIT ?",
            (start, start + "\U0010ffff", most),
        )
        return [text for (text,) in rows]

    def containing(self, connection: Connection, part: str, most: int) -> list[str]:
        """Tokens with `part` in them, the shortest first."""
        grams = _grams(part)
        among = f"id IN (SELECT rowid FROM {self._parts} WHERE {self._parts} MATCH ?3) AND " if grams else ""
        rows = connection.execute(
            f"SELECT text FROM {self._term} WHERE {among}instr(text, ?1)"
            " ORDER BY length(text), text LIMIT ?2",
            (part, most, *((" AND ".join(grams),) if grams else ())),
        )
        return [text for (text,) in rows]

    def resembling(self, connection: Connection, word: str, most: int) -> list[str]:
        """Tokens that share three letters in a row with `word`, or begin with the same two; any `most`."""
        found = dict.fromkeys(self.beginning_with(connection, word[:2], most))
        if grams := _grams(word):
            rows = connection.execute(
                f"SELECT text FROM {self._parts} WHERE {self._parts} MATCH ? LIMIT ?",
                (" OR ".join(grams), most),
            )
            found |= dict.fromkeys(text for (text,) in rows)
        return list(found)

    def _fill(self, connection: Connection) -> None:
        rows = connection.execute(
            " UNION ALL ".join(
                f"SELECT slot, uri, taken_at, metadata FROM {table} WHERE collection = ?1"
                for table in ("image", "past_image")
            ),
            (self._collection,),
        )
        while batch := rows.fetchmany(BATCH):
            self._add(connection, ((slot, uri, at, _object(text)) for slot, uri, at, text in batch))


def _grams(word: str) -> list[str]:
    """The groups of three letters of a token, as FTS5 writes a search for each."""
    return sorted({f'"{word[at : at + GRAM]}"' for at in range(len(word) - GRAM + 1)})


def _object(text: str) -> Metadata:
    """Metadata as stored; none where NaN, which an older version stored, makes it no JSON."""
    try:
        found: Metadata = json.loads(text)
    except ValueError:
        return {}
    return found
