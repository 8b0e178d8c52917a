"""Two histories signed with one key, and the evidence for it that anyone can check.

A node of the tree stands for a fixed range of blocks, in every later state of an honest feed too.
So two proofs from nothing, of the same fork, are a conflict if they give one tree index two hashes;
and two heads signed for the same length are one if their tree hashes differ. Sizes below the signed
roots do not count: a peer can move them (see `verify`), and so make an honest feed look forked.
Source: hypercore lib/core.js (`checkConflict`), which compares tree hashes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import InvalidProof, ProofUnavailable
from protozorfs.log import flat_tree
from protozorfs.log.hashing import tree_hash
from protozorfs.log.proof_types import (
    HashProof,
    HashRequest,
    Proof,
    Request,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.log.prove import make_proof
from protozorfs.log.tree import TreeState
from protozorfs.log.verify import verify_proof

if TYPE_CHECKING:
    from protozorfs.log.tree import TreeReader
    from protozorfs.types import Head, PublicKey, TreeNode


class SignedNodes(NamedTuple):
    """An upgrade from nothing, perhaps with the hash part of one node below its peaks."""

    fork: int
    hash: HashProof | None
    upgrade: UpgradeProof


class Evidence(NamedTuple):
    """Two proofs that cannot both be of one history: the one held here, and the other."""

    own: SignedNodes
    other: SignedNodes


class History(NamedTuple):
    """One of two histories, as far as it takes to see that it is not the other.

    Attributes:
        head: what the key signed.
        roots: the peaks of its tree, left to right: their hash is the head's tree hash.
        path: a node that the other history has with another hash, then the siblings on the way from
            it up to a root; empty where the tree hashes of one length differ.
    """

    head: Head
    roots: tuple[TreeNode, ...]
    path: tuple[TreeNode, ...]


class _Proved(NamedTuple):
    """What a proof from nothing leads to: a signed head, its roots, every node on the way."""

    head: Head
    roots: tuple[TreeNode, ...]
    nodes: dict[int, TreeNode]

    def path_from(self, index: int) -> tuple[TreeNode, ...]:
        """A proved node and the siblings on the way from it up to a root."""
        peak = flat_tree.peak_above(index, self.head.length)
        path = [self.nodes[index]]
        while index != peak:
            path.append(self.nodes[flat_tree.sibling(index)])
            index = flat_tree.parent(index)
        return tuple(path)


class _NothingStored:
    """The tree of somebody who knows only the key."""

    def node(self, tree_index: int) -> TreeNode | None:
        """None, whatever the index."""
        return None


def find_conflict(
    state: TreeState, reader: TreeReader, signature: bytes, proof: Proof
) -> Evidence | None:
    """Evidence if an answer to `UpgradeRequest(0, n)` and the own tree are two histories.

    Args:
        state, reader, signature: the own tree, and the signature of its head.
        proof: what a peer sent, asked for or not; parts other than the upgrade are passed over.

    Raises:
        InvalidProof: not an upgrade from nothing, or it does not verify: just a bad peer.
    """
    if proof.upgrade is None:
        raise InvalidProof("not an upgrade from nothing")
    if proof.fork != state.fork:
        return None
    other = SignedNodes(proof.fork, None, proof.upgrade)
    head, _, nodes = _proved(state.public_key, other)
    for index, node in nodes.items():
        held = reader.node(index) if flat_tree.exists(index, state.length) else None
        if held is None or held.hash == node.hash:
            continue
        own = _own_proof(state, reader, signature, index)
        if own is not None:
            return Evidence(own, other)
    if head.length == state.length and head.tree_hash != tree_hash(state.roots):
        own = _own_proof(state, reader, signature, None)
        return own and Evidence(own, other)
    return None


def later_head(public_key: PublicKey, fork: int, proof: Proof) -> Head | None:
    """The head to which an upgrade from nothing leads, if it is of a later fork than `fork`.

    The signature covers the fork: only the key's owner can raise it, by cutting the feed.

    Raises:
        InvalidProof: of a later fork, but not an upgrade from nothing, or it does not verify.
    """
    if proof.fork <= fork:
        return None
    if proof.upgrade is None:
        raise InvalidProof("not an upgrade from nothing")
    return _proved(public_key, SignedNodes(proof.fork, None, proof.upgrade)).head


def proven_histories(public_key: PublicKey, evidence: Evidence) -> tuple[History, History] | None:
    """The two histories that the key signed; None if the proofs can be of one.

    Both proofs are checked from nothing.

    Raises:
        InvalidProof: one of them does not verify.
    """
    own, other = _proved(public_key, evidence.own), _proved(public_key, evidence.other)
    if own.head.fork != other.head.fork:
        return None
    if own.head.length == other.head.length and own.head.tree_hash != other.head.tree_hash:
        return History(own.head, own.roots, ()), History(other.head, other.roots, ())
    shared = own.nodes.keys() & other.nodes.keys()
    differing = [index for index in shared if own.nodes[index].hash != other.nodes[index].hash]
    if not differing:
        return None
    index = min(differing)
    return (
        History(own.head, own.roots, own.path_from(index)),
        History(other.head, other.roots, other.path_from(index)),
    )


def _proved(public_key: PublicKey, signed: SignedNodes) -> _Proved:
    """The head that a proof leads to, and every node on the way.

    Every node of a proof from nothing is used up on the way to the signed roots, so that all their
    hashes are proved, if not all their sizes.

    Raises:
        InvalidProof: it does not lead to a head of the key.
    """
    upgrade, hash_ = signed.upgrade, signed.hash
    request = Request(
        hash=hash_ and HashRequest(hash_.tree_index, 0),
        upgrade=UpgradeRequest(0, upgrade.length),
    )
    state = TreeState(public_key, signed.fork, 0, ())
    proof = Proof(signed.fork, hash=hash_, upgrade=upgrade)
    verified = verify_proof(state, _NothingStored(), request, proof)
    assert verified.head is not None
    assert verified.roots is not None
    listed = (*upgrade.nodes, *upgrade.additional_nodes, *(hash_.nodes if hash_ else ()))
    nodes = {int(node.tree_index): node for node in (*listed, *verified.nodes)}
    return _Proved(verified.head, verified.roots, nodes)


def _own_proof(
    state: TreeState, reader: TreeReader, signature: bytes, index: int | None
) -> SignedNodes | None:
    """A proof of a held node under the own head, or of the head alone.

    None if the tree is damaged between the two: then what is held proves nothing.
    """
    request = Request(
        hash=None if index is None else HashRequest(index, 0),
        upgrade=UpgradeRequest(0, state.length),
    )
    try:
        proof = make_proof(
            reader, state.length, state.fork, signature, request, lambda _block_index: None
        )
    except ProofUnavailable:
        return None
    assert proof.upgrade is not None
    return SignedNodes(state.fork, proof.hash, proof.upgrade)
