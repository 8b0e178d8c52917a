"""SQLite, for what has rows. Two files, since they are trusted differently:

- `names.db`: names and settings. Every change is safe from a power cut when the call returns
  (full sync). If it is corrupt the store does not open: names exist nowhere else.
- `stale.db`: what may be old, wrong or lost. A corrupt one is thrown away and started again.

One caller at a time; not always the same thread, so that slow commits can be moved to one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import NameTaken, NoSuchFeed, StoreCorrupt, StoreFull
from protozorfs.names import check_file_name
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# names: one row per file of the mount.
#   name      what the file is called; 1 to 255 bytes, without "/" and NUL
#   feed_id   32 bytes; a feed has at most one name
#   owned     1: its secret key is in the store, 0: followed
#   created_ns, mtime_ns: nanoseconds since 1970; mtime is the arrival of the newest block
# settings: few, by name; integers (port) and texts.
_NAMES_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE names (
        name BLOB PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
        feed_id BLOB NOT NULL UNIQUE CHECK (length(feed_id) = 32),
        owned INTEGER NOT NULL CHECK (owned IN (0, 1)),
        created_ns INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    """,
)

_FULL_SYNC = "FULL"
_NO_SYNC = "OFF"


class NameRow(NamedTuple):
    """One name. Times are nanoseconds since 1970."""

    name: bytes
    feed_id: FeedId
    is_owned: bool
    created_ns: int
    mtime_ns: int


def migrate(connection: sqlite3.Connection, migrations: Sequence[str], file: str) -> None:
    """Brings a database to the newest version; `user_version` counts the migrations it has had.

    Raises:
        StoreCorrupt: the database is of a newer version than this program knows.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StoreCorrupt(file, 0, f"made by a newer version of protozorfs (format {version})")
    for number in range(version, len(migrations)):
        # One transaction with its version number: an interrupted migration never happened.
        connection.executescript(
            f"BEGIN IMMEDIATE; {migrations[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
        )


def connect(path: Path | str, *, is_durable: bool) -> sqlite3.Connection:
    """Opens (or makes) a database in autocommit mode.

    Raises:
        sqlite3.Error: it cannot be used.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_FULL_SYNC if is_durable else _NO_SYNC}")
        connection.execute("PRAGMA temp_store = MEMORY")  # there may be no directory for files
    except UnicodeDecodeError as error:  # of a message that cites what it could not parse
        connection.close()
        raise sqlite3.DatabaseError("its schema is damaged") from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """What the body does is committed at its end, or, if it raises, has not happened."""
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends some failed ones by itself
                cursor.execute("ROLLBACK")
            raise


# The second one: of the file that it shares memory by, which cannot grow.
_DISK_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def is_disk_full(error: sqlite3.Error) -> bool:
    """Whether SQLite found no space left."""
    return getattr(error, "sqlite_errorcode", None) in _DISK_FULL


class Names:
    """The names and settings of a store. Names are kept in memory too: lookups cost no query."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the database.

        Raises:
            StoreCorrupt: it cannot be read.
            StoreFull: it could not be made.
        """
        self._path = path
        try:
            self._connection = connect(path, is_durable=True)
        except sqlite3.Error as error:
            raise self._converted(error) from error
        try:
            migrate(self._connection, _NAMES_MIGRATIONS, str(path))
            self._check()
            rows = self._connection.execute("SELECT * FROM names ORDER BY name").fetchall()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._converted(error) from error
        except BaseException:
            self._connection.close()
            raise
        self._by_name = {row[0]: _name_row(row) for row in rows}
        self._by_feed_id = {row.feed_id: row for row in self._by_name.values()}

    def all(self) -> list[NameRow]:
        """Every name, sorted."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def by_name(self, name: bytes) -> NameRow | None:
        """The row of a name."""
        return self._by_name.get(name)

    def by_feed_id(self, feed_id: FeedId) -> NameRow | None:
        """The row of a feed, if it has a name."""
        return self._by_feed_id.get(feed_id)

    def check_free(self, name: bytes) -> None:
        """Returns if a feed may have that name.

        Raises:
            NameTaken: another one has it.
            InvalidName: not a name that a file can have.
        """
        check_file_name(name)
        if name in self._by_name:
            raise NameTaken("there is a feed of that name")

    def add(self, row: NameRow) -> None:
        """Adds a name; durable on return.

        Raises:
            NameTaken: the name is in use, or the feed has a name.
            InvalidName: not a name that a file can have.
            StoreFull: no space left.
        """
        self.check_free(row.name)
        known = self._by_feed_id.get(row.feed_id)
        if known is not None:
            raise NameTaken(f"this feed is here already, as {_shown(known.name)}")
        self._change("INSERT INTO names VALUES (?, ?, ?, ?, ?)", [tuple(row)])
        self._keep(row)

    def rename(self, old: bytes, new: bytes) -> NameRow:
        """Gives a feed another name; durable on return. Returns the new row.

        Raises:
            NoSuchFeed: there is no `old`.
            NameTaken, InvalidName, StoreFull: as for `add`.
        """
        row = self._row(old)
        self.check_free(new)
        self._change("UPDATE names SET name = ? WHERE name = ?", [(new, old)])
        del self._by_name[old]
        row = row._replace(name=new)
        self._keep(row)
        return row

    def remove(self, name: bytes) -> NameRow:
        """Removes a name; durable on return. Returns what it was. Raises NoSuchFeed."""
        row = self._row(name)
        self._change("DELETE FROM names WHERE name = ?", [(name,)])
        del self._by_name[name]
        del self._by_feed_id[row.feed_id]
        return row

    def set_mtimes(self, mtimes: Iterable[tuple[FeedId, int]]) -> None:
        """Remembers when feeds grew, all in one commit; feeds without a name are left out."""
        rows = [
            self._by_feed_id[feed_id]._replace(mtime_ns=mtime_ns)
            for feed_id, mtime_ns in mtimes
            if feed_id in self._by_feed_id
        ]
        if not rows:
            return
        self._change(
            "UPDATE names SET mtime_ns = ? WHERE name = ?",
            [(row.mtime_ns, row.name) for row in rows],
        )
        for row in rows:
            self._keep(row)

    def setting(self, name: str) -> int | str | None:
        """A remembered setting, such as "port"."""
        row = self._connection.execute(
            "SELECT value FROM settings WHERE name = ?", (name,)
        ).fetchone()
        value: int | str | None = row[0] if row else None
        return value

    def set_setting(self, name: str, value: int | str) -> None:
        """Remembers a setting; durable on return."""
        self._change("INSERT OR REPLACE INTO settings VALUES (?, ?)", [(name, value)])

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def _keep(self, row: NameRow) -> None:
        self._by_name[row.name] = row
        self._by_feed_id[row.feed_id] = row

    def _row(self, name: bytes) -> NameRow:
        row = self._by_name.get(name)
        if row is None:
            raise NoSuchFeed("no feed of that name")
        return row

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with transaction(self._connection) as cursor:
                cursor.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._converted(error) from error

    def _check(self) -> None:
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreCorrupt(str(self._path), 0, str(verdict))

    def _converted(self, error: sqlite3.Error) -> Exception:
        if is_disk_full(error):
            return StoreFull("no space left for the names of the store")
        return StoreCorrupt(str(self._path), 0, str(error))


def _name_row(row: tuple[bytes, bytes, int, int, int]) -> NameRow:
    name, feed_id, owned, created_ns, mtime_ns = row
    return NameRow(name, FeedId(feed_id), bool(owned), created_ns, mtime_ns)


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
