"""Names and small values that all layers share.

Three keys of a feed are kept apart in the types although today they derive from one value: the
key that *names* a feed (`FeedId`), the key that *signs* it (`PublicKey`) and the key that
*announces* it (`DiscoveryKey`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NewType

FeedId = NewType("FeedId", bytes)  # 32 bytes; names a feed
PublicKey = NewType("PublicKey", bytes)  # 32 bytes, Ed25519; signs heads
DiscoveryKey = NewType("DiscoveryKey", bytes)  # 32 bytes; safe to reveal
NodeKey = NewType("NodeKey", bytes)  # 32 bytes, Ed25519; the static key of one node's connections
TreeHash = NewType("TreeHash", bytes)  # 32 bytes, BLAKE2b-256; of a tree node or of all roots
Signature = NewType("Signature", bytes)  # 64 bytes, Ed25519 detached
BlockIndex = NewType("BlockIndex", int)  # 0-based position of a block
TreeIndex = NewType("TreeIndex", int)  # flat-tree position; block i is 2 * i

MAX_SAFE_INTEGER = 2**53 - 1  # the largest integer that the wire and its Node peers can carry
MAX_NAME_BYTES = 255  # of a file: NAME_MAX, which FUSE does not hold callers to


class TreeNode(NamedTuple):
    """A node of the merkle tree: where it is, how many block bytes are below it, its hash."""

    tree_index: TreeIndex
    size: int
    hash: TreeHash


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A signed state of a feed. `byte_length` is the sum of the roots' sizes.

    Only `fork`, `length` and `tree_hash` are covered by the signature; the byte length is, by
    way of the tree hash.
    """

    fork: int
    length: int
    byte_length: int
    tree_hash: TreeHash
    signature: Signature


class Address(NamedTuple):
    """Where a peer listens: an IP address or host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
