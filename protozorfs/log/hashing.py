"""What is hashed and what is signed: leaves, parents, tree hashes, heads.

Hashes are unkeyed BLAKE2b with 32 bytes of output; integers are 8 bytes, little-endian:

    leaf        00 || size of the block || block
    parent      01 || left size + right size || left hash || right hash      73 bytes hashed
    tree hash   02 || for each root, left to right: hash || index || size    1 + 48 per root
    signable    TREE (32) || tree hash (32) || length || fork                80 bytes signed

A parent's hash covers the sum of its children's sizes, not each of them. Source:
hypercore-crypto index.js (`data`, `parent`, `tree`), hypercore lib/caps.js (`treeSignableCompat`).
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import InvalidSignature
from protozorfs.types import Head, Signature, TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from protozorfs.types import PublicKey

TREE_NAMESPACE = crypto.namespace(b"hypercore", 0)

_LEAF = b"\x00"
_PARENT = b"\x01"
_TREE = b"\x02"
_INTEGER = Struct("<Q")
_TWO_INTEGERS = Struct("<QQ")

# Stands in a head of our own until it is signed; no signature is all zeros.
UNSIGNED = Signature(bytes(crypto.SIGNATURE_BYTES))


def leaf_hash(block: bytes | memoryview) -> TreeHash:
    """The hash of a block's leaf; the block's size is hashed with it."""
    return TreeHash(crypto.blake2b_256_behind(_LEAF + _INTEGER.pack(len(block)), block))


def parent_hash(left: TreeNode, right: TreeNode) -> TreeHash:
    """The hash of the parent of two siblings.

    Raises:
        struct.error: the sum of the sizes does not fit 8 bytes; decoded sizes are below 2**53.
    """
    size = _INTEGER.pack(left.size + right.size)
    return TreeHash(crypto.blake2b_256(_PARENT + size + left.hash + right.hash))


def leaf_node(block_index: int, block: bytes) -> TreeNode:
    """The leaf of a block."""
    return TreeNode(TreeIndex(2 * block_index), len(block), leaf_hash(block))


def parent_node(left: TreeNode, right: TreeNode) -> TreeNode:
    """The parent of two siblings, given left and right."""
    index = TreeIndex((left.tree_index + right.tree_index) >> 1)
    return TreeNode(index, left.size + right.size, parent_hash(left, right))


def tree_hash(roots: Iterable[TreeNode]) -> TreeHash:
    """The hash over all roots, left to right; of an empty tree too."""
    parts = [_TREE]
    for root in roots:
        parts += (root.hash, _TWO_INTEGERS.pack(root.tree_index, root.size))
    return TreeHash(crypto.blake2b_256(b"".join(parts)))


def byte_length_of(roots: Iterable[TreeNode]) -> int:
    """The sum of the roots' sizes: the byte length of the feed."""
    return sum([root.size for root in roots])  # of a few, without a generator's frames


def signable(tree_hash: TreeHash, length: int, fork: int) -> bytes:
    """The 80 bytes that a head's signature covers. Source: hypercore lib/caps.js."""
    return TREE_NAMESPACE + tree_hash + _TWO_INTEGERS.pack(length, fork)


def unsigned_head(roots: Sequence[TreeNode], length: int, fork: int) -> Head:
    """The head of a tree, yet to be signed. `roots` are the peaks of `length` blocks."""
    return Head(
        fork=fork,
        length=length,
        byte_length=byte_length_of(roots),
        tree_hash=tree_hash(roots),
        signature=UNSIGNED,
    )


def signed(head: Head, secret_key: bytes) -> Head:
    """The head with the feed's signature."""
    message = signable(head.tree_hash, head.length, head.fork)
    return replace(head, signature=crypto.sign(message, secret_key))


def sign_head(roots: Sequence[TreeNode], length: int, fork: int, secret_key: bytes) -> Head:
    """The head of a tree, signed. `roots` are the peaks of `length` blocks, left to right."""
    return signed(unsigned_head(roots, length, fork), secret_key)


def verify_head(head: Head, public_key: PublicKey) -> None:
    """Checks that the key signed this head. Its byte length is not covered by that alone.

    Raises:
        InvalidSignature: it did not.
    """
    message = signable(head.tree_hash, head.length, head.fork)
    if not crypto.verify(message, head.signature, public_key):
        raise InvalidSignature(f"the head of length {head.length} is not signed by the feed's key")
