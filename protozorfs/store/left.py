"""How a feed's files were left: the end of its `clean` mark.

After a clean stop nothing writes to `data`, `tree` and `head` before the mark is taken away. Where
a file has another size than the mark says, or was changed later, something else did that: most of
all, an older state of it was restored. A ctime that is earlier was lost in a power cut.

Integers are little-endian.

    offset  size
         0     8   magic "pzfsleft"
         8     2   version: 1
        10     6   zero
        16    16   of `data`: size in bytes, ctime in nanoseconds since 1970
        32    16   of `tree`
        48    16   of `head`
        64    32   BLAKE2b-256 of all before it
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.store.place import Stamp

VERSION = 1
LEFT_FILES = ("data", "tree", "head")
_MAGIC = b"pzfsleft"
_BODY = Struct("<8sH6xQQQQQQ")
_CHECKSUM_BYTES = 32
LEFT_BYTES = 96

assert _BODY.size + _CHECKSUM_BYTES == LEFT_BYTES


class LeftFile(NamedTuple):
    """One file, as it was left."""

    size: int
    changed_ns: int


def encode_left(stamps: Sequence[Stamp]) -> bytes:
    """The end of the mark of files with those stamps, in the order of `LEFT_FILES`."""
    numbers = [number for stamp in stamps for number in (stamp.size, stamp.changed_ns)]
    body = _BODY.pack(_MAGIC, VERSION, *numbers)
    return body + blake2b_256(body)


def decode_left(mark: bytes) -> tuple[LeftFile, ...]:
    """What the end of a mark says; nothing if it says nothing, as those of version 0.1.0."""
    left = mark[-LEFT_BYTES:]
    if len(left) < LEFT_BYTES or blake2b_256(left[: _BODY.size]) != left[_BODY.size :]:
        return ()
    magic, version, *numbers = _BODY.unpack(left[: _BODY.size])
    if (magic, version) != (_MAGIC, VERSION):
        return ()
    return tuple(map(LeftFile, numbers[::2], numbers[1::2]))


def is_as_left(left: LeftFile, stamp: Stamp) -> bool:
    """Whether nothing has changed a file since."""
    return stamp.size == left.size and stamp.changed_ns <= left.changed_ns
