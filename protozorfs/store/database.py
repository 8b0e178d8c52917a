"""SQLite, for what has rows and may be lost: `stale.db`.

One caller at a time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from protozorfs.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


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


def connect(path: Path | str) -> sqlite3.Connection:
    """Opens (or makes) a database in autocommit mode; nothing is ever synced.

    Raises:
        sqlite3.Error: it cannot be used.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
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
