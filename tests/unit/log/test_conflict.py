"""Two histories of one key are found, proved to anyone, and not seen where there is only one."""

from __future__ import annotations

import pytest

from protozorfs import crypto
from protozorfs.errors import InvalidProof
from protozorfs.log import hashing
from protozorfs.log.conflict import Evidence, find_conflict, later_head, proven_histories
from protozorfs.log.proof_types import (
    BlockRequest,
    Proof,
    Request,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.log.prove import hint
from protozorfs.types import PublicKey
from tests.unit.log.log_tools import (
    KEY_PAIR,
    VECTOR_BLOCKS,
    VECTORS,
    Reader,
    Writer,
    other_history,
    two_histories,
    upgraded_reader,
    vector_proof,
    whole_proof,
)

CONFLICT = VECTORS["conflict"]


def find(own: Writer | Reader, signature: bytes, proof: Proof) -> Evidence | None:
    evidence = find_conflict(own.state, own.nodes, signature, proof)
    if evidence is not None:
        for order in (evidence, Evidence(evidence.other, evidence.own)):
            assert proven_histories(KEY_PAIR.public_key, order) is not None
    return evidence


def test_the_vectors_are_two_histories() -> None:
    first, second = (vector_proof(case["data"]) for case in CONFLICT["proofs"])
    own = Writer(VECTOR_BLOCKS[:7])
    assert find(own, own.head.signature, first) is None
    assert find(own, own.head.signature, second) is not None


def test_moved_sizes_are_no_conflict() -> None:
    moved = CONFLICT["moved"]
    own = Writer(VECTOR_BLOCKS[: moved["length"]])
    assert moved["takenForConflict"]
    assert not moved["isConflict"]
    for data in (moved["honest"], moved["data"]):
        assert find(own, own.head.signature, vector_proof(data)) is None


@pytest.mark.parametrize("own_length", range(1, 18))
@pytest.mark.parametrize("other_length", [1, 5, 8, 16, 17])
def test_a_common_history_is_no_conflict(own_length: int, other_length: int) -> None:
    own, other = Writer(VECTOR_BLOCKS[:own_length]), Writer(VECTOR_BLOCKS[:other_length])
    for length in range(1, other_length + 1):
        assert find(own, own.head.signature, whole_proof(other, length)) is None


@pytest.mark.parametrize("own_length", [3, 7, 8, 9, 16])
@pytest.mark.parametrize("other_length", [3, 5, 8, 17])
def test_another_history_is_found_by_a_common_peak(own_length: int, other_length: int) -> None:
    # Both trees have node 1 (blocks 0 and 1), and differ below it.
    own, other = Writer(VECTOR_BLOCKS[:own_length]), other_history(other_length, 0)
    shorter = min(own_length, other_length)
    proof = whole_proof(other, shorter)
    assert find(own, own.head.signature, proof) is not None


def test_a_sparse_reader_finds_and_proves_what_it_can() -> None:
    writer = Writer(VECTOR_BLOCKS[:16])
    reader = upgraded_reader(writer)
    proof = whole_proof(other_history(7), 7)
    # With the peak of 16 alone there is nothing to compare with the peaks of 7.
    assert find(reader, writer.head.signature, proof) is None
    reader.fetch(writer, Request(block=BlockRequest(1, hint(reader.nodes, 16, 1))))
    evidence = find(reader, writer.head.signature, proof)
    assert evidence is not None
    assert evidence.own.hash is not None
    assert evidence.own.hash.tree_index == 3


def test_nodes_left_over_beyond_the_own_length_are_not_of_its_history() -> None:
    own, other = Writer(VECTOR_BLOCKS[:5]), Writer(VECTOR_BLOCKS[:16])
    own.nodes.add(node for index, node in other_history(16, 7).nodes.items() if index > 10)
    assert find(own, own.head.signature, whole_proof(other, 8)) is None
    assert find(own, own.head.signature, whole_proof(other, 15)) is None


def test_a_damaged_tree_proves_nothing() -> None:
    own = Writer(VECTOR_BLOCKS[:16])
    proof = whole_proof(other_history(7), 7)
    assert find(own, own.head.signature, proof) is not None
    del own.nodes[11]  # the way from node 3 to the root
    assert find(own, own.head.signature, proof) is None


def test_two_heads_of_one_length_are_a_conflict_by_themselves() -> None:
    # The hashes of the peaks agree; the key signed them with another size.
    own = Writer([b"a", b"b", b"c"])
    first, last = own.state.roots
    roots = (first._replace(size=first.size + 1), last)
    head = hashing.sign_head(roots, 3, 0, KEY_PAIR.secret_key)
    proof = Proof(0, upgrade=UpgradeProof(0, 3, roots, (), head.signature))
    evidence = find(own, own.head.signature, proof)
    assert evidence is not None
    assert evidence.own.hash is None
    # A reader of another length cannot tell.
    longer = Writer([b"a", b"b", b"c", b"d"])
    assert find(longer, longer.head.signature, proof) is None


def test_other_forks_and_bad_peers_are_no_conflict() -> None:
    own = Writer(VECTOR_BLOCKS[:7])
    signature = own.head.signature
    assert find(own, signature, whole_proof(Writer(VECTOR_BLOCKS[:7], fork=1), 7)) is None
    good = whole_proof(other_history(7), 7)
    assert good.upgrade is not None
    forged = good.upgrade._replace(signature=bytes(64))
    for bad in (
        Proof(0),
        good._replace(upgrade=forged),
        own.prove(Request(upgrade=UpgradeRequest(3, 4))),
    ):
        with pytest.raises(InvalidProof):
            find(own, signature, bad)


def test_a_later_fork_is_what_the_key_signed_under_a_higher_number() -> None:
    cut = Writer(VECTOR_BLOCKS[:5], fork=2)
    proof = whole_proof(cut, 5)
    assert later_head(KEY_PAIR.public_key, 1, proof) == cut.head
    assert later_head(KEY_PAIR.public_key, 2, proof) is None
    older = whole_proof(cut, 3)  # additional nodes lead on to what is signed
    assert later_head(KEY_PAIR.public_key, 0, older) == cut.head
    raised = proof._replace(fork=3)  # the signature covers the fork
    with pytest.raises(InvalidProof):
        later_head(KEY_PAIR.public_key, 2, raised)
    with pytest.raises(InvalidProof):
        later_head(crypto.key_pair(bytes(32)).public_key, 0, proof)
    with pytest.raises(InvalidProof, match="not an upgrade"):
        later_head(KEY_PAIR.public_key, 0, Proof(2))
    with pytest.raises(InvalidProof):
        later_head(KEY_PAIR.public_key, 0, cut.prove(Request(upgrade=UpgradeRequest(2, 3))))


def test_evidence_is_checked_and_not_believed() -> None:
    evidence = two_histories()
    same = Evidence(evidence.own, evidence.own)
    assert proven_histories(KEY_PAIR.public_key, same) is None
    after_fork = whole_proof(Writer([b"cut", *VECTOR_BLOCKS[1:7]], fork=1), 7).upgrade
    assert after_fork is not None
    other_fork = evidence.other._replace(fork=1, upgrade=after_fork)
    assert proven_histories(KEY_PAIR.public_key, Evidence(evidence.own, other_fork)) is None
    stranger = PublicKey(crypto.key_pair(bytes(32)).public_key)
    with pytest.raises(InvalidProof):
        proven_histories(stranger, evidence)
