"""Bytes and blocks: where a block lies in the feed, and which block holds a byte.

Only stored nodes are used, whose sizes are all proved. Once a block is verified, so are the sizes
of everything to its left that its offset is the sum of. Source: hypercore lib/merkle-tree.js
(`byteOffset`, `ByteSeeker`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import BlockUnavailable
from protozorfs.log import flat_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.tree import TreeReader
    from protozorfs.types import TreeNode


class Located(NamedTuple):
    """The block that holds a byte; it is bytes [start, end) of the feed."""

    block_index: int
    start: int
    end: int


class Unknown(NamedTuple):
    """The lowest stored node above a byte, when what is below it is not stored.

    It covers `span` bytes of the feed from `start` on; `inside` is the byte's offset among them.
    """

    tree_index: int
    start: int
    inside: int
    span: int

    @property
    def first_block(self) -> int:
        """The first block below the node."""
        return flat_tree.left_span(self.tree_index) >> 1

    @property
    def block_count(self) -> int:
        """How many blocks are below the node."""
        return flat_tree.leaf_count(self.tree_index)


def block_span(reader: TreeReader, roots: Sequence[TreeNode], block_index: int) -> tuple[int, int]:
    """The bytes [start, end) of the feed that a block is.

    Raises:
        BlockUnavailable: the sizes on the way to it are not all stored, or it is beyond the length.
    """
    leaf, start = 2 * block_index, 0
    for root in roots:
        if leaf > flat_tree.right_span(root.tree_index):
            start += root.size
            continue
        index, size = int(root.tree_index), root.size
        while index != leaf:
            left_index, right_index = flat_tree.children(index)
            left = reader.node(left_index)
            if left is None:
                break
            if leaf < index:
                index, size = left_index, left.size
            else:
                index, size = right_index, size - left.size
                start += left.size
        else:
            return start, start + size
        break
    raise BlockUnavailable(f"where block {block_index} lies is not known")


def unknown_around(
    reader: TreeReader, roots: Sequence[TreeNode], block_index: int
) -> tuple[int, int] | None:
    """The blocks `[start, end)` below the lowest stored node above a block; None: its leaf is.

    Raises:
        ValueError: the block is beyond the end.
    """
    leaf = 2 * block_index
    for root in roots:
        if leaf > flat_tree.right_span(root.tree_index):
            continue
        index = int(root.tree_index)
        while index != leaf:
            left, right = flat_tree.children(index)
            below = left if leaf < index else right
            if reader.node(left) is None or reader.node(below) is None:
                first, last = flat_tree.left_span(index), flat_tree.right_span(index)
                return first >> 1, (last >> 1) + 1
            index = below
        return None
    raise ValueError(f"block {block_index} is beyond the end")


def locate(reader: TreeReader, roots: Sequence[TreeNode], byte_offset: int) -> Located | Unknown:
    """The block that holds a byte, or how far down towards it the stored sizes lead.

    Raises:
        ValueError: the byte is not in the feed.
    """
    start = 0
    for root in roots:
        if byte_offset < start + root.size:
            return _descend(reader, root, start, byte_offset)
        start += root.size
    raise ValueError(f"byte {byte_offset} is beyond the {start} bytes of the feed")


def _descend(reader: TreeReader, root: TreeNode, start: int, byte_offset: int) -> Located | Unknown:
    index, size = int(root.tree_index), root.size
    while index & 1:
        left_index, right_index = flat_tree.children(index)
        left = reader.node(left_index)
        if left is None:
            return Unknown(index, start, byte_offset - start, size)
        if byte_offset < start + left.size:
            index, size = left_index, left.size
        else:
            index, size = right_index, size - left.size
            start += left.size
    return Located(index >> 1, start, start + size)


def guess_block(unknown: Unknown) -> int:
    """The block below an unknown node that holds the byte if all are of one size.

    Its proof brings the sizes of everything beside its path, so that the next descent gets deeper
    whatever the true sizes are.
    """
    return unknown.first_block + unknown.block_count * unknown.inside // unknown.span
