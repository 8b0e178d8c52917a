"""A reader that looks for a byte, asking for one block after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.log.prove import hint
from protozorfs.log.seek import Located, guess_block, locate

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from protozorfs.log.tree import TreeReader
    from protozorfs.types import TreeNode


def next_request(
    reader: TreeReader,
    roots: Sequence[TreeNode],
    length: int,
    byte_offset: int,
    assume: Container[int] = frozenset(),
) -> Request:
    """The block request that brings a reader closer to a byte, or the byte itself.

    Any peer that has the block can answer it. `assume` is as in `prove.hint`.

    Raises:
        ValueError: the byte is not in the feed.
    """
    found = locate(reader, roots, byte_offset)
    block_index = found.block_index if isinstance(found, Located) else guess_block(found)
    return Request(
        block=BlockRequest(block_index, hint(reader, length, block_index, assume)),
    )


def first_request(length: int, byte_length: int, byte_offset: int) -> Request:
    """The upgrade from nothing, together with the block that a byte is likely to be in.

    `length` and `byte_length` may come from a head record: nothing rests on them.

    Raises:
        ValueError: the byte is not in a feed of so many bytes.
    """
    if not 0 <= byte_offset < byte_length:
        raise ValueError(f"byte {byte_offset} is beyond the {byte_length} bytes of the feed")
    guess = min(length - 1, length * byte_offset // byte_length)
    return Request(block=BlockRequest(guess, 0), upgrade=UpgradeRequest(0, length))
