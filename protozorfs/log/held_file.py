"""The `bitfield` file: which blocks a feed held when it was written.

It is written as a whole and replaced atomically, and read once. Beside a clean mark it is believed;
without one it is a claim, to which `held_log` adds what has changed since. Which blocks are yet to
be checked after an unclean stop stands beside them. Integers are 8 bytes, little-endian.

    offset  size
         0    32   BLAKE2b-256 of the rest
        32     8   magic "pzheld1\\n"
        40     8   flags: 1 damaged
        48     8   length of the feed in blocks
        56     8   bytes held
        64         segments until the end, ascending:
                       run    0 || first block || block behind the last
                       page   1 || first block || 512 bytes, bit i % 8 of byte i // 8 is block i
                   then those of the blocks in doubt: runs of kind 2, pages of kind 3
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError
from protozorfs.log.bitfield import PAGE_BITS, PAGE_BYTES, Bitfield
from protozorfs.types import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"pzheld1\n"
CHECKSUM_BYTES = 32
_HEADER = Struct("<8sQQQ")
_INTEGER = Struct("<Q")
_RUN = Struct("<QQQ")
_PAGE = Struct(f"<QQ{PAGE_BYTES}s")
_RUN_KIND, _PAGE_KIND = 0, 1
_KINDS = 2  # of blocks held; those of blocks in doubt follow
_DAMAGED = 1

assert CHECKSUM_BYTES + _HEADER.size == 64
assert _PAGE.size == 16 + 512


class HeldBlocks(NamedTuple):
    """What the file says. `in_doubt`: blocks that a check behind an unclean stop has yet to see."""

    length: int
    held_bytes: int
    is_damaged: bool
    held: Bitfield
    in_doubt: Bitfield


def encode_held(blocks: HeldBlocks) -> bytes:
    """The content of the file."""
    flags = _DAMAGED if blocks.is_damaged else 0
    parts = [_HEADER.pack(_MAGIC, flags, blocks.length, blocks.held_bytes)]
    for first_kind, bits in ((0, blocks.held), (_KINDS, blocks.in_doubt)):
        parts += _segments(first_kind, bits, blocks.length)
    body = b"".join(parts)
    return blake2b_256(body) + body


def _segments(first_kind: int, bits: Bitfield, end: int) -> Iterator[bytes]:
    at = bits.first_set(0, end)
    while at is not None:
        run_end = min(bits.first_unset(at), end)
        page = at - at % PAGE_BITS
        if run_end >= page + PAGE_BITS:
            yield _RUN.pack(first_kind + _RUN_KIND, at, run_end)
            at = run_end
        else:
            # What an earlier run covered of this page is set twice, to the same.
            yield _PAGE.pack(first_kind + _PAGE_KIND, page, bits.to_bytes(page, PAGE_BITS))
            at = page + PAGE_BITS
        at = bits.first_set(at, end)


def decode_held(data: bytes) -> HeldBlocks:
    """The reverse of `encode_held`.

    Raises:
        DecodeError: not such a file, or not whole.
    """
    body = data[CHECKSUM_BYTES:]
    if len(body) < _HEADER.size or blake2b_256(body) != data[:CHECKSUM_BYTES]:
        raise DecodeError("the bitfield file is torn or empty")
    magic, flags, length, held_bytes = _HEADER.unpack_from(body)
    if magic != _MAGIC or length > MAX_SAFE_INTEGER:
        raise DecodeError("the bitfield file is of another format")
    sets = Bitfield(), Bitfield()
    at = _HEADER.size
    while at < len(body):
        at = _decode_segment(body, at, sets, length)
    return HeldBlocks(length, held_bytes, bool(flags & _DAMAGED), *sets)


def _decode_segment(body: bytes, at: int, sets: tuple[Bitfield, ...], length: int) -> int:
    """Sets the blocks of one segment; returns where the next one starts."""
    kind = _INTEGER.unpack_from(body, at)[0] if at + _INTEGER.size <= len(body) else -1
    if 0 <= kind < _KINDS * len(sets):
        bits, kind = sets[kind // _KINDS], kind % _KINDS
        if kind == _RUN_KIND and at + _RUN.size <= len(body):
            _, start, end = _RUN.unpack_from(body, at)
            if start < end <= length:
                bits.set_range(start, end)
                return at + _RUN.size
        if kind == _PAGE_KIND and at + _PAGE.size <= len(body):
            _, start, content = _PAGE.unpack_from(body, at)
            if start < length and start % PAGE_BITS == 0:
                bits.assign_bytes(start, content)
                return at + _PAGE.size
    raise DecodeError(f"the bitfield file has no segment at {at}")
