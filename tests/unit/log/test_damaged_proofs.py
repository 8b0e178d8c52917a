"""Damaged answers are refused, or harmless: what would be stored of them is right.

Every change of one bit is refused. The harmless class are changes of two sizes with the same sum in
nodes that are joined with one another (`verify`): they verify, and those nodes are not stored.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import BlockUnavailable, InvalidProof, InvalidRequest, ProofUnavailable
from protozorfs.log.proof_types import (
    BlockProof,
    BlockRequest,
    HashRequest,
    Proof,
    Request,
    SeekRequest,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.log.prove import make_proof
from protozorfs.log.verify import verify_proof
from protozorfs.types import MAX_SAFE_INTEGER, TreeHash, TreeIndex, TreeNode
from tests.sizes import long_or_short
from tests.unit.log.log_tools import (
    VECTOR_BLOCKS,
    VECTORS,
    WRITERS,
    Nodes,
    Reader,
    Writer,
    reader_for,
    upgraded_reader,
    vector_proof,
    vector_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER_BITS = 53
DAMAGES_PER_ANSWER = long_or_short(200, 12)
SAMPLES = {
    "block": Request(block=BlockRequest(2, 3)),
    "block that is stored": Request(block=BlockRequest(8, 0)),
    "upgrade": Request(upgrade=UpgradeRequest(5, 4)),
    "upgrade to a part": Request(upgrade=UpgradeRequest(5, 2)),
    "block of the new part": Request(block=BlockRequest(7, 0), upgrade=UpgradeRequest(5, 4)),
    "block of the old part": Request(block=BlockRequest(1, 2), upgrade=UpgradeRequest(5, 4)),
    "hash": Request(hash=HashRequest(2, 3)),
    "hash of the new part": Request(hash=HashRequest(9, 0), upgrade=UpgradeRequest(0, 9)),
    "hash and seek": Request(hash=HashRequest(0, 3), seek=SeekRequest(100, 0)),
    "seek and upgrade": Request(seek=SeekRequest(70, 0), upgrade=UpgradeRequest(0, 9)),
}


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damaged_nodes(nodes: tuple[TreeNode, ...]) -> Iterator[tuple[TreeNode, ...]]:
    """The list with each bit of each node changed, and with each node left out or doubled."""
    for at, node in enumerate(nodes):
        before, after = nodes[:at], nodes[at + 1 :]
        yield before + after
        yield (*before, node, node, *after)
        for bit in range(INTEGER_BITS):
            index = TreeIndex(node.tree_index ^ 1 << bit)
            yield (*before, node._replace(tree_index=index), *after)
            yield (*before, node._replace(size=node.size ^ 1 << bit), *after)
        for bit in range(256):
            changed = node._replace(hash=TreeHash(flip(node.hash, bit)))
            yield (*before, changed, *after)


def damaged_blocks(block: BlockProof) -> Iterator[BlockProof]:
    for bit in range(INTEGER_BITS):
        yield block._replace(block_index=block.block_index ^ 1 << bit)
    for bit in range(8 * len(block.value)):
        yield block._replace(value=flip(block.value, bit))
    yield block._replace(value=block.value + b"\0")
    yield from (block._replace(nodes=nodes) for nodes in damaged_nodes(block.nodes))


def damaged_upgrades(upgrade: UpgradeProof) -> Iterator[UpgradeProof]:
    for bit in range(INTEGER_BITS):
        yield upgrade._replace(start=upgrade.start ^ 1 << bit)
        yield upgrade._replace(length=upgrade.length ^ 1 << bit)
    for bit in range(512):
        yield upgrade._replace(signature=flip(upgrade.signature, bit))
    yield from (upgrade._replace(nodes=nodes) for nodes in damaged_nodes(upgrade.nodes))
    for nodes in damaged_nodes(upgrade.additional_nodes):
        yield upgrade._replace(additional_nodes=nodes)


def damaged_copies(proof: Proof) -> Iterator[Proof]:
    """Every change of one bit of the values that a proof is, and some other small ones."""
    yield from (proof._replace(fork=proof.fork ^ 1 << bit) for bit in range(INTEGER_BITS))
    if proof.block is not None:
        yield from (proof._replace(block=block) for block in damaged_blocks(proof.block))
        yield proof._replace(block=None)
    if proof.hash is not None:
        part = proof.hash
        for bit in range(INTEGER_BITS):
            yield proof._replace(hash=part._replace(tree_index=part.tree_index ^ 1 << bit))
        for nodes in damaged_nodes(part.nodes):
            yield proof._replace(hash=part._replace(nodes=nodes))
        yield proof._replace(hash=None)
    if proof.seek is not None:
        seek = proof.seek
        for bit in range(INTEGER_BITS):
            yield proof._replace(seek=seek._replace(byte_offset=seek.byte_offset ^ 1 << bit))
        for nodes in damaged_nodes(seek.nodes):
            yield proof._replace(seek=seek._replace(nodes=nodes))
        yield proof._replace(seek=None)
    if proof.upgrade is not None:
        for upgrade in damaged_upgrades(proof.upgrade):
            yield proof._replace(upgrade=upgrade)
        yield proof._replace(upgrade=None)


def check_refused(reader: Reader, request: Request, proof: Proof) -> None:
    with pytest.raises(InvalidProof):
        verify_proof(reader.state, reader.nodes, request, proof)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_damage_to_a_sample_is_refused(name: str) -> None:
    request = SAMPLES[name]
    writer = WRITERS[9]
    reader = reader_for(writer, request)
    proof = writer.prove(request)
    before = dict(reader.nodes)
    for damaged in damaged_copies(proof):
        check_refused(reader, request, damaged)
    assert reader.nodes == before
    reader.apply(request, proof)


def test_some_damage_to_each_answer_is_refused() -> None:
    dice = random.Random(7)
    for case in VECTORS["proofs"]:
        if "error" in case:
            continue
        request = vector_request(case["request"])
        reader = reader_for(WRITERS[case["length"]], request)
        copies = list(damaged_copies(vector_proof(case["data"])))
        for damaged in dice.sample(copies, DAMAGES_PER_ANSWER):
            check_refused(reader, request, damaged)


def moved_sizes(proof: Proof) -> Iterator[Proof]:
    """The proof with some bytes moved from each of its nodes to each other one."""
    lists = [
        proof.block.nodes if proof.block else (),
        proof.hash.nodes if proof.hash else (),
        proof.seek.nodes if proof.seek else (),
        proof.upgrade.nodes if proof.upgrade else (),
        proof.upgrade.additional_nodes if proof.upgrade else (),
    ]
    places = [(which, at) for which, nodes in enumerate(lists) for at in range(len(nodes))]
    for giver in places:
        given = min(5, lists[giver[0]][giver[1]].size)
        for taker in places:
            if giver == taker or not given:
                continue
            copies = [list(nodes) for nodes in lists]
            for (which, at), change in ((giver, -given), (taker, given)):
                node = copies[which][at]
                copies[which][at] = node._replace(size=node.size + change)
            block, hash_, seek, upgrade, additional = map(tuple, copies)
            yield Proof(
                proof.fork,
                proof.block and proof.block._replace(nodes=block),
                proof.hash and proof.hash._replace(nodes=hash_),
                proof.seek and proof.seek._replace(nodes=seek),
                proof.upgrade
                and proof.upgrade._replace(nodes=upgrade, additional_nodes=additional),
            )


def test_moved_sizes_are_refused_or_not_stored() -> None:
    verified_anyway = 0
    for case in VECTORS["proofs"]:
        if "error" in case or case["length"] > 17:
            continue
        request = vector_request(case["request"])
        writer = WRITERS[case["length"]]
        reader = reader_for(writer, request)
        for moved in moved_sizes(vector_proof(case["data"])):
            try:
                verified = verify_proof(reader.state, reader.nodes, request, moved)
            except InvalidProof:
                continue
            verified_anyway += 1
            assert Nodes(verified.nodes).items() <= writer.nodes.items()
            assert verified.head in (None, writer.head)
    assert verified_anyway > 100


def test_a_signed_feed_of_impossible_size_is_refused() -> None:
    huge = TreeNode(TreeIndex(1), MAX_SAFE_INTEGER, TreeHash(bytes(32)))
    nodes = (huge, huge._replace(tree_index=TreeIndex(4)))
    upgrade = UpgradeProof(0, 3, nodes, (), bytes(64))
    with pytest.raises(InvalidProof, match="more bytes"):
        Reader().apply(Request(upgrade=UpgradeRequest(0, 3)), Proof(0, upgrade=upgrade))


@pytest.mark.parametrize("length", [0, 3, 2**53])
def test_an_upgrade_to_nowhere_is_refused(length: int) -> None:
    upgrade = UpgradeProof(3, length, (), (), bytes(64))
    reader = upgraded_reader(WRITERS[9], 3)
    with pytest.raises(InvalidProof):
        reader.apply(Request(upgrade=UpgradeRequest(3, length)), Proof(0, upgrade=upgrade))


def test_an_upgrade_to_the_same_length_is_refused_whatever_its_signature() -> None:
    reader, head = upgraded_reader(WRITERS[3]), WRITERS[3].head
    proof = Proof(0, upgrade=UpgradeProof(3, 0, (), (), head.signature))
    check_refused(reader, Request(upgrade=UpgradeRequest(3, 0)), proof)


def test_an_answer_to_another_request_is_refused() -> None:
    # Each of these answers is sound in itself.
    reader = upgraded_reader(WRITERS[9])
    asked, other = Request(block=BlockRequest(2, 3)), Request(block=BlockRequest(3, 3))
    check_refused(reader, asked, WRITERS[9].prove(other))
    asked, other = Request(hash=HashRequest(2, 3)), Request(hash=HashRequest(4, 3))
    check_refused(reader, asked, WRITERS[9].prove(other))
    part = WRITERS[9].prove(asked).hash
    assert part is not None
    named_wrongly = Proof(0, hash=part._replace(tree_index=4))
    check_refused(reader, other, named_wrongly)


def test_an_answer_that_proves_nothing_is_refused() -> None:
    reader = upgraded_reader(WRITERS[9])
    request = Request(seek=SeekRequest(3, 0))
    check_refused(reader, request, Proof(0))
    hash_and_seek = WRITERS[9].prove(SAMPLES["hash and seek"])
    check_refused(reader, Request(seek=SeekRequest(100, 0)), Proof(0, seek=hash_and_seek.seek))


def test_parts_that_no_request_can_combine_are_refused() -> None:
    block, hash_ = BlockRequest(1, 1), HashRequest(2, 1)
    writer = WRITERS[9]
    for request in (
        Request(),
        Request(seek=SeekRequest(3, 0)),
        Request(block=block, hash=hash_),
        Request(hash=HashRequest(18, 0)),
        Request(hash=hash_, upgrade=UpgradeRequest(0, 10)),
        Request(hash=HashRequest(2, 99)),
        Request(hash=HashRequest(16, 0), upgrade=UpgradeRequest(0, 8)),
        Request(hash=hash_, seek=SeekRequest(3, 0), upgrade=UpgradeRequest(0, 9)),
        Request(hash=HashRequest(2, 1), seek=SeekRequest(10**9, 0)),
        Request(upgrade=UpgradeRequest(9, 0)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            writer.prove(request)
        assert not isinstance(caught.value, ProofUnavailable)
    with pytest.raises(BlockUnavailable):
        writer.prove(Request(block=BlockRequest(9, 0)))


def test_a_relay_proves_what_it_holds_and_says_what_it_does_not() -> None:
    writer = Writer(VECTOR_BLOCKS[:16])
    relay = upgraded_reader(writer)
    relay.fetch(writer, Request(block=BlockRequest(5, 4)))

    def prove(request: Request) -> Proof:
        signature = writer.head.signature
        return make_proof(relay.nodes, 16, 0, signature, request, relay.blocks.get)

    reader = upgraded_reader(writer)
    request = Request(block=BlockRequest(5, 4))
    reader.apply(request, prove(request))
    assert reader.blocks == relay.blocks
    with pytest.raises(BlockUnavailable):
        prove(Request(block=BlockRequest(6, 4)))
    # No fault of who asks.
    for request in (Request(hash=HashRequest(0, 0)), Request(upgrade=UpgradeRequest(9, 7))):
        with pytest.raises(ProofUnavailable):
            prove(request)
    # A seek ends above what is not known.
    request = Request(seek=SeekRequest(1, 0), upgrade=UpgradeRequest(0, 16))
    seek = prove(request).seek
    assert seek is not None
    assert seek.nodes[0] == writer.nodes[3]


def test_a_seek_ends_where_a_left_child_ends_or_the_start_node_starts() -> None:
    writer = Writer([bytes([i]) * 10 for i in range(8)])
    seek = writer.prove(Request(hash=HashRequest(14, 3), seek=SeekRequest(20, 0))).seek
    assert seek is not None
    assert [node.tree_index for node in seek.nodes] == [1, 5]
    # Node 11 starts at byte 40, and is on the path itself: no part of its own.
    at_start = Request(hash=HashRequest(14, 2), seek=SeekRequest(40, 0))
    assert writer.prove(at_start).seek is None
    assert writer.prove(at_start).hash == writer.prove(Request(hash=at_start.hash)).hash


def test_padding_is_left_out_of_a_seek() -> None:
    # Every block of 10 bytes counts as 8: byte 17 is in block 2, not in block 1.
    writer = Writer([bytes([i]) * 10 for i in range(8)])
    found = []
    for padding in (0, 2):
        request = Request(hash=HashRequest(14, 3), seek=SeekRequest(17, padding))
        seek = writer.prove(request).seek
        assert seek is not None
        found.append(seek.nodes[0].tree_index)
    assert found == [2, 4]
