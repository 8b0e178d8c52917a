"""The log against values that hypercore 11.37.1 made: tests/vectors/make_log.js."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protozorfs import crypto
from protozorfs.errors import BlockUnavailable, InvalidProof, InvalidRequest, InvalidSignature
from protozorfs.log import flat_tree, hashing
from protozorfs.log.changeset import append_blocks
from protozorfs.log.prove import hint, make_proof
from protozorfs.types import PublicKey, Signature
from tests.unit.log.log_tools import (
    KEY_PAIR,
    VECTOR_BLOCKS,
    VECTORS,
    WRITERS,
    Nodes,
    Writer,
    reader_for,
    upgraded_reader,
    vector_node,
    vector_proof,
    vector_request,
)

ANSWERS = [case for case in VECTORS["proofs"] if "error" not in case]
REFUSALS = [case for case in VECTORS["proofs"] if "error" in case]


def changed_block(index: int, salt: int) -> bytes:
    """Block `index` of the vectors with another salt (their `blockRule`)."""
    size = len(VECTOR_BLOCKS[index])
    return bytes((index * 131 + j * 17 + (j >> 8) * 7 + salt) & 255 for j in range(size))


def test_flat_tree() -> None:
    for length, peaks in VECTORS["flat"]["fullRoots"].items():
        assert flat_tree.peaks(int(length)) == tuple(peaks)
    for node in VECTORS["flat"]["nodes"]:
        index = node["index"]
        assert flat_tree.depth(index) == node["depth"]
        assert flat_tree.offset(index) == node["offset"]
        assert flat_tree.parent(index) == node["parent"]
        assert flat_tree.sibling(index) == node["sibling"]
        assert [flat_tree.left_span(index), flat_tree.right_span(index)] == node["spans"]
        if node["children"] is not None:
            assert list(flat_tree.children(index)) == node["children"]


def test_peak_distance_is_the_hint_of_a_reader_with_peaks_only() -> None:
    for length, distances in VECTORS["peakDistance"].items():
        reader = upgraded_reader(WRITERS[int(length)])
        found = [hint(reader.nodes, int(length), i) for i in range(int(length))]
        assert found == distances


def test_nodes_of_a_whole_tree() -> None:
    assert WRITERS[100].nodes == Nodes(map(vector_node, VECTORS["nodes"]))


def check_state(state: dict[str, Any], writer: Writer) -> None:
    head = writer.head
    assert list(writer.state.roots) == [vector_node(root) for root in state["roots"]]
    assert (head.length, head.fork, head.byte_length) == (
        state["length"],
        state["fork"],
        state["byteLength"],
    )
    assert head.tree_hash.hex() == state["treeHash"]
    signable = hashing.signable(head.tree_hash, head.length, head.fork)
    assert signable.hex() == state["signable"]
    if state["length"]:
        assert head.signature.hex() == state["signature"]
    hashing.verify_head(head, KEY_PAIR.public_key)


@pytest.mark.parametrize("state", VECTORS["states"], ids=lambda state: str(state["length"]))
def test_states(state: dict[str, Any]) -> None:
    check_state(state, Writer(VECTOR_BLOCKS[: state["length"]]))


def test_states_after_a_fork() -> None:
    # `cut` has no blocks of its own: a truncated feed signs its prefix again, under the new fork.
    fork = VECTORS["fork"]
    assert VECTORS["key"]["publicKey"] == KEY_PAIR.public_key.hex()
    after = [*VECTOR_BLOCKS[:5], *(changed_block(i, fork["salt"]) for i in (5, 6))]
    check_state(fork["before"], Writer(VECTOR_BLOCKS[:9]))
    check_state(fork["cut"], Writer(VECTOR_BLOCKS[:5], fork=1))
    writer = Writer(after, fork=1)
    check_state(fork["after"], writer)
    for case in fork["proofs"]:
        assert writer.prove(vector_request(case["request"])) == vector_proof(case["data"])


def test_states_of_two_histories() -> None:
    conflict = VECTORS["conflict"]
    blocks = list(VECTOR_BLOCKS[:7])
    check_state(conflict["a"], Writer(blocks))
    blocks[conflict["changed"]] = changed_block(conflict["changed"], conflict["salt"])
    check_state(conflict["b"], Writer(blocks))


def test_answers_are_made_node_by_node_as_hypercore_makes_them() -> None:
    assert len(ANSWERS) == 659
    for case in ANSWERS:
        made = WRITERS[case["length"]].prove(vector_request(case["request"]))
        assert made == vector_proof(case["data"]), case["request"]


def test_answers_verify_and_leave_the_writers_tree() -> None:
    for case in ANSWERS:
        request = vector_request(case["request"])
        writer = WRITERS[case["length"]]
        reader = reader_for(writer, request)
        verified = reader.apply(request, vector_proof(case["data"]))
        assert reader.nodes.items() <= writer.nodes.items()
        if request.upgrade is not None:
            assert verified.head == writer.head
            assert verified.roots == writer.state.roots
        if request.block is not None:
            assert verified.block == (
                request.block.block_index,
                VECTOR_BLOCKS[request.block.block_index],
            )


def test_refusals() -> None:
    assert len(REFUSALS) == 70
    for case in REFUSALS:
        with pytest.raises(InvalidRequest):
            WRITERS[case["length"]].prove(vector_request(case["request"]))


def test_a_block_that_is_not_held_is_refused_first() -> None:
    # Even when the proof could not be made either: the reason must be 1, not 2.
    writer = WRITERS[9]
    request = vector_request({"block": {"index": 2, "nodes": 60}})
    with pytest.raises(BlockUnavailable):
        make_proof(writer.nodes, 9, 0, writer.head.signature, request, lambda _index: None)


# Where we refuse and hypercore does not: it passes over nodes that an upgrade leaves over, and an
# upgrade from another length than the reader's can only be verified against a tree long gone.
STRICTER = {"upgrade: a node too many", "upgrade: to what is known already"}
REFUSED_AS = {"INVALID_SIGNATURE": InvalidSignature}


@pytest.mark.parametrize("case", VECTORS["verdicts"], ids=lambda case: str(case["name"]))
def test_verdicts(case: dict[str, Any]) -> None:
    reader = upgraded_reader(WRITERS[9], case["known"])
    before = dict(reader.nodes)
    request, proof = vector_request(case["request"]), vector_proof(case["data"])
    if case["verdict"] == "ok" and case["name"] not in STRICTER:
        reader.apply(request, proof)
        assert reader.state.length == case["length"]
        # Moved sizes verify, and are not stored.
        assert reader.nodes.items() <= WRITERS[9].nodes.items()
    else:
        error = REFUSED_AS.get(case["verdict"], InvalidProof)
        if case["name"] == "upgrade: length one less":
            error = InvalidProof  # it does not fit the request, which is seen first
        with pytest.raises(error):
            reader.apply(request, proof)
        assert reader.state.length == case["known"]
        assert reader.nodes == before


def test_a_compat_key_is_the_public_key_and_manifest_signatures_are_not_its() -> None:
    manifest = VECTORS["manifest"]
    assert manifest["compatKey"] == KEY_PAIR.public_key.hex()
    state = manifest["nonCompat"]
    roots = tuple(map(vector_node, state["roots"]))
    assert hashing.tree_hash(roots).hex() == state["treeHash"]
    # A signature over the 112 bytes that name the manifest's hash is no compat head.
    signature = bytes.fromhex(state["signature"])[2:66]
    assert crypto.verify(bytes.fromhex(state["signable"]), signature, KEY_PAIR.public_key)
    head = Writer(VECTOR_BLOCKS[:3]).head
    forged = replace(head, signature=Signature(signature))
    for key in (KEY_PAIR.public_key, PublicKey(bytes.fromhex(state["key"]))):
        with pytest.raises(InvalidSignature):
            hashing.verify_head(forged, key)


def test_append_in_two_steps_is_append_in_one() -> None:
    first = append_blocks(WRITERS[37].state, VECTOR_BLOCKS[37:])
    assert first.roots == WRITERS[100].state.roots
    assert (first.length, first.byte_length) == (100, WRITERS[100].head.byte_length)
    whole = Nodes([*WRITERS[37].nodes.values(), *first.new_nodes])
    assert whole == WRITERS[100].nodes
