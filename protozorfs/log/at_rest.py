"""What a feed amounts to, told without opening it: the content of its `clean` mark.

A mark is written when the files are closed and agree, and removed before the first write to them:
what it says was verified and still holds. Thousands of feeds are listed by their marks.

Integers are little-endian.

    offset  size
         0     8   magic "pzfsrest"
         8     2   version: 1
        10     2   flags: 1 damaged
        12     4   zero
        16     8   fork
        24     8   length of the feed in blocks
        32     8   its length in bytes
        40     8   bytes held
        48     8   blocks held from the first on without a gap
        56    32   BLAKE2b-256 of all before it

Behind it the store says how the files were left (`store.left`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError
from protozorfs.store.layout import CLEAN_FILE, PLAIN_FILES
from protozorfs.store.left import decode_left

if TYPE_CHECKING:
    from protozorfs.store import FeedDirectory

VERSION = 1
_MAGIC = b"pzfsrest"
_BODY = Struct("<8sHH4xQQQQQ")
_CHECKSUM_BYTES = 32
_DAMAGED = 1

_MARK_BYTES = 88

assert _BODY.size + _CHECKSUM_BYTES == _MARK_BYTES


class AtRest(NamedTuple):
    """What an open log would say of itself, in the same words."""

    fork: int
    length: int
    byte_length: int
    held_bytes: int
    contiguous_length: int
    damaged: bool


NOTHING = AtRest(0, 0, 0, 0, 0, False)  # of a feed that has no files


def read_at_rest(directory: FeedDirectory) -> AtRest | None:
    """What a feed's mark says; None if only the opened log can tell.

    That is after an unclean stop, where an owned feed was restored beside its mark, and where there
    is evidence beside the log, whose meaning is not for this module.
    """
    try:
        names = directory.files.listdir(directory.path)
    except FileNotFoundError:
        return NOTHING
    if CLEAN_FILE not in names or not PLAIN_FILES.issuperset(names):
        return None
    if "secret" in names and directory.changes_since_clean():
        return None
    try:
        return decode_at_rest(directory.files.read(f"{directory.path}/{CLEAN_FILE}"))
    except DecodeError:
        return None


def encode_at_rest(at_rest: AtRest) -> bytes:
    """The content of the mark."""
    *numbers, is_damaged = at_rest
    body = _BODY.pack(_MAGIC, VERSION, _DAMAGED if is_damaged else 0, *numbers)
    return body + blake2b_256(body)


def decode_at_rest(data: bytes) -> AtRest:
    """The reverse of `encode_at_rest`.

    Raises:
        DecodeError: not such a mark, or not whole.
    """
    body, checksum = data[: _BODY.size], data[_BODY.size : _MARK_BYTES]
    is_whole = len(data) == _MARK_BYTES or bool(decode_left(data[_MARK_BYTES:]))
    if not is_whole or blake2b_256(body) != checksum:
        raise DecodeError("a mark that is torn or empty")
    magic, version, flags, fork, length, byte_length, held_bytes, contiguous = _BODY.unpack(body)
    if (magic, version) != (_MAGIC, VERSION):
        raise DecodeError(f"not a mark of version {VERSION}")
    return AtRest(fork, length, byte_length, held_bytes, contiguous, bool(flags & _DAMAGED))
