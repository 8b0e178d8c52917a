"""What the tests of the log share: the vectors, a decoder of their messages, trees in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protozorfs import crypto
from protozorfs.log import flat_tree, hashing
from protozorfs.log.changeset import append_blocks
from protozorfs.log.conflict import Evidence, find_conflict
from protozorfs.log.proof_types import (
    BlockProof,
    BlockRequest,
    HashProof,
    HashRequest,
    Proof,
    Request,
    SeekProof,
    SeekRequest,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.log.prove import make_proof
from protozorfs.log.tree import TreeState
from protozorfs.log.verify import VerifiedProof, verify_proof
from protozorfs.types import TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "log.json").read_text()
)
KEY_PAIR = crypto.key_pair(bytes.fromhex(VECTORS["key"]["seed"]))
VECTOR_BLOCKS = [bytes.fromhex(block) for block in VECTORS["blocks"]]


class Nodes(dict[int, TreeNode]):
    """Stored tree nodes, as the `TreeReader` port shows them."""

    def __init__(self, nodes: Iterable[TreeNode] = ()) -> None:
        super().__init__((node.tree_index, node) for node in nodes)

    def node(self, tree_index: int) -> TreeNode | None:
        return self.get(tree_index)

    def add(self, nodes: Iterable[TreeNode]) -> None:
        """Stores nodes; what is there already must be the same."""
        for node in nodes:
            assert self.setdefault(node.tree_index, node) == node


def empty_state(fork: int = 0) -> TreeState:
    return TreeState(KEY_PAIR.public_key, fork, 0, ())


class Writer:
    """A whole feed in memory; it answers requests."""

    def __init__(self, blocks: Sequence[bytes], fork: int = 0) -> None:
        change = append_blocks(empty_state(fork), blocks)
        self.blocks = list(blocks)
        self.nodes = Nodes(change.new_nodes)
        self.state = TreeState(KEY_PAIR.public_key, fork, change.length, change.roots)
        self.head = hashing.sign_head(change.roots, change.length, fork, KEY_PAIR.secret_key)

    def block(self, block_index: int) -> bytes | None:
        return self.blocks[block_index] if block_index < len(self.blocks) else None

    def prove(self, request: Request) -> Proof:
        state = self.state
        return make_proof(
            self.nodes, state.length, state.fork, self.head.signature, request, self.block
        )


class Reader:
    """A follower in memory that stores what answers prove."""

    def __init__(self, fork: int = 0) -> None:
        self.state = empty_state(fork)
        self.nodes = Nodes()
        self.blocks: dict[int, bytes] = {}

    def apply(self, request: Request, proof: Proof) -> VerifiedProof:
        verified = verify_proof(self.state, self.nodes, request, proof)
        self.nodes.add(verified.nodes)
        if verified.head is not None:
            assert verified.roots is not None
            self.state = self.state._replace(length=verified.head.length, roots=verified.roots)
        if verified.block is not None:
            self.blocks[verified.block.block_index] = verified.block.value
        return verified

    def fetch(self, writer: Writer, request: Request) -> VerifiedProof:
        return self.apply(request, writer.prove(request))


def upgraded_reader(writer: Writer, length: int | None = None) -> Reader:
    """A reader that holds the peaks of the first `length` blocks, and nothing else."""
    reader = Reader(writer.state.fork)
    until = writer.state.length if length is None else length
    if until:
        prefix = Writer(writer.blocks[:until], writer.state.fork)
        reader.fetch(prefix, Request(upgrade=UpgradeRequest(0, until)))
    return reader


WRITERS = {length: Writer(VECTOR_BLOCKS[:length]) for length in range(1, 101)}


def reader_for(writer: Writer, request: Request) -> Reader:
    """A reader with the peaks of the upgrade's start (or of all), and the node of the hint."""
    reader = upgraded_reader(writer, request.upgrade.start if request.upgrade else None)
    target = request.hash or (
        request.block and request.block._replace(block_index=2 * request.block.block_index)
    )
    if target is not None and flat_tree.right_span(target[0]) < 2 * reader.state.length:
        index, levels = target
        _, top = flat_tree.climb(index, levels, reader.state.length)
        reader.nodes.add([writer.nodes[top]])
    return reader


def whole_proof(writer: Writer, length: int) -> Proof:
    """The answer to an upgrade from nothing."""
    return writer.prove(Request(upgrade=UpgradeRequest(0, length)))


def other_history(length: int, changed: int = 2) -> Writer:
    """The vectors' blocks, one of them changed, under the same key."""
    blocks = list(VECTOR_BLOCKS[:length])
    blocks[changed] = b"another history"
    return Writer(blocks)


def two_histories() -> Evidence:
    """Evidence between the vectors' blocks and another history of them, of length 7."""
    own = Writer(VECTOR_BLOCKS[:7])
    proof = whole_proof(other_history(7), 7)
    evidence = find_conflict(own.state, own.nodes, own.head.signature, proof)
    assert evidence is not None
    return evidence


def vector_node(value: dict[str, Any]) -> TreeNode:
    return TreeNode(
        TreeIndex(value["index"]), value["size"], TreeHash(bytes.fromhex(value["hash"]))
    )


def vector_request(value: dict[str, Any]) -> Request:
    block, hash_, seek, upgrade = (value.get(k) for k in ("block", "hash", "seek", "upgrade"))
    return Request(
        block and BlockRequest(block["index"], block["nodes"]),
        hash_ and HashRequest(hash_["index"], hash_["nodes"]),
        seek and SeekRequest(seek["bytes"], seek["padding"]),
        upgrade and UpgradeRequest(upgrade["start"], upgrade["length"]),
    )


class _Cursor:
    """Takes compact-encoding values off the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        assert len(taken) == count
        return taken

    def uint(self) -> int:
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        return int.from_bytes(self.take({0xFD: 2, 0xFE: 4, 0xFF: 8}[first]), "little")

    def buffer(self) -> bytes:
        return self.take(self.uint())

    def nodes(self) -> tuple[TreeNode, ...]:
        return tuple(
            TreeNode(TreeIndex(self.uint()), self.uint(), TreeHash(self.take(32)))
            for _ in range(self.uint())
        )


def vector_proof(data: str) -> Proof:
    """The proof in a `data` message given as hex."""
    cursor = _Cursor(bytes.fromhex(data))
    flags, _request_id, fork = cursor.uint(), cursor.uint(), cursor.uint()
    return Proof(
        fork,
        BlockProof(cursor.uint(), cursor.buffer(), cursor.nodes()) if flags & 1 else None,
        HashProof(cursor.uint(), cursor.nodes()) if flags & 2 else None,
        SeekProof(cursor.uint(), cursor.nodes()) if flags & 4 else None,
        UpgradeProof(cursor.uint(), cursor.uint(), cursor.nodes(), cursor.nodes(), cursor.buffer())
        if flags & 8
        else None,
    )
