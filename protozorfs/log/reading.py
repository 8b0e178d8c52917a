"""One feed on disk, as it is read: its state, its bytes, its blocks, the proofs it can give.

A feed's bytes are its blocks one after another, at the same offsets in the `data` file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import BlockUnavailable, StoreCorrupt
from protozorfs.log import prove, seek
from protozorfs.log.hashing import UNSIGNED, signed

if TYPE_CHECKING:
    from collections.abc import Container

    from protozorfs.crypto import KeyPair
    from protozorfs.log.bitfield import Bitfield
    from protozorfs.log.node_store import NodeStore
    from protozorfs.log.opening import Opened
    from protozorfs.log.proof_types import Proof, Request
    from protozorfs.log.seek import Located, Unknown
    from protozorfs.store import FeedDirectory
    from protozorfs.types import FeedId, Head, TreeNode


class ReadableLog:
    """The reading side of `feed.Log`. Local files only; every call is short.

    Attributes:
        may_lack_heads: of an owned feed, a newer head than ours may have been lost here.
    """

    def __init__(self, opened: Opened) -> None:
        found = opened.found
        self._files = opened.files
        self._nodes = opened.files.nodes
        self._data = opened.files.data
        self._key_pair = opened.key_pair
        self._head = found.head
        self._state = found.state
        self._byte_length = found.state.byte_length
        self._held = found.held
        self._held_bytes = found.held_bytes
        self._is_damaged = found.is_damaged
        self._durable_head = opened.durable_head
        self.may_lack_heads = opened.may_lack_heads
        self._next_block = self._next_offset = 0  # where the block read last ends
        self._contiguous_length = self._contiguous_bytes = 0
        self._update_contiguous()

    @property
    def feed_id(self) -> FeedId:
        """The feed's ID."""
        return self._files.directory.feed_id

    @property
    def key_pair(self) -> KeyPair | None:
        """The feed's key pair, if it is owned."""
        return self._key_pair

    @property
    def is_owned(self) -> bool:
        """Whether the feed's secret key is here."""
        return self._key_pair is not None

    @property
    def head(self) -> Head | None:
        """The newest head; None while the feed has no blocks."""
        if self._head is None or not self._head.length:
            return None
        if self._key_pair is not None and self._head.signature == UNSIGNED:
            self._head = signed(self._head, self._key_pair.secret_key)
        return self._head

    @property
    def durable_head(self) -> Head | None:
        """The newest head that survives a power cut: of an owned feed, what may be published."""
        return self._durable_head

    @property
    def shown_head(self) -> Head | None:
        """The newest head that others may see: of an owned feed, only what is durable."""
        return self._durable_head if self.is_owned else self.head

    @property
    def directory(self) -> FeedDirectory:
        """Where the feed's files are."""
        return self._files.directory

    @property
    def length(self) -> int:
        """Blocks."""
        return self._head.length if self._head is not None else 0

    @property
    def byte_length(self) -> int:
        """Bytes of all blocks."""
        return self._head.byte_length if self._head is not None else 0

    @property
    def fork(self) -> int:
        """The fork of the head."""
        return self._state.fork

    @property
    def roots(self) -> tuple[TreeNode, ...]:
        """The peaks of the tree, left to right."""
        return self._state.roots

    @property
    def nodes(self) -> NodeStore:
        """The stored tree, a `TreeReader`; not to be written to."""
        return self._nodes

    @property
    def held(self) -> Bitfield:
        """Which blocks are here; not to be changed."""
        return self._held

    @property
    def held_bytes(self) -> int:
        """The size of the blocks that are here."""
        return self._held_bytes

    @property
    def allocated_bytes(self) -> int:
        """What the blocks take on the disk."""
        return self._data.allocated_bytes()

    @property
    def contiguous_length(self) -> int:
        """How many blocks are here from the first on without a gap."""
        return self._contiguous_length

    @property
    def contiguous_bytes(self) -> int:
        """The size of these."""
        return self._contiguous_bytes

    @property
    def damaged(self) -> bool:
        """Whether an owned feed has lost blocks that were durable."""
        return self._is_damaged

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on that are here without a gap, at most `size`.

        Nothing if the byte at `offset` is not here, or is beyond the end.

        Raises:
            StoreCorrupt: it was here, and is damaged.
        """
        end = offset + size
        if end > self._contiguous_bytes:
            end = min(end, self.held_until(offset, end))
            if end <= offset:
                if self._is_damaged and offset < self.byte_length:
                    raise self._corrupt(offset)
                return b""
        data = self._data.pread(end - offset, offset)
        if len(data) != end - offset:
            raise self._corrupt(offset + len(data))
        return data

    def held_until(self, offset: int, enough: int) -> int:
        """The end of the bytes that are here from `offset` on without a gap; `offset` if none.

        It may be less than that end from `enough` on.
        """
        at = max(offset, self._contiguous_bytes)
        # More than one round only where an empty block is missing: no byte is missing there. Who
        # owns the feed can make that so for every second block.
        while at < min(self._byte_length, enough):
            found = seek.locate(self._nodes, self._state.roots, at)
            if not isinstance(found, seek.Located) or not self._held.get(found.block_index):
                break
            at = self.block_span(self._held.first_unset(found.block_index) - 1)[1]
        return at

    def locate(self, offset: int) -> Located | Unknown:
        """The block that holds a byte, or how far towards it the tree is known.

        Raises:
            ValueError: the byte is beyond the end.
        """
        return seek.locate(self._nodes, self._state.roots, offset)

    def block_span(self, block_index: int) -> tuple[int, int]:
        """The bytes [start, end) that a block is.

        Raises:
            BlockUnavailable: not known yet.
        """
        if block_index == self._next_block and block_index < self._state.length:
            leaf = self._nodes.node(2 * block_index)
            if leaf is not None:
                start, end = self._next_offset, self._next_offset + leaf.size
                self._next_block, self._next_offset = block_index + 1, end
                return start, end
        start, end = seek.block_span(self._nodes, self._state.roots, block_index)
        self._next_block, self._next_offset = block_index + 1, end
        return start, end

    def block(self, block_index: int) -> bytes:
        """The bytes of a block.

        Raises:
            BlockUnavailable: it is not here.
            StoreCorrupt: it was here, and is damaged.
        """
        value = self._held_block(block_index)
        if value is None:
            if self._is_damaged and block_index < self.length:
                raise self._corrupt(2 * block_index)
            raise BlockUnavailable(f"block {block_index} is not here")
        return value

    def proof(self, request: Request) -> Proof:
        """The answer to a peer's request of this fork, under the head that others may see.

        Raises:
            BlockUnavailable: the block is not here.
            InvalidRequest: there is no such proof.
        """
        head = self.shown_head
        if head is None:
            raise BlockUnavailable("there is no head to prove anything under")
        return prove.make_proof(
            self._nodes, head.length, head.fork, head.signature, request, self._held_block
        )

    def request_hint(self, block_index: int, assume: Container[int] = frozenset()) -> int:
        """The `nodes` of a block request: levels up to a node that is stored, or is on its way."""
        return prove.hint(self._nodes, self._state.length, block_index, assume)

    def _held_block(self, block_index: int) -> bytes | None:
        if not self._held.get(block_index):
            return None
        start, end = self.block_span(block_index)
        value = self._data.pread(end - start, start)
        if len(value) != end - start:
            raise self._corrupt(start + len(value))
        return value

    def _update_contiguous(self) -> None:
        length = self._held.contiguous_length
        if length == self._contiguous_length:
            return
        self._contiguous_length = length
        if length == self._state.length:
            self._contiguous_bytes = self._byte_length
        else:
            self._contiguous_bytes = self.block_span(length - 1)[1] if length else 0

    def _check_has_tree(self) -> None:
        if self._state.length != self.length:
            raise StoreCorrupt(f"{self._files.directory.path}/tree", 0, "the roots are damaged")

    def _corrupt(self, offset: int) -> StoreCorrupt:
        return StoreCorrupt(f"{self._files.directory.path}/data", offset, "not what was written")
