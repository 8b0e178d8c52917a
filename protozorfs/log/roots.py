"""The roots under a signed head: as they are stored, or made again from what is below them.

All of a feed hangs on its roots, and the head says whether they are right: so one bit of a root
that has rotted loses nothing as long as its children, or its block, are whole.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from protozorfs.log import flat_tree
from protozorfs.log.checking import MAX_BLOCK_BYTES
from protozorfs.log.hashing import byte_length_of, leaf_node, parent_node, tree_hash
from protozorfs.log.tree import roots_of
from protozorfs.types import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from protozorfs.log.tree import TreeReader
    from protozorfs.store import File
    from protozorfs.types import Head, TreeNode

MAX_DOUBTS = 8  # roots that may be one thing or another: 256 hashes at most


def signed_roots(nodes: TreeReader, data: File, head: Head) -> tuple[TreeNode, ...] | None:
    """The peaks of the tree that a head was signed for; None if they are lost.

    Args:
        nodes: as they are stored, right or wrong.
        data: the blocks, of which the last may be a root by itself.
    """
    stored = roots_of(nodes, head.length)
    if stored is not None and tree_hash(stored) == head.tree_hash:
        return stored
    choices = [_inner(nodes, index) for index in flat_tree.peaks(head.length) if index & 1]
    if sum(len(choice) > 1 for choice in choices) > MAX_DOUBTS:
        return None
    for inner in product(*choices):
        for last in _last(nodes, data, head, byte_length_of(inner)):
            roots = (*inner, *last)
            if tree_hash(roots) == head.tree_hash:
                return roots
    return None


def _inner(nodes: TreeReader, index: int) -> list[TreeNode]:
    """What a root above other nodes may be: what is stored, and what they make."""
    stored = nodes.node(index)
    left, right = map(nodes.node, flat_tree.children(index))
    found = [] if stored is None else [stored]
    if left is not None and right is not None and left.size + right.size <= MAX_SAFE_INTEGER:
        made = parent_node(left, right)
        if made != stored:
            found.append(made)
    return found


def _last(
    nodes: TreeReader, data: File, head: Head, offset: int
) -> list[tuple[TreeNode] | tuple[()]]:
    """What the root of the last block may be, if that block is a root: stored, or made of it."""
    index = 2 * (head.length - 1)
    if not head.length & 1:
        return [()]
    stored = nodes.node(index)
    found: list[tuple[TreeNode] | tuple[()]] = [] if stored is None else [(stored,)]
    size = head.byte_length - offset
    if 0 <= size <= MAX_BLOCK_BYTES:
        found.append((leaf_node(index >> 1, data.pread(size, offset)),))
    return found
