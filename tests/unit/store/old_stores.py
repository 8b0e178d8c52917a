"""What version 0.1.0 left, whose names SQLite kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.name_records import NameRow
from protozorfs.store.old_names import OLD_NAMES_FILE, WAL_FILE
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "format"
# As version 0.1.0 made it.
SCHEMA = """
    BEGIN IMMEDIATE;
    CREATE TABLE names (
        name BLOB PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
        feed_id BLOB NOT NULL UNIQUE CHECK (length(feed_id) = 32),
        owned INTEGER NOT NULL CHECK (owned IN (0, 1)),
        created_ns INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;
"""


def row(number: int) -> NameRow:
    feed_id = FeedId(number.to_bytes(2, "big") * 16)
    return NameRow(b"feed %d" % number, feed_id, number % 2 == 0, number, 2 * number)


def old_files(directory: Path, rows: int, *, is_clean: bool) -> dict[str, bytes]:
    """What a run of version 0.1.0 left, which has ended or was killed."""
    path = directory / OLD_NAMES_FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO settings VALUES ('port', 4000)")
        for number in range(rows):
            connection.execute("INSERT INTO names VALUES (?, ?, ?, ?, ?)", row(number))
        if not is_clean:
            return {name: (directory / name).read_bytes() for name in (OLD_NAMES_FILE, WAL_FILE)}
    return {OLD_NAMES_FILE: path.read_bytes()}


def memory_store(kept: dict[str, bytes]) -> MemoryFiles:
    files = MemoryFiles()
    files.replace(FORMAT, b"protozorfs store 1\n")
    for name, content in kept.items():
        files.replace(name, content)
    return files
