"""The `bitfield.log` file: what has changed about the blocks held since `bitfield` was written.

After an unclean stop both together say what was held, so that nothing has to be walked to find
out: a claim, of which each block is checked before it is read or served. Records are written before
what they are about, and not synced. One that is lost costs a look at some blocks, or that they are
fetched again; one that is wrong costs a look.

Integers are little-endian.

    offset  size
         0     2  kind
         2     6  size of the blocks in bytes; 2**48 - 1: as many or more, or unknown
         8     8  first block
        16     8  block behind the last
        24     8  the first bytes of the keyed BLAKE2b-256 of the record's number (8) and bytes 0 to
                  23; the key is the checksum of the `bitfield` file that the log follows, or zeros

    kind         blocks [first, last)
       1  begin    are in doubt; all that changes from now on is noted. The first record is one, and
                   so is the next one behind a damaged record, which may have been of any block
       2  held     are written, yet to be synced
       3  lost     are not held any more
       4  checked  were checked behind an unclean stop
       5  cut      did not survive a power cut, or could not be stored: what was noted of them is
                   not of those that will have their numbers
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256

if TYPE_CHECKING:
    from protozorfs.store import PooledFile

RECORD_BYTES = 32
MAX_RECORDS = 16_384  # then `bitfield` is written anew; so many are read in 60 ms
NO_BASE = bytes(32)
_BODY = Struct("<QQQ")  # kind and size in the first
_KIND_BITS = 16
UNKNOWN_SIZE = (1 << 48) - 1  # greater ones are not told apart
_NUMBER = Struct("<Q")
_SUM_BYTES = 8

assert _BODY.size + _SUM_BYTES == RECORD_BYTES


class Change(IntEnum):
    """What a record says."""

    BEGIN = 1
    HELD = 2
    LOST = 3
    CHECKED = 4
    CUT = 5


class Note(NamedTuple):
    """One record: what happened to blocks `[start, end)`, of `size` bytes together.

    From `UNKNOWN_SIZE` on the size says nothing.
    """

    change: Change
    start: int
    end: int
    size: int = 0


class Notes(NamedTuple):
    """What an earlier run has noted.

    Attributes:
        notes: all that can be read.
        is_whole: no record is damaged, or beyond the limit.
        is_doubt_whole: none is behind the last `Change.BEGIN`: what is in doubt is all said.
    """

    notes: list[Note]
    is_whole: bool
    is_doubt_whole: bool


class HeldLog:
    """Writes the notes of one feed, and reads those of an earlier run."""

    def __init__(self, file: PooledFile) -> None:
        self.file = file
        self._base: bytes | None = None  # None: nothing is noted
        self._count = 0
        self._last: Note | None = None

    def has_room(self, count: int = 1) -> bool:
        """Whether so many records can be added before `bitfield` is written anew."""
        return self._base is None or self._count + count <= MAX_RECORDS

    def load(self, base: bytes) -> Notes | None:
        """What was noted since the `bitfield` file of that checksum; None if not everything was.

        From now on notes go behind these.
        """
        content = self.file.pread(MAX_RECORDS * RECORD_BYTES + 1, 0)
        count = min(-(-len(content) // RECORD_BYTES), MAX_RECORDS)
        found = [
            _decoded(content[number * RECORD_BYTES : (number + 1) * RECORD_BYTES], number, base)
            for number in range(count)
        ]
        notes = [note for note in found if note is not None]
        if not notes or notes[0].change != Change.BEGIN:
            return None
        self._base, self._count, self._last = base, count, None
        begun = max(at for at, note in enumerate(found) if note and note.change == Change.BEGIN)
        has_all = len(content) <= MAX_RECORDS * RECORD_BYTES
        return Notes(notes, has_all and None not in found, has_all and None not in found[begun:])

    def begin(self, base: bytes, in_doubt: int = 0) -> None:
        """Notes everything from now on; the `bitfield` file of that checksum has all before it.

        Args:
            base: zeros if there is no such file.
            in_doubt: so many first blocks are yet to be checked.

        Raises:
            StoreFull, OSError: nothing is noted.
        """
        self.end()
        self.clear()
        self._write(Note(Change.BEGIN, 0, in_doubt), 0, base)
        self._base, self._count = base, 1

    def end(self) -> None:
        """Notes nothing any more: a `bitfield` file says it all."""
        self._base, self._count, self._last = None, 0, None

    def clear(self) -> None:
        """Removes all notes, and notes nothing any more: the next run has everything in doubt.

        Raises:
            StoreFull, OSError: nothing has changed.
        """
        self.file.truncate(0)
        self.end()

    def note(self, change: Change, start: int, end: int, size: int = 0) -> None:
        """Notes what happens to blocks `[start, end)`, of `size` bytes together; there is room.

        Raises:
            StoreFull, OSError
        """
        if self._base is None or start >= end:
            return
        last = self._last
        if last is not None and last.change == change and last.end == start:
            number = self._count - 1  # one longer record, in the place of that one
            note = last._replace(end=end, size=last.size + size)
        else:
            number, note = self._count, Note(change, start, end, size)
        assert number < MAX_RECORDS, "nobody would read it"
        self._write(note, number, self._base)
        self._count, self._last = number + 1, note

    def sync(self) -> None:
        """Returns when all notes survive a power cut."""
        if self._base is not None:
            self.file.fdatasync()

    def _write(self, note: Note, number: int, base: bytes) -> None:
        kind_and_size = note.change | max(0, min(note.size, UNKNOWN_SIZE)) << _KIND_BITS
        body = _BODY.pack(kind_and_size, note.start, note.end)
        self.file.pwrite(body + _sum(body, number, base), number * RECORD_BYTES)


def _decoded(record: bytes, number: int, base: bytes) -> Note | None:
    body = record[: _BODY.size]
    if record[_BODY.size :] != _sum(body, number, base):
        return None
    kind_and_size, start, end = _BODY.unpack(body)
    kind = kind_and_size & (1 << _KIND_BITS) - 1
    if kind not in Change.__members__.values():
        return None
    return Note(Change(kind), start, end, kind_and_size >> _KIND_BITS)


def _sum(body: bytes, number: int, base: bytes) -> bytes:
    return blake2b_256(_NUMBER.pack(number) + body, base)[:_SUM_BYTES]
