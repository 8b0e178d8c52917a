"""Checksums of what was verified: they tell a later run that a part of a file is still the same.

The file `sums` has one for each aligned piece of 64 KiB of `data`, `tree_sums` one for each page of
`tree`. They make checks fast and decide nothing: where one is missing or does not fit, the part is
compared with the leaves and nodes that the signed head covers. So they are written without a sync,
and after a kill some of them are missing.

    offset  size
    16 * i    16   of part i: the first half of the tag of AEGIS-128L over the bytes that were
                   verified, as associated data; zeros: none
    key       16   the feed's ID, first half (`sums`) or second half (`tree_sums`)
    nonce     16   i (8 bytes, little-endian), and the first byte and the one behind the last that
                   were verified (4 bytes each), counted from the start of the part

All of that is public: it finds errors of disks, not people who want to deceive. What is only partly
verified has a sum that fits as long as no more and no less of it is held.
"""

from __future__ import annotations

from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

from protozorfs.crypto import HAS_FAST_CHECKSUM, checksum
from protozorfs.errors import StoreFull
from protozorfs.log.bitfield import runs_of_indexes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.store import File

PIECE_BYTES = 64 * 1024
SUM_BYTES = 16
CHUNK_SUMS = 256  # read at one time, and written: 4096 bytes
# Pieces that are not verified to their end yet, 64 KiB each. A feed that is appended to needs one,
# one that comes from several peers one or two for each.
MAX_GATHERED = 4
SMALL_BYTES = 4096  # blocks of less are joined first
_NONCE = Struct("<QII")
_NO_SUM = bytes(SUM_BYTES)

assert _NONCE.size == 16


class Span(NamedTuple):
    """Bytes `[start, end)` of a part."""

    start: int
    end: int


class Sums(Protocol):
    """What is known of the parts of a file from earlier runs; see `SumFile`."""

    def is_right(self, number: int, span: Span, data: bytes | bytearray) -> bool: ...
    def put(self, number: int, span: Span, data: bytes | bytearray | memoryview) -> None: ...
    def write_if_many(self) -> None: ...


class NoSums:
    """Nothing is believed of earlier runs: all is checked, and nothing is kept of that."""

    def is_right(self, _number: int, _span: Span, _data: bytes | bytearray) -> bool:
        return False

    def put(self, number: int, span: Span, data: bytes | bytearray | memoryview) -> None:
        """Keeps nothing."""

    def write_if_many(self) -> None:
        """There is nothing to write."""


class SumFile:
    """The sums of one file, a chunk of them in memory.

    Attributes:
        is_used: false where the processor makes them more slowly than hashes.
    """

    def __init__(self, file: File, key: bytes, least: int) -> None:
        """No file is made before part `least` has a sum: small ones are checked soon enough.

        `key`: 16 bytes.
        """
        self._file = file
        self._key = key
        self._least = least
        self._chunk_number = -1
        self._chunk = b""
        self._new: dict[int, bytes] = {}
        self._is_given_up = False
        self.is_used = HAS_FAST_CHECKSUM

    def has(self, number: int) -> bool:
        """Whether there is a sum of a part."""
        return self.is_used and self._kept(number) != _NO_SUM

    def is_right(self, number: int, span: Span, data: bytes | bytearray) -> bool:
        """Whether the bytes of a part that were verified were those, and no others of it were."""
        return self.has(number) and self._kept(number) == self._sum(number, span, data)

    def put(self, number: int, span: Span, data: bytes | bytearray | memoryview) -> None:
        """Keeps, in memory until `write`, that these bytes of a part were verified."""
        if self.is_used:
            self._new[number] = self._sum(number, span, data)

    def write_if_many(self) -> None:
        """`write`, if that is worth a call."""
        if len(self._new) >= CHUNK_SUMS:
            self.write()

    def write(self) -> None:
        """Writes what was put, if it can be; does not sync. No error counts: only speed is lost."""
        new, self._new = self._new, {}
        if not new or self._is_given_up:
            return
        try:
            if max(new) < self._least and not self._file.size():
                return
            for first, end in runs_of_indexes(new):
                sums = b"".join(new[number] for number in range(first, end))
                self._file.pwrite(sums, first * SUM_BYTES)
        except (StoreFull, OSError):
            self._is_given_up = True  # it is full, or may not be written to
        self.forget()

    def forget(self) -> None:
        """Gives the memory of what can be read again back."""
        self._chunk_number, self._chunk = -1, b""

    def close(self) -> None:
        """Writes what was put, and closes the file; it can be used again."""
        self.write()
        self.forget()
        self._file.close()

    def _sum(self, number: int, span: Span, data: bytes | bytearray | memoryview) -> bytes:
        return checksum(data, self._key, _NONCE.pack(number, *span))

    def _kept(self, number: int) -> bytes:
        new = self._new.get(number)
        if new is not None:
            return new
        chunk, slot = divmod(number, CHUNK_SUMS)
        if chunk != self._chunk_number:
            self._chunk = self._read(chunk)
            self._chunk_number = chunk
        return self._chunk[slot * SUM_BYTES : (slot + 1) * SUM_BYTES].ljust(SUM_BYTES, b"\0")

    def _read(self, chunk: int) -> bytes:
        try:
            return self._file.pread(CHUNK_SUMS * SUM_BYTES, chunk * CHUNK_SUMS * SUM_BYTES)
        except OSError:
            return b""


class DataSums:
    """The sums of the pieces of `data`, made of the bytes as they are verified."""

    def __init__(self, file: File, data: File, feed_id: bytes) -> None:
        self._data = data
        self._sums = SumFile(file, feed_id[:SUM_BYTES], least=1)
        self._gathered: dict[int, tuple[int, bytearray]] = {}  # piece -> where it starts, bytes
        # The one that grew last, where it ends in the file, and how much it lacks: what is appended
        # in small blocks costs little.
        self._last = bytearray()
        self._last_end, self._last_room = -1, 0

    def is_right(self, number: int, span: Span) -> bool:
        """Whether a piece in which these bytes are held is what was verified. It may be wrong."""
        if not self._sums.has(number):
            return False
        data = self._data.pread(span.end - span.start, number * PIECE_BYTES + span.start)
        return self._sums.is_right(number, span, data)

    def add(self, offset: int, values: Sequence[bytes | memoryview]) -> None:
        """Bytes that follow one another from `offset` on were verified, and are in the file."""
        if offset == self._last_end and len(values) == 1:
            size = len(values[0])
            if size < self._last_room:
                self._last += values[0]
                self._last_end += size
                self._last_room -= size
                return
        if not self._sums.is_used:
            return
        if sum(map(len, values)) < len(values) * SMALL_BYTES:
            values = (b"".join(values),)
        for value in values:
            at = 0
            while at < len(value):
                number, start = divmod(offset + at, PIECE_BYTES)
                size = min(PIECE_BYTES - start, len(value) - at)
                part = value if size == len(value) else memoryview(value)[at : at + size]
                if size == PIECE_BYTES:
                    self._sums.put(number, Span(0, PIECE_BYTES), part)
                else:
                    self._gather(number, start, part)
                at += size
            offset += len(value)
        self._sums.write_if_many()

    def _gather(self, number: int, start: int, part: bytes | memoryview) -> None:
        self._last_end = -1
        gathered = self._gathered.pop(number, None)
        if gathered is None:
            gathered = (0, self._resumed(number, start)) if start else (0, bytearray())
        first, content = gathered
        if first + len(content) == start:
            content += part
        elif start + len(part) == first:
            first, content = start, bytearray(part) + content
        else:
            first, content = start, bytearray(part)
        if len(content) == PIECE_BYTES:
            self._sums.put(number, Span(0, PIECE_BYTES), content)
            return
        self._gathered[number] = (first, content)
        self._last, self._last_room = content, PIECE_BYTES - first - len(content)
        self._last_end = (number + 1) * PIECE_BYTES - self._last_room
        if len(self._gathered) > MAX_GATHERED:
            self._put_gathered(next(iter(self._gathered)))

    def _resumed(self, number: int, end: int) -> bytearray:
        """The piece up to `end`, where that is what an earlier sum was of."""
        if self._sums.has(number):
            with suppress(OSError):  # what was added is in the file already
                content = bytearray(self._data.pread(end, number * PIECE_BYTES))
                if self._sums.is_right(number, Span(0, end), content):
                    return content
        return bytearray()

    def _put_gathered(self, number: int) -> None:
        first, content = self._gathered.pop(number)
        if content is self._last:
            self._last, self._last_end = bytearray(), -1
        self._sums.put(number, Span(first, first + len(content)), content)

    def forget(self) -> None:
        """Gives memory back; nothing is written."""
        for number in list(self._gathered):
            self._put_gathered(number)
        self._sums.forget()

    def close(self) -> None:
        """Writes the sums of all that was verified, and closes their file."""
        self.forget()
        self._sums.close()
