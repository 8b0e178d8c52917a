"""What is left of a feed after an unclean stop, as far as it must be known before its first use.

Signed heads, the roots of the tree, and of an owned feed the blocks behind the durable head: what
is looked at does not grow with the feed. Everything else is checked before it is read or served,
as what a clean stop has left is, and by a check behind the mount (`claim`).

An owned feed may have grown since it was last synced, and of that any part may be missing. From the
durable head on, blocks are taken one after another while their leaves fit, up to the signed head.
Nobody else has seen that part, so a prefix of it can be signed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.log.changeset import append_blocks
from protozorfs.log.checking import MAX_BLOCK_BYTES, STEP_BYTES
from protozorfs.log.hashing import (
    UNSIGNED,
    byte_length_of,
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
MAX_BATCH_BLOCKS = 4096  # taken back at one time


class Recovered(NamedTuple):
    """A feed's state that is safe to go on from.

    Attributes:
        head: the newest head that can be kept. Of an owned feed, length 0 has one too: it says
            that longer ones do not count.
        state: its tree; of length 0 if there is no head, or if not even the roots are left.
        must_write_head: `head` is not the newest signed one on disk, and is to be.
    """

    head: Head | None
    state: TreeState
    must_write_head: bool


class Recovery:
    """One feed's recovery; reads and corrects the files, writes no head."""

    def __init__(self, files: LogFiles, public_key: PublicKey) -> None:
        self._files = files
        self._data = files.data
        self._nodes = files.nodes
        self._public_key = public_key
        self._data_bytes = files.data.size()

    def followed(self, heads: StoredHeads) -> Recovered:
        """Keeps the newest head whose roots are there."""
        candidates = [slot.head for slot in (*heads.signed, *heads.durable)]
        candidates.sort(key=lambda head: (head.fork, head.length), reverse=True)
        for head in candidates:
            state = self._state_of(head)
            if state is not None:
                newest = heads.signed[0].head if heads.signed else None
                return Recovered(head, state, head != newest)
        return Recovered(None, self._empty(), False)

    def owned(self, heads: StoredHeads, key_pair: KeyPair) -> Recovered:
        """Keeps all that is durable, and the longest whole prefix of the rest."""
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
        return Recovered(head, state, head != signed)

    def cut(self, state: TreeState) -> bool:
        """Cuts off what is behind a tree and its blocks, and syncs nothing.

        Returns whether there was anything.
        """
        self._flush()
        is_cut = self._nodes.truncate(max(0, 2 * state.length - 1))
        if self._data_bytes > state.byte_length:
            self._data.truncate(state.byte_length)
            is_cut = True
        return is_cut

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

    def _without_durable_roots(self, signed: Head | None, durable: Head) -> Recovered:
        """The tree is damaged at the top: a later head may still stand, or nothing can be read."""
        state = self._state_of(signed) if signed is not None else None
        if signed is not None and state is not None and signed.length > durable.length:
            return Recovered(signed, state, False)
        return Recovered(durable, self._empty(), False)

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
                longer = self._with_some_more(state, anchor.length)
                if longer.length == state.length:
                    return state
                state = longer
            if tree_hash(state.roots) != anchor.tree_hash:
                return confirmed
            confirmed = state
        return state

    def _with_some_more(self, state: TreeState, length: int) -> TreeState:
        """The tree with some of the blocks behind its end, at most to that length.

        None is taken behind the first that is not there or not what its leaf says.
        """
        offset = byte_length_of(state.roots)
        leaves = list(self._leaves_behind(state.length, length, offset))
        data = self._data.pread(sum(leaf.size for leaf in leaves), offset)
        blocks, at = [], 0
        for leaf in leaves:
            blocks.append(data[at : at + leaf.size])
            at += leaf.size
        change = append_blocks(state, blocks)
        made = (node for node in change.new_nodes if not node.tree_index & 1)
        right = next((i for i, node in enumerate(made) if node != leaves[i]), len(leaves))
        if right < len(leaves):
            change = append_blocks(state, blocks[:right])
        # What a failed sync left is in memory only, and no later sync would write it.
        if change.byte_length > offset:
            self._data.pwrite(data[: change.byte_length - offset], offset)
        self._nodes.put(change.new_nodes)
        self._flush_some()
        return state._replace(length=change.length, roots=change.roots)

    def _leaves_behind(self, start: int, end: int, offset: int) -> Iterator[TreeNode]:
        """The leaves of some blocks from `start` on, whose bytes may be there from `offset` on."""
        size = 0
        for block_index in range(start, min(end, start + MAX_BATCH_BLOCKS)):
            leaf = self._nodes.node(2 * block_index)
            # Before reading what could be any size. An empty block may lie behind the file's end.
            if leaf is None or leaf.size > min(
                MAX_BLOCK_BYTES, max(0, self._data_bytes - offset - size)
            ):
                return
            size += leaf.size
            yield leaf
            if size >= STEP_BYTES:
                return

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
