"""The names of a store of version 0.1.0: `names.db`, which SQLite kept with a write-ahead log.

The database is put together in memory, of the file and of what is committed in the log. So nothing
is written beside it, no memory is shared with a file, and neither the length of the path nor a
read-only disk matters. Source: sqlite.org, "Database File Format", sections 1.3 and 4.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from struct import Struct, unpack_from
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import InvalidName
from protozorfs.names import check_file_name
from protozorfs.store.database import open_image
from protozorfs.store.name_records import Known, NameRow
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store.files import Files

OLD_NAMES_FILE = "names.db"
WAL_FILE = "names.db-wal"
# The last two: version 0.1.0 had its peers in a file with a log, too.
OLD_FILES = (OLD_NAMES_FILE, WAL_FILE, "names.db-shm", "stale.db-wal", "stale.db-shm")
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_WAL_MAGIC = 0x377F0682  # its lowest bit: the checksums are of big-endian words
_WAL_HEADER = Struct(">IIIIIIII")
_FRAME_HEADER = Struct(">IIIIII")
_FEED_ID_BYTES = 32


class OldNames(NamedTuple):
    """What could be read.

    Attributes:
        known: names and settings.
        damage: what is wrong with the files; empty if nothing is.
    """

    known: Known
    damage: str


def read_old_names(files: Files) -> OldNames:
    """The names and settings of `names.db`; of a damaged one all that can be read."""
    image = _read(files, OLD_NAMES_FILE)
    if not image:
        return OldNames(Known(), "")  # the start was interrupted that would have made it
    wal, damage = _read(files, WAL_FILE), ""
    if wal:
        image, damage = _with_log(image, wal)
    if len(image) < _HEADER_BYTES or not image.startswith(_MAGIC):
        return OldNames(Known(is_complete=False), "it is no database")
    known = Known(is_complete=not damage)
    with closing(open_image(image)) as connection:
        try:
            damage = _take_rows(connection, known) or damage
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                damage = damage or str(verdict)
        except sqlite3.Error as error:
            damage = damage or str(error)
    known.is_complete = not damage
    return OldNames(known, damage)


def _read(files: Files, path: str) -> bytes:
    try:
        return files.read(path)
    except FileNotFoundError:
        return b""


def _take_rows(connection: sqlite3.Connection, known: Known) -> str:
    """Takes what can be read, from both ends; returns what is wrong."""
    damage = ""
    for order in ("ASC", "DESC"):
        rows = connection.execute(f"SELECT * FROM names ORDER BY name {order}")
        try:
            for values in rows:
                row = _row(values)
                if row is None:
                    damage = "a row that nobody has written"
                else:
                    known.rows.setdefault(row.feed_id, row)
        except sqlite3.Error as error:
            damage = str(error)
    try:
        for name, value in connection.execute("SELECT name, value FROM settings"):
            if isinstance(name, str) and isinstance(value, int | str):
                known.settings[name] = value
    except sqlite3.Error as error:
        damage = str(error)
    _drop_second_names(known)
    return damage


def _drop_second_names(known: Known) -> None:
    names: set[bytes] = set()
    for feed_id, row in list(known.rows.items()):
        if row.name in names:
            del known.rows[feed_id]
        names.add(row.name)


def _row(values: tuple[object, ...]) -> NameRow | None:
    name, feed_id, owned, created_ns, mtime_ns = values
    if not (isinstance(name, bytes) and isinstance(feed_id, bytes)):
        return None
    if not (isinstance(created_ns, int) and isinstance(mtime_ns, int) and owned in (0, 1)):
        return None
    try:
        check_file_name(name)
    except InvalidName:
        return None
    if len(feed_id) != _FEED_ID_BYTES:
        return None
    return NameRow(name, FeedId(feed_id), bool(owned), created_ns, mtime_ns)


def _with_log(image: bytes, wal: bytes) -> tuple[bytes, str]:
    """The database with what is committed in its log, and what is wrong with the log."""
    pages: dict[int, bytes] = {}
    page_count = 0
    waiting: dict[int, bytes] = {}
    frames = _Frames(wal)
    for number, page, committed in frames:
        waiting[number] = page
        if committed:
            pages.update(waiting)
            page_count = committed
            waiting.clear()
    if not pages:
        return image, frames.damage
    size = frames.page_bytes
    content = bytearray(image[: page_count * size].ljust(page_count * size, b"\0"))
    for number, page in pages.items():
        if number <= page_count:
            content[(number - 1) * size : number * size] = page
    return bytes(content), frames.damage


class _Frames:
    """The frames of a log up to the first that does not belong to it, or is damaged.

    Attributes:
        page_bytes: size of a page.
        damage: what is wrong; a frame that is torn, with nothing of this log behind, is not.
    """

    def __init__(self, wal: bytes) -> None:
        self.page_bytes = 0
        self.damage = ""
        self._wal = wal

    def __iter__(self) -> Iterator[tuple[int, bytes, int]]:
        """Number of the page, page, and the size of the database in pages if it is a commit."""
        if len(self._wal) < _WAL_HEADER.size:
            return
        magic, _, self.page_bytes, _, *salts, first, second = _WAL_HEADER.unpack_from(self._wal)
        order = ">" if magic & 1 else "<"
        sums = _sums(order, self._wal[: _WAL_HEADER.size - 8], (0, 0))
        if magic & ~1 != _WAL_MAGIC or not self.page_bytes or sums != (first, second):
            self.damage = f"{WAL_FILE}: its header is damaged"
            return
        size = _FRAME_HEADER.size + self.page_bytes
        for at in range(_WAL_HEADER.size, len(self._wal) - size + 1, size):
            number, committed, *found, first, second = _FRAME_HEADER.unpack_from(self._wal, at)
            page = self._wal[at + _FRAME_HEADER.size : at + size]
            sums = _sums(order, self._wal[at : at + 8], sums)
            sums = _sums(order, page, sums)
            if found != salts or sums != (first, second) or not number:
                self._look_behind(at + size, size, salts)
                return
            yield number, page, committed

    def _look_behind(self, start: int, size: int, salts: list[int]) -> None:
        """A later frame of this log: this one was written before it, and was whole once."""
        for at in range(start, len(self._wal) - size + 1, size):
            if list(unpack_from(">II", self._wal, at + 8)) == salts:
                self.damage = f"{WAL_FILE}: a frame is damaged"
                return


def _sums(order: str, data: bytes, start: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum of `data`, a multiple of 8 bytes, going on from another."""
    first, second = start
    words = unpack_from(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second
