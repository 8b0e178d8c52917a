"""What a reader asks for and what it is answered: requests and proofs as plain values.

A `Proof` is claimed data: nothing in it counts before `verify.verify_proof` has returned. Indexes
and sizes are below 2**53, as the wire's decoder makes sure; lists of nodes have been bounded by it.
Source: hypercore lib/messages.js (`request`, `data`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from protozorfs.types import TreeNode


class BlockRequest(NamedTuple):
    """One block; `nodes` counts the levels from its leaf up to a node that the reader holds."""

    block_index: int
    nodes: int


class HashRequest(NamedTuple):
    """One tree node; `nodes` counts the levels from it up to a node that the reader holds."""

    tree_index: int
    nodes: int


class SeekRequest(NamedTuple):
    """The node where a byte of the feed falls; `padding` bytes of each block do not count."""

    byte_offset: int
    padding: int


class UpgradeRequest(NamedTuple):
    """Proof that the tree of `start` blocks is a prefix of the one of `start + length` blocks."""

    start: int
    length: int


class Request(NamedTuple):
    """Any mix of a block or a hash (at most one of the two), a seek and an upgrade."""

    block: BlockRequest | None = None
    hash: HashRequest | None = None
    seek: SeekRequest | None = None
    upgrade: UpgradeRequest | None = None


class BlockProof(NamedTuple):
    """A block and the siblings on the way up from its leaf, bottom to top."""

    block_index: int
    value: bytes
    nodes: tuple[TreeNode, ...]


class HashProof(NamedTuple):
    """A tree node, which comes first in `nodes`, and the siblings on the way up from it."""

    tree_index: int
    nodes: tuple[TreeNode, ...]


class SeekProof(NamedTuple):
    """The node where the byte falls, then the siblings on the way up from it."""

    byte_offset: int
    nodes: tuple[TreeNode, ...]


class UpgradeProof(NamedTuple):
    """The nodes that grow a tree of `start` blocks by `length`, and on to the signed length.

    `additional_nodes` is empty if `start + length` is the signed length itself. `signature` is what
    came over the wire: 64 bytes if it is any good.
    """

    start: int
    length: int
    nodes: tuple[TreeNode, ...]
    additional_nodes: tuple[TreeNode, ...]
    signature: bytes


class Proof(NamedTuple):
    """The answer to a `Request`; parts that were not asked for are None."""

    fork: int
    block: BlockProof | None = None
    hash: HashProof | None = None
    seek: SeekProof | None = None
    upgrade: UpgradeProof | None = None
