"""An append as a value: the nodes and roots that a tree gains, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.log.hashing import leaf_node, parent_node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.log.tree import TreeState
    from protozorfs.types import TreeNode


class AppendChangeset(NamedTuple):
    """What appending blocks adds to a tree.

    `new_nodes` are all nodes that are made, in the order of their making: each leaf, then the
    parents that it completes. `roots`, `length` and `byte_length` are those of the longer tree.
    """

    new_nodes: list[TreeNode]
    roots: tuple[TreeNode, ...]
    length: int
    byte_length: int


def append_blocks(state: TreeState, blocks: Iterable[bytes]) -> AppendChangeset:
    """The changeset of appending the blocks, in one pass. Source: hypercore lib/merkle-tree.js."""
    roots = list(state.roots)
    length = state.length
    byte_length = state.byte_length
    new_nodes: list[TreeNode] = []
    for block in blocks:
        node = leaf_node(length, block)
        new_nodes.append(node)
        length += 1
        byte_length += len(block)
        # As in binary counting: each trailing zero of the new length is a pair that is complete.
        carry = length
        while not carry & 1:
            node = parent_node(roots.pop(), node)
            new_nodes.append(node)
            carry >>= 1
        roots.append(node)
    return AppendChangeset(new_nodes, tuple(roots), length, byte_length)
