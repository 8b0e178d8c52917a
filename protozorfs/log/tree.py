"""The tree as its users see it: a port to read stored nodes, and the state that a head signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from protozorfs.log import flat_tree
from protozorfs.log.hashing import byte_length_of

if TYPE_CHECKING:
    from protozorfs.types import PublicKey, TreeNode


class TreeReader(Protocol):
    """Where tree nodes are kept. Every node it returns is verified; a dict is one in tests.

    The peaks of the present length are always held. Once a block is verified, so are all nodes on
    its path up to its peak, and their siblings.
    """

    def node(self, tree_index: int) -> TreeNode | None:
        """The stored node, or None if it is not held."""
        ...


class TreeState(NamedTuple):
    """What a reader or writer knows of a feed: enough to append to it and to verify growth.

    `roots` are the peaks of `length`, left to right. Length 0 has none and needs no signature.
    """

    public_key: PublicKey
    fork: int
    length: int
    roots: tuple[TreeNode, ...]

    @property
    def byte_length(self) -> int:
        """The sum of the roots' sizes."""
        return byte_length_of(self.roots)


def roots_of(reader: TreeReader, length: int) -> tuple[TreeNode, ...] | None:
    """The peaks of a tree of `length` blocks as they are stored, or None if one is not held."""
    roots = []
    for index in flat_tree.peaks(length):
        root = reader.node(index)
        if root is None:
            return None
        roots.append(root)
    return tuple(roots)
