"""How the log is written to disk: tree nodes, head slots, evidence of a conflict.

All integers are unsigned and little-endian. Decoders raise `DecodeError`, whatever their input.

Tree node, 40 bytes, at byte 40 * tree index of the tree file:

     0   8  size: block bytes below the node
     8  32  hash
    all zero: the node is not held (no hash is zero)

Head slot, 512 bytes (one sector, so that a torn write leaves it old, new or damaged):

     0   8  "pzfshead"
     8   2  version: 1
    10   2  kind: 0 signed, 1 durable
    12   4  zero
    16   8  sequence: the higher of two sound slots of a kind is the newer
    24   8  fork
    32   8  length
    40   8  byte length
    48  32  tree hash
    80  64  signature
   144 336  zero
   480  32  BLAKE2b-256 of bytes 0 to 479
    all zero: the slot was never written

Evidence of a conflict (see `conflict`), of two signed histories:

     0   8  "pzfsfork"
     8   2  version: 1
    10   .  the one held here, then the other:
               0   8  fork
               8   8  length of the upgrade from nothing
              16   2  count of nodes
              18   2  count of additional nodes
              20   2  count of hash nodes; 0: no hash part. The first is the node it is about
              22  64  signature
              86   .  the nodes in this order, 48 bytes each: tree index 8, size 8, hash 32
     .  32  BLAKE2b-256 of all before it
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import DecodeError
from protozorfs.log.conflict import Evidence, SignedNodes
from protozorfs.log.proof_types import HashProof, UpgradeProof
from protozorfs.store.heads import HeadKind
from protozorfs.types import MAX_SAFE_INTEGER, Head, Signature, TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = 1
CHECKSUM_BYTES = 32

NODE_BYTES = 40
NODE = Struct("<Q32s")
assert NODE.size == NODE_BYTES

HEAD_SLOT_BYTES = 512
_HEAD_MAGIC = b"pzfshead"
_HEAD = Struct("<8sHH4xQQQQ32s64s336x")
_EMPTY_SLOT = bytes(HEAD_SLOT_BYTES)
assert _HEAD.size + CHECKSUM_BYTES == HEAD_SLOT_BYTES

_EVIDENCE_MAGIC = b"pzfsfork"
_EVIDENCE = Struct("<8sH")
_SIGNED = Struct("<QQHHH64s")
_LISTED_NODE = Struct("<QQ32s")
assert (_EVIDENCE.size, _SIGNED.size, _LISTED_NODE.size) == (10, 86, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSlot:
    """A head as it is kept; `sequence` counts the writes of its kind."""

    kind: HeadKind
    sequence: int
    head: Head


def encode_head_slot(kind: HeadKind, sequence: int, head: Head) -> bytes:
    """The 512 bytes of a head slot."""
    body = _HEAD.pack(
        _HEAD_MAGIC,
        VERSION,
        kind,
        sequence,
        head.fork,
        head.length,
        head.byte_length,
        head.tree_hash,
        head.signature,
    )
    return body + crypto.blake2b_256(body)


def decode_head_slot(data: bytes) -> HeadSlot | None:
    """The head in a slot; None if it was never written. The signature is not checked here.

    Raises:
        DecodeError: torn, damaged, or of another version.
    """
    if len(data) != HEAD_SLOT_BYTES:
        raise DecodeError(f"a head slot of {len(data)} bytes")
    if data == _EMPTY_SLOT:
        return None
    body = _checked(data, "head slot")
    magic, version, kind, sequence, *fields = _HEAD.unpack(body)
    if (
        magic != _HEAD_MAGIC
        or version != VERSION
        or kind not in (HeadKind.SIGNED, HeadKind.DURABLE)
    ):
        raise DecodeError(f"not a head slot of version {VERSION}")
    fork, length, byte_length, tree_hash, signature = fields
    if max(fork, length, byte_length) > MAX_SAFE_INTEGER:
        raise DecodeError("a head slot with a count that no feed has")
    head = Head(
        fork=fork,
        length=length,
        byte_length=byte_length,
        tree_hash=TreeHash(tree_hash),
        signature=Signature(signature),
    )
    return HeadSlot(kind=HeadKind(kind), sequence=sequence, head=head)


def encode_evidence(evidence: Evidence) -> bytes:
    """The bytes of evidence that verified; a list is at most two paths, so below 16 KB."""
    body = _EVIDENCE.pack(_EVIDENCE_MAGIC, VERSION)
    body += _encode_signed(evidence.own) + _encode_signed(evidence.other)
    return body + crypto.blake2b_256(body)


def decode_evidence(data: bytes) -> Evidence:
    """The evidence as it was kept; `conflict.proven_histories` says whether it is any.

    Raises:
        DecodeError: torn, damaged, or of another version.
    """
    body = _checked(data, "proof of a fork")
    if body[: _EVIDENCE.size] != _EVIDENCE.pack(_EVIDENCE_MAGIC, VERSION):
        raise DecodeError(f"not evidence of version {VERSION}")
    own, offset = _decode_signed(body, _EVIDENCE.size)
    other, offset = _decode_signed(body, offset)
    if offset != len(body):
        raise DecodeError("evidence with bytes left over")
    return Evidence(own, other)


def _checked(data: bytes, what: str) -> bytes:
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if crypto.blake2b_256(body) != checksum:
        raise DecodeError(f"a {what} with a wrong checksum")
    return body


def _encode_signed(signed: SignedNodes) -> bytes:
    upgrade = signed.upgrade
    hash_nodes = signed.hash.nodes if signed.hash else ()
    fields = _SIGNED.pack(
        signed.fork,
        upgrade.length,
        len(upgrade.nodes),
        len(upgrade.additional_nodes),
        len(hash_nodes),
        upgrade.signature,
    )
    nodes: Iterable[TreeNode] = (*upgrade.nodes, *upgrade.additional_nodes, *hash_nodes)
    return fields + b"".join(_LISTED_NODE.pack(*node) for node in nodes)


def _decode_signed(body: bytes, offset: int) -> tuple[SignedNodes, int]:
    """The history at `offset`, and the offset behind it."""
    if len(body) < offset + _SIGNED.size:
        raise DecodeError("evidence that is cut short")
    fork, length, *counts, signature = _SIGNED.unpack_from(body, offset)
    offset += _SIGNED.size
    end = offset + sum(counts) * _LISTED_NODE.size
    if len(body) < end:
        raise DecodeError("evidence that is cut short")
    lists = []
    for count in counts:
        stop = offset + count * _LISTED_NODE.size
        lists.append(
            tuple(
                TreeNode(TreeIndex(index), size, TreeHash(node_hash))
                for index, size, node_hash in _LISTED_NODE.iter_unpack(body[offset:stop])
            )
        )
        offset = stop
    nodes, additional_nodes, hash_nodes = lists
    upgrade = UpgradeProof(0, length, nodes, additional_nodes, signature)
    hash_proof = HashProof(int(hash_nodes[0].tree_index), hash_nodes) if hash_nodes else None
    return SignedNodes(fork, hash_proof, upgrade), end
