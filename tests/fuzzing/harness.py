"""What a fuzzer needs of one decoder: a function of bytes, and inputs to begin with.

The functions raise nothing but what is a bug of ours: what a decoder may raise is caught in them.
They need no fuzzer, so that the suite runs them on its corpus, too; `scripts/fuzz` runs them under
atheris.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from protozorfs import crypto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

T = TypeVar("T")

CHECKSUM_BYTES = 32
MAX_EDITS = 8


class Harness(NamedTuple):
    """One thing that is fuzzed.

    Attributes:
        name: on the command line of `scripts/fuzz`.
        make: gives the function that takes one input; it may use files in the directory.
        seeds: the inputs to begin with.
        max_bytes: longer inputs are not tried.
    """

    name: str
    make: Callable[[Path], Callable[[bytes], None]]
    seeds: Callable[[], Iterable[bytes]]
    max_bytes: int = 4096


class Chooser:
    """Takes decisions and bytes off the front of an input; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def number(self, below: int) -> int:
        """A number from 0 to below - 1."""
        size = (max(below - 1, 1).bit_length() + 7) // 8
        return int.from_bytes(self.take(size), "little") % below

    def pick(self, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[self.number(len(choices))]

    def part(self, most: int = 0xFFFF) -> bytes:
        """Bytes whose count stands before them."""
        return self.take(self.number(most + 1))


def part(data: bytes) -> bytes:
    """What `Chooser.part` gives back as `data`."""
    return len(data).to_bytes(2, "little") + data


def edited(content: bytes, chooser: Chooser) -> bytes:
    """A content with up to 8 bytes changed, and perhaps cut, grown, or its checksum set right."""
    data = bytearray(content)
    for _ in range(chooser.number(MAX_EDITS + 1)):
        if data:
            data[chooser.number(len(data))] ^= chooser.number(256)
    match chooser.number(5):
        case 1:
            del data[chooser.number(len(data) + 1) :]
        case 2:
            data += chooser.part()
        case 3:
            return resealed(bytes(data))
        case 4:
            return resealed_before(bytes(data))
    return bytes(data)


def resealed(data: bytes) -> bytes:
    """The bytes with a right checksum in place of the last 32."""
    body = data[:-CHECKSUM_BYTES]
    return body + crypto.blake2b_256(body)


def resealed_before(data: bytes) -> bytes:
    """The bytes with a right checksum in place of the first 32."""
    body = data[CHECKSUM_BYTES:]
    return crypto.blake2b_256(body) + body
