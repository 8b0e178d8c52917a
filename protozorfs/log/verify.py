"""The reader's side of proofs: what an answer proves, and what of it may be stored.

Nothing is stored before all of an answer is verified; a refused one changes nothing.

A parent's hash covers only the sum of the sizes below it. So of two nodes that both came over the
wire and are joined with one another, a peer can move bytes from one to the other, and the proof
still verifies. Such claimed pairs serve to compute their parent and are not stored; every other
node's size is proved. Source: hypercore lib/merkle-tree.js (`verifyTree`, `verifyUpgrade`), which
stores them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import InvalidProof, UnanchoredProof
from protozorfs.log import flat_tree
from protozorfs.log.hashing import byte_length_of, leaf_node, parent_node, tree_hash, verify_head
from protozorfs.types import MAX_SAFE_INTEGER, Head, Signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.proof_types import BlockProof, BlockRequest, Proof, Request, UpgradeProof
    from protozorfs.log.tree import TreeReader, TreeState
    from protozorfs.types import TreeNode


class VerifiedBlock(NamedTuple):
    """A block that belongs where it says."""

    block_index: int
    value: bytes


class VerifiedProof(NamedTuple):
    """What an answer proved.

    Attributes:
        nodes: to be stored, in no particular order; all their sizes are proved.
        block: to be stored, unless none was asked for.
        head: the newer head, if there was an upgrade; it may be longer than was asked for.
        roots: the peaks of that head, left to right (they are in `nodes` too, if they are new).
    """

    nodes: list[TreeNode]
    block: VerifiedBlock | None
    head: Head | None
    roots: tuple[TreeNode, ...] | None


def verify_proof(
    state: TreeState, reader: TreeReader, request: Request, proof: Proof
) -> VerifiedProof:
    """Verifies an answer against the tree as it is now.

    Raises:
        InvalidSignature: the upgrade does not lead to a head that the feed's key signed.
        UnanchoredProof: it may be right, but the tree is not the one that the request was made
            for: the node where its hint leads is not stored, or the length has changed.
        InvalidProof: anything else; the peer's fault.
    """
    if proof.fork != state.fork:
        raise InvalidProof(f"an answer about fork {proof.fork} instead of {state.fork}")
    block, block_request = proof.block, request.block
    if (
        block is not None
        and block_request is not None
        and request[1:] == (None, None, None)
        and proof[2:] == (None, None, None)
    ):
        # The common case, and the one whose cost counts.
        return _verify_block(state, reader, block_request, block)
    _check_fit(request, proof)
    return _Verification(state, reader, request).verify(proof)


def _verify_block(
    state: TreeState, reader: TreeReader, request: BlockRequest, proof: BlockProof
) -> VerifiedProof:
    """A block without an upgrade: every node of its proof has a sibling that is computed."""
    if proof.block_index != request.block_index:
        raise InvalidProof("another block than was asked for")
    node = leaf_node(proof.block_index, proof.value)
    level = 1  # 2 ** depth of node
    nodes: list[TreeNode] = []
    for claimed in proof.nodes:
        if claimed.tree_index != node.tree_index ^ (level << 1):
            raise InvalidProof(f"node {claimed.tree_index} is not the next on the way up")
        nodes += (node, claimed)
        if claimed.tree_index > node.tree_index:
            node = parent_node(node, claimed)
        else:
            node = parent_node(claimed, node)
        level <<= 1
    stored = reader.node(node.tree_index)
    if stored != node:
        raise _mismatch(state, stored, node, 2 * request.block_index, request.nodes)
    return VerifiedProof(nodes, VerifiedBlock(proof.block_index, proof.value), None, None)


def _mismatch(
    state: TreeState, stored: TreeNode | None, top: TreeNode, index: int, levels: int
) -> InvalidProof:
    """The error for a proof whose top is not what is stored there.

    `index` and `levels` are what was asked for: only a proof that leads where the request said can
    be no fault of the peer.
    """
    if stored is not None:
        return InvalidProof(f"wrong checksum at node {top.tree_index}")
    try:
        asked_for = flat_tree.climb(index, levels, state.length)[1] == top.tree_index
    except ValueError:
        asked_for = False
    if asked_for:
        return UnanchoredProof(f"node {top.tree_index} is not stored")
    return InvalidProof(f"the proof leads to node {top.tree_index}, which was not asked for")


def _check_fit(request: Request, proof: Proof) -> None:
    """Checks that the answer has the parts of the request, so that none can be swapped.

    A seek that falls on the path of another part, or on what the reader holds, has none of its own.
    """
    fits = (
        (proof.block and proof.block.block_index) == (request.block and request.block.block_index)
        and (proof.hash and proof.hash.tree_index) == (request.hash and request.hash.tree_index)
        and (proof.upgrade and proof.upgrade[:2]) == request.upgrade
    )
    if not fits:
        raise InvalidProof("the answer is to another request")
    if proof.seek is not None and (
        request.seek is None or proof.seek.byte_offset != request.seek.byte_offset
    ):
        raise InvalidProof("a seek that was not asked for")


class _Known(NamedTuple):
    """A node on its way through a verification."""

    node: TreeNode
    is_claimed: bool  # it came over the wire, and so far nothing proves its size
    is_held: bool = False  # it is a root of the reader's own tree


class _Queue:
    """The nodes of one list in order, and the top of another part, to be used where it fits."""

    def __init__(self, nodes: Sequence[TreeNode], extra: _Known | None) -> None:
        self._nodes = deque(nodes)
        self.extra = extra

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def take(self, index: int) -> _Known:
        """The node of that index, which must be the next.

        Raises:
            InvalidProof: it is not.
        """
        extra = self.extra
        if extra is not None and extra.node.tree_index == index:
            self.extra = None
            return extra
        if not self._nodes:
            raise InvalidProof(f"node {index} is missing")
        node = self._nodes.popleft()
        if node.tree_index != index:
            raise InvalidProof(f"node {node.tree_index} stands where {index} is due")
        return _Known(node, is_claimed=True)


class _Verification:
    """One answer with any mix of parts."""

    def __init__(self, state: TreeState, reader: TreeReader, request: Request) -> None:
        self._state = state
        self._reader = reader
        self._request = request
        self._nodes: list[TreeNode] = []

    def verify(self, proof: Proof) -> VerifiedProof:
        """What the answer proves."""
        top = self._verify_parts(proof)
        head = roots = None
        if proof.upgrade is not None:
            head, roots, top = self._verify_upgrade(proof.upgrade, top)
        elif top is None:
            raise InvalidProof("an answer that proves nothing")
        if top is not None:
            self._check_anchor(top.node)
        block = proof.block and VerifiedBlock(proof.block.block_index, proof.block.value)
        return VerifiedProof(self._nodes, block, head, roots)

    def _verify_parts(self, proof: Proof) -> _Known | None:
        """The node that seek, block and hash lead up to."""
        top = None
        if proof.seek is not None and proof.seek.nodes:
            first, *nodes = proof.seek.nodes
            top = self._climb(_Known(first, is_claimed=True), nodes, None)
        if proof.block is not None:
            leaf = leaf_node(proof.block.block_index, proof.block.value)
            top = self._climb(_Known(leaf, is_claimed=False), proof.block.nodes, top)
        elif proof.hash is not None:
            if not proof.hash.nodes or proof.hash.nodes[0].tree_index != proof.hash.tree_index:
                raise InvalidProof("a hash part without its node")
            first, *nodes = proof.hash.nodes
            top = self._climb(_Known(first, is_claimed=True), nodes, top)
        return top

    def _climb(self, at: _Known, nodes: Sequence[TreeNode], extra: _Known | None) -> _Known:
        """Joins siblings until all nodes, and the top of another part, are used up."""
        queue = _Queue(nodes, extra)
        while queue or queue.extra is not None:
            at = self._join(at, queue.take(flat_tree.sibling(at.node.tree_index)))
        return at

    def _join(self, one: _Known, other: _Known) -> _Known:
        """The parent of two siblings; keeps them for storing if their sizes follow from it."""
        if not (one.is_claimed and other.is_claimed):
            self._nodes += [known.node for known in (one, other) if not known.is_held]
        left, right = sorted((one.node, other.node))
        return _Known(parent_node(left, right), is_claimed=False)

    def _verify_upgrade(
        self, upgrade: UpgradeProof, top: _Known | None
    ) -> tuple[Head, tuple[TreeNode, ...], _Known | None]:
        """The new head and roots, and `top` unless it became part of them."""
        state = self._state
        if upgrade.start != state.length:
            raise UnanchoredProof(f"an upgrade from {upgrade.start} instead of {state.length}")
        length = upgrade.start + upgrade.length
        roots = [_Known(root, is_claimed=False, is_held=True) for root in state.roots]
        roots, top = self._lift(roots, state.length, length, upgrade.nodes, top)
        if upgrade.additional_nodes:
            last = upgrade.additional_nodes[-1].tree_index
            signed_length = flat_tree.right_span(last) // 2 + 1
            roots, _ = self._lift(roots, length, signed_length, upgrade.additional_nodes, None)
            length = signed_length
        self._nodes += [root.node for root in roots if not root.is_held]
        new_roots = tuple(root.node for root in roots)
        head = Head(
            fork=state.fork,
            length=length,
            byte_length=byte_length_of(new_roots),
            tree_hash=tree_hash(new_roots),
            signature=Signature(upgrade.signature),
        )
        if head.byte_length > MAX_SAFE_INTEGER:
            raise InvalidProof("more bytes than an offset can count")
        verify_head(head, state.public_key)
        return head, new_roots, top

    def _lift(
        self,
        roots: list[_Known],
        length: int,
        end: int,
        nodes: Sequence[TreeNode],
        extra: _Known | None,
    ) -> tuple[list[_Known], _Known | None]:
        """The roots of `end` blocks, grown from those of `length`, and what is left of `extra`."""
        if not length < end <= MAX_SAFE_INTEGER:
            raise InvalidProof(f"an upgrade from {length} to {end}")
        queue = _Queue(nodes, extra)
        peaks = flat_tree.peaks(end)
        kept = 0
        while kept < len(roots) and roots[kept].node.tree_index == peaks[kept]:
            kept += 1
        lifted, rest = roots[:kept], roots[kept:]
        if rest:  # all of them are below the first new peak
            lifted.append(self._merge(rest, peaks[kept], queue))
        lifted += [queue.take(peak) for peak in peaks[len(lifted) :]]
        if queue:
            raise InvalidProof("an upgrade with nodes left over")
        return lifted, queue.extra

    def _merge(self, rest: list[_Known], peak: int, queue: _Queue) -> _Known:
        """Joins roots from the right, with one another and with new nodes, up to `peak`."""
        at = rest.pop()
        while at.node.tree_index != peak:
            beside = flat_tree.sibling(at.node.tree_index)
            if rest and rest[-1].node.tree_index == beside:
                at = self._join(rest.pop(), at)
            else:
                at = self._join(at, queue.take(beside))
        return at

    def _check_anchor(self, top: TreeNode) -> None:
        """Checks that a part which is not of the upgrade meets the stored tree."""
        stored = self._reader.node(top.tree_index)
        if stored == top:
            return
        if self._request.block is not None:
            index, levels = 2 * self._request.block.block_index, self._request.block.nodes
        elif self._request.hash is not None:
            index, levels = self._request.hash
        else:
            raise InvalidProof("a seek part that leads nowhere")
        raise _mismatch(self._state, stored, top, index, levels)
