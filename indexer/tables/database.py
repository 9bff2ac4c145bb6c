"""DATA_DIR/kallos.sqlite: the truth about images, axes, generations, jobs. The only importer of sqlite3."""

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import CorruptStoreError, StoreError

Connection = sqlite3.Connection
BUSY_TIMEOUT_S = 30.0
MAPPED_BYTES = 1 << 32

# Append only. Entry n takes a database from version n to n + 1, kept in PRAGMA user_version.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE collection (
        name TEXT PRIMARY KEY,
        model_id TEXT NOT NULL,
        dim INTEGER NOT NULL,
        slots INTEGER NOT NULL DEFAULT 0,       -- published rows of vectors.f16
        generation INTEGER NOT NULL DEFAULT 0,  -- grows with every change
        created_at REAL NOT NULL
    );
    CREATE TABLE image (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again after a deletion
        collection TEXT NOT NULL REFERENCES collection (name),
        slot INTEGER NOT NULL,
        uri TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        format TEXT NOT NULL,
        taken_at REAL,
        added_at REAL NOT NULL,
        metadata TEXT NOT NULL DEFAULT '{}',
        UNIQUE (collection, slot),
        UNIQUE (collection, uri)
    );
    CREATE INDEX image_sha256 ON image (collection, sha256);
    CREATE TABLE tombstone (
        collection TEXT NOT NULL REFERENCES collection (name),
        slot INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        PRIMARY KEY (collection, slot)
    ) WITHOUT ROWID;
    CREATE INDEX tombstone_generation ON tombstone (collection, generation);
    CREATE TABLE axis (
        collection TEXT NOT NULL REFERENCES collection (name),
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        kind TEXT NOT NULL,
        method TEXT NOT NULL,
        model_id TEXT NOT NULL,
        vector BLOB,
        card TEXT NOT NULL,
        params TEXT NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (collection, name, version)
    );
    CREATE TABLE job (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        params TEXT NOT NULL,
        progress TEXT NOT NULL DEFAULT '{}',
        result TEXT,
        error TEXT,
        created_at REAL NOT NULL,
        started_at REAL,
        finished_at REAL
    );
    """,
    # Epochs reclaim space (indexer.disk.slots); live queries measure recall (indexer.tables.recall_log).
    """
    ALTER TABLE collection ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE collection ADD COLUMN kept_rows INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE collection ADD COLUMN next_slot INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE recall_sample (
        collection TEXT NOT NULL REFERENCES collection (name),
        at REAL NOT NULL,
        k INTEGER NOT NULL,
        found INTEGER NOT NULL,
        asked REAL NOT NULL
    );
    CREATE INDEX recall_sample_at ON recall_sample (collection, at);
    """,
    # Marks of the pictures that an axis was fitted on (indexer.tables.axes).
    "ALTER TABLE axis ADD COLUMN used BLOB",
    # Pictures made here (indexer.tables.generated); a fair and bounded queue (indexer.tables.jobs).
    """
    CREATE TABLE generation (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        collection TEXT NOT NULL REFERENCES collection (name),
        prompt TEXT NOT NULL,
        negative_prompt TEXT NOT NULL,
        seed INTEGER NOT NULL,
        model TEXT NOT NULL,
        adapter TEXT,
        params TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        native_width INTEGER NOT NULL,
        native_height INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        job TEXT,
        part INTEGER NOT NULL,                  -- which picture of its job, from 0
        seconds REAL NOT NULL,
        created_at REAL NOT NULL,
        image INTEGER REFERENCES image (id) ON DELETE SET NULL,
        UNIQUE (job, part)
    );
    CREATE INDEX generation_sha256 ON generation (sha256);
    CREATE INDEX generation_image ON generation (image);
    CREATE TABLE idempotency (
        client TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        job TEXT NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (client, key)
    ) WITHOUT ROWID;
    ALTER TABLE job ADD COLUMN code TEXT;
    ALTER TABLE job ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN client TEXT NOT NULL DEFAULT '';
    ALTER TABLE job ADD COLUMN cost REAL;
    ALTER TABLE job ADD COLUMN subject TEXT;
    ALTER TABLE job ADD COLUMN queued_at REAL;
    UPDATE job SET queued_at = created_at;
    CREATE INDEX job_place ON job (kind, state, queued_at);
    CREATE INDEX job_client ON job (client, queued_at);
    CREATE INDEX job_subject ON job (subject)
    """,
    # What people wanted (indexer.tables.interactions). A picture or a generation may be gone; its id is never
    # used again.
    """
    CREATE TABLE wanted (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        collection TEXT NOT NULL,
        kind TEXT NOT NULL,
        words TEXT NOT NULL,
        image INTEGER,
        generation TEXT,
        probability REAL,                       -- of a match, where it was known
        at REAL NOT NULL
    )
    """,
    # Whose a running job is, and when its owner last said so (indexer.tables.jobs). The name that loads the
    # encoder of a collection, which used to be a file in its folder (indexer.tables.collections).
    """
    ALTER TABLE job ADD COLUMN owner TEXT;
    ALTER TABLE job ADD COLUMN beat_at REAL;
    ALTER TABLE collection ADD COLUMN model TEXT
    """,
    # Versions of pictures that an edit replaced or a deletion ended (indexer.tables.images): what a snapshot
    # that was taken before reads, until space is reclaimed.
    """
    CREATE TABLE past_image (
        collection TEXT NOT NULL REFERENCES collection (name),
        slot INTEGER NOT NULL,
        id INTEGER NOT NULL,
        died INTEGER NOT NULL,                  -- the generation that ended it
        died_at REAL NOT NULL,
        uri TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        format TEXT NOT NULL,
        taken_at REAL,
        added_at REAL NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (collection, slot)
    );
    CREATE INDEX past_image_id ON past_image (id)
    """,
)


class _Own:
    """A thread's connection, closed when the thread ends and its locals go."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """One connection for each thread; writers take turns. SQLite's own errors never leave this class.

    With `read_only` nothing is made and nothing changed, so the database has to have this version's schema.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._local = threading.local()
        self._all: weakref.WeakSet[_Own] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        if read_only:
            with self.read() as connection:
                self._check_schema(connection)
            return
        with self.write() as connection:
            self._migrate(connection)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection whose reads all see one state of the database."""
        with self._translated():
            connection = self._connection()
            if connection.in_transaction:  # inside `write` of the same thread
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk when the block ends, or, if it raises, none."""
        with self._translated(), self._writing:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def copy_to(self, path: Path) -> None:
        """One state of the database as a file of its own; writers go on meanwhile."""
        with self._translated():
            target = sqlite3.connect(path)
            try:
                self._connection().backup(target)
                target.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if "full" in str(error):  # the disk of the copy: nothing is written here
                    raise StoreError(f"cannot write {path}: {error}") from error
                raise
            finally:
                target.close()

    def close(self) -> None:
        with self._lock:
            for own in list(self._all):
                own.connection.close()
            self._all.clear()
            self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        own: _Own | None = getattr(self._local, "own", None)
        if own is None:
            # Used by the thread that made it; closed by whoever closes the database.
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rwc'}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives power loss
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")  # rows are read from the page cache
            self._local.own = own = _Own(connection)
            with self._lock:
                self._all.add(own)
        return own.connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "malformed" in text or "not a database" in text or "corrupt" in text:
                raise CorruptStoreError(f"{self.path} is damaged: {text}") from error
            raise StoreError(f"cannot use {self.path}: {text}") from error

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != len(MIGRATIONS):
            raise StoreError(
                f"{self.path} has schema {version}, this Kallos reads {len(MIGRATIONS)}: open it once with "
                "`kallos stats` of this version, or install the version that wrote it"
            )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} has schema {version}, this Kallos knows {len(MIGRATIONS)}: install a newer one"
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def statements(script: str) -> Iterator[str]:
    """One by one, for a transaction that is open: `executescript` would commit it.

    SQLite says where a statement ends: a literal, a comment or a trigger may hold a semicolon.
    """
    *pieces, rest = script.split(";")
    statement = ""
    for piece in pieces:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    yield statement + rest  # the last one may end without; nothing, or a comment, is fine to SQLite
