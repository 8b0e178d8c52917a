"""What is left of a feed after an unclean stop: everything is checked before it is used.

The tree is walked from the roots of a signed head down; a node counts if its parent's hash covers
it, a block if its leaf does. Nodes that cannot be reached are erased. Which blocks are held follows
from the blocks themselves, not from a bitfield.

An owned feed may have grown since it was last synced, and of that any part may be missing. From the
durable head on, blocks are taken one after another while their leaves fit, up to the signed head.
Nobody else has seen that part, so a prefix of it can be signed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.log import flat_tree
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.changeset import append_blocks
from protozorfs.log.checking import MAX_BLOCK_BYTES
from protozorfs.log.hashing import (
    UNSIGNED,
    byte_length_of,
    leaf_hash,
    parent_hash,
    sign_head,
    tree_hash,
)
from protozorfs.log.roots import signed_roots
from protozorfs.log.tree import TreeState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.crypto import KeyPair
    from protozorfs.log.files import LogFiles
    from protozorfs.log.head_store import SlotHead, StoredHeads
    from protozorfs.types import Head, PublicKey, TreeNode

MAX_DIRTY_PAGES = 64  # tree pages (4 KiB each) that wait for their write while a tree is checked


class Recovered(NamedTuple):
    """A feed's state that is safe to go on from.

    Attributes:
        head: the newest head that can be kept. Of an owned feed, length 0 has one too: it says
            that longer ones do not count.
        state: its tree; of length 0 if there is no head, or if not even the roots are left.
        held: the blocks that are here and right.
        held_bytes: their size.
        must_write_head: `head` is not the newest signed one on disk, and is to be.
        is_damaged: an owned feed lost something that was durable.
    """

    head: Head | None
    state: TreeState
    held: Bitfield
    held_bytes: int
    must_write_head: bool
    is_damaged: bool


class Kept(NamedTuple):
    """What an owned feed is to go on with.

    Attributes:
        head: its head.
        state: the tree of that head; of length 0 if not even its roots are left.
        must_write_head: as in `Recovered`.
        durable_length: how many blocks were durable, so that a missing one is damage.
    """

    head: Head
    state: TreeState
    must_write_head: bool
    durable_length: int


class Recovery:
    """One feed's recovery; reads and corrects the files, writes no head."""

    def __init__(self, files: LogFiles, public_key: PublicKey) -> None:
        self._files = files
        self._data = files.data
        self._nodes = files.nodes
        self._public_key = public_key
        self._data_bytes = files.data.size()
        self._held = Bitfield()
        self._held_bytes = 0

    def followed(self, heads: StoredHeads) -> Recovered:
        """Keeps the newest head whose roots are there, and whatever is right below them."""
        candidates = [slot.head for slot in (*heads.signed, *heads.durable)]
        candidates.sort(key=lambda head: (head.fork, head.length), reverse=True)
        for head in candidates:
            state = self._state_of(head)
            if state is not None:
                newest = heads.signed[0].head if heads.signed else None
                return self._checked(head, state)._replace(must_write_head=head != newest)
        return self._checked(None, self._empty())

    def owned(self, heads: StoredHeads, key_pair: KeyPair) -> Kept:
        """What is to be kept: all that is durable, and the longest whole prefix of the rest.

        Cuts nothing off; `finish` does.
        """
        signed = heads.signed[0].head if heads.signed else None
        durable = heads.durable[0].head if heads.durable else None
        start = self._empty() if durable is None else self._durable_state(durable)
        if durable is not None and start is None:
            return self._without_durable_roots(signed, durable)
        assert start is not None
        state = start
        if signed is not None and signed.length > start.length:
            state = self._extended(start, _anchors(heads, start.length))
        if signed is not None and state.length == signed.length and signed.signature != UNSIGNED:
            head = signed
        else:
            head = sign_head(state.roots, state.length, state.fork, key_pair.secret_key)
        return Kept(head, state, head != signed, start.length)

    def finish(self, kept: Kept) -> Recovered:
        """Cuts everything else off, and finds the blocks that are held."""
        if kept.state.length < kept.head.length:
            return Recovered(kept.head, kept.state, self._held, 0, False, True)
        recovered = self._checked(kept.head, kept.state, must_sync=True)
        return recovered._replace(
            must_write_head=kept.must_write_head,
            is_damaged=recovered.held.count(0, kept.durable_length) < kept.durable_length,
        )

    def rewrite(self, durable: Head | None, head: Head) -> bool:
        """Writes everything between two heads again, after checking it: a sync of it failed.

        Returns False if some of it is not what was signed any more.
        """
        start = self._empty() if durable is None else self._state_of(durable)
        if start is None:
            return False
        state = self._extended(start, (head,))
        self._flush()
        return state.length == head.length

    def _durable_state(self, durable: Head) -> TreeState | None:
        """The tree of the durable head: as it stands, or made again from leaves and blocks."""
        state = self._state_of(durable)
        if state is None:
            state = self._extended(self._empty()._replace(fork=durable.fork), (durable,))
        return state if state.length == durable.length else None

    def _without_durable_roots(self, signed: Head | None, durable: Head) -> Kept:
        """The tree is damaged at the top: a later head may still stand, or nothing can be read."""
        state = self._state_of(signed) if signed is not None else None
        if signed is not None and state is not None and signed.length > durable.length:
            return Kept(signed, state, False, signed.length)
        return Kept(durable, self._empty(), False, durable.length)

    def _empty(self) -> TreeState:
        return TreeState(self._public_key, 0, 0, ())

    def _state_of(self, head: Head) -> TreeState | None:
        """The tree of a head, if its roots are stored, or follow from what is."""
        roots = signed_roots(self._nodes, self._data, head)
        if roots is None:
            return None
        return TreeState(self._public_key, head.fork, head.length, roots)

    def _extended(self, state: TreeState, anchors: tuple[Head, ...]) -> TreeState:
        """Appends the blocks that follow while they fit their leaves, up to the last anchor.

        At the length of each anchor the tree must be the one that was signed there; where it is
        not, the blocks are a mixture, and those since the anchor before do not count.
        """
        confirmed = state
        for anchor in anchors:
            while state.length < anchor.length:
                block = self._block_behind(state)
                if block is None:
                    return state
                change = append_blocks(state, (block,))
                self._nodes.put(change.new_nodes)
                self._flush_some()
                state = state._replace(length=change.length, roots=change.roots)
            if tree_hash(state.roots) != anchor.tree_hash:
                return confirmed
            confirmed = state
        return state

    def _block_behind(self, state: TreeState) -> bytes | None:
        """The block behind the end of a tree, if it is there and its leaf says so."""
        leaf = self._nodes.node(2 * state.length)
        offset = byte_length_of(state.roots)
        block = None if leaf is None else self._right_block(leaf, offset)
        if block is not None:
            # What a failed sync left is in memory only, and no later sync would write it.
            self._data.pwrite(block, offset)
        return block

    def _right_block(self, leaf: TreeNode, offset: int) -> bytes | None:
        # Before reading what could be any size. An empty block may lie behind the file's end.
        if leaf.size > min(MAX_BLOCK_BYTES, max(0, self._data_bytes - offset)):
            return None
        block = self._data.pread(leaf.size, offset)
        return block if leaf_hash(block) == leaf.hash else None

    def _checked(
        self, head: Head | None, state: TreeState, *, must_sync: bool = False
    ) -> Recovered:
        """Erases what is not part of the tree, finds the blocks that are held.

        `must_sync`: even if nothing changed. An earlier try may have failed in its sync.
        """
        self._flush()
        is_changed = False
        end = 0  # tree index behind the last node that counts
        for node, offset in self._reachable(state.roots):
            if node.tree_index > end:
                is_changed |= self._nodes.erase(end, node.tree_index)
                self._flush_some()
            end = node.tree_index + 1
            if not node.tree_index & 1 and self._right_block(node, offset) is not None:
                self._held.set(node.tree_index >> 1)
                self._held_bytes += node.size
        is_changed |= self._nodes.truncate(end)
        self._flush()
        if self._data_bytes > state.byte_length:
            self._data.truncate(state.byte_length)
            is_changed = True
        if is_changed or must_sync:
            # Before anything is appended: what is cut off here must not come back behind that.
            self._files.sync(self._data)
            self._files.sync(self._files.tree)
        return Recovered(head, state, self._held, self._held_bytes, False, False)

    def _reachable(self, roots: tuple[TreeNode, ...]) -> Iterator[tuple[TreeNode, int]]:
        """Every node that the roots cover, by rising index, and the byte offset below it."""
        offset = 0
        for root in roots:
            above: list[tuple[TreeNode, int, bool]] = [(root, offset, False)]
            while above:
                node, start, is_entered = above.pop()
                children = None if is_entered else self._right_children(node)
                if children is None:
                    yield node, start
                    continue
                left, right = children
                above.append((right, start + left.size, False))
                above.append((node, start, True))
                above.append((left, start, False))
            offset += root.size

    def _right_children(self, node: TreeNode) -> tuple[TreeNode, TreeNode] | None:
        if not node.tree_index & 1:
            return None
        left_index, right_index = flat_tree.children(node.tree_index)
        left, right = self._nodes.node(left_index), self._nodes.node(right_index)
        if left is None or right is None or left.size + right.size != node.size:
            return None
        return (left, right) if parent_hash(left, right) == node.hash else None

    def _flush_some(self) -> None:
        if self._nodes.dirty_pages > MAX_DIRTY_PAGES:
            self._flush()

    def _flush(self) -> None:
        self._nodes.flush()
        self._nodes.commit()


def _length(head: Head) -> int:
    return head.length


def _anchors(heads: StoredHeads, start: int) -> tuple[Head, ...]:
    """The heads that confirm growth beyond `start`: the newest signed one, and the one before it.

    A slot that is not the direct predecessor may be left from before an earlier recovery.
    """
    newest: SlotHead = heads.signed[0]
    anchors = [newest.head]
    anchors += [slot.head for slot in heads.signed[1:] if slot.sequence == newest.sequence - 1]
    return tuple(
        sorted((head for head in anchors if start < head.length <= newest.head.length), key=_length)
    )
