"""SQLite in memory, for what has rows; files hold images of its databases.

One caller at a time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from protozorfs.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_VERSIONS_AT = 18  # in a database file: the versions that can write and read it
_NO_LOG = b"\x01\x01"  # in place of those that want a write-ahead log on disk


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


def open_image(image: bytes) -> sqlite3.Connection:
    """A database in memory, in autocommit mode, that begins as a database file was; b"": empty.

    A file would need its path to be short, space for a log, and memory that it shares, which ends
    the process with SIGBUS when a disk is full.

    Raises:
        sqlite3.Error: it is no database.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        if image:
            connection.deserialize(
                image[:_VERSIONS_AT] + _NO_LOG + image[_VERSIONS_AT + len(_NO_LOG) :]
            )
        connection.execute("PRAGMA temp_store = MEMORY")  # there may be no directory for files
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
