"""One feed on disk, as it is read: its state, its bytes, its blocks, the proofs it can give.

A feed's bytes are its blocks one after another, at the same offsets in the `data` file. Those that
an earlier run has left there are checked before their first use in this one (`checking`); a block
that is found wrong is not held any more.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import BlockUnavailable, StoreCorrupt, StoreError
from protozorfs.log import prove, seek
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.checking import Leaf, Unchecked, wrong_blocks
from protozorfs.log.claim import fold_notes
from protozorfs.log.hashing import UNSIGNED, signed
from protozorfs.log.held_file import HeldBlocks
from protozorfs.log.held_log import UNKNOWN_SIZE, Change
from protozorfs.log.seek import Located, Unknown
from protozorfs.log.sums import PIECE_BYTES, Span

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from protozorfs.crypto import KeyPair
    from protozorfs.log.node_store import NodeStore
    from protozorfs.log.opening import Opened
    from protozorfs.log.proof_types import Proof, Request
    from protozorfs.store import FeedDirectory
    from protozorfs.types import FeedId, Head, TreeNode


class ReadableLog:
    """The reading side of `feed.Log`. Local files only; every call is short.

    Attributes:
        may_lack_heads: of an owned feed, a newer head than ours may have been lost here.
        written_ns: after an unclean stop, when the newest head was written; ns since 1970. Opening
            the feed may have written it anew.
    """

    def __init__(self, opened: Opened) -> None:
        self._files = opened.files
        self._nodes = opened.files.nodes
        self._data = opened.files.data
        self._key_pair = opened.key_pair
        self._head = opened.head
        self._state = opened.state
        self._byte_length = opened.state.byte_length
        self._held = opened.held
        self._held_bytes = opened.held_bytes or 0
        self._in_doubt = opened.in_doubt  # blocks
        self._is_damaged = opened.is_damaged
        self._durable_head = opened.durable_head
        self.may_lack_heads = opened.may_lack_heads
        self.written_ns = opened.written_ns
        self._nodes.trust(opened.state.roots)
        has_any = self._held.segments or self._in_doubt.segments
        self._unchecked = Unchecked(self._byte_length if has_any else 0)
        self._lost: list[tuple[int, int]] = []
        self._found: list[int] = []
        self._next_block = self._next_offset = 0  # where the block read last ends
        self._contiguous_length = self._contiguous_bytes = 0
        self._update_contiguous()
        if opened.held_bytes is None:
            self._recount()

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
        """The bytes from `offset` on that are here without a gap and right, at most `size`.

        Nothing if the byte at `offset` is not here, or is beyond the end.

        Raises:
            StoreCorrupt: it was here in a feed of ours, and is damaged.
        """
        wanted = offset + size
        end = self._end_of_held(offset, wanted)
        if end < wanted and self._in_doubt.segments:
            self._look_for(end, wanted)
            end = self._end_of_held(offset, wanted)
        if self._unchecked and offset < end:
            self._check(offset, end)
            end = self._end_of_held(offset, wanted)
        if self._nodes.has_lost:
            self._lose_unreachable()
            end = self._end_of_held(offset, wanted)
        if offset < end:
            data = self._data.pread(end - offset, offset)
            if len(data) == end - offset:
                return data
            self._lose_what_was_cut_off(offset)
            return self.read(offset, size)
        if self._is_damaged and offset < self.byte_length:
            raise self._corrupt(offset)
        return b""

    def _end_of_held(self, offset: int, end: int) -> int:
        return end if end <= self._contiguous_bytes else min(end, self.held_until(offset, end))

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
            last = self._held.first_unset(found.block_index) - 1
            try:
                at = self.block_span(last)[1]
            except BlockUnavailable:
                self._lose_around(last)
        return at

    def held_runs(self, start: int, end: int) -> list[tuple[int, int]]:
        """The runs of blocks that are held in `[start, end)`; where both ends lie is known.

        After an unclean stop more may be claimed: a block to which the way is lost is not held.
        """
        while True:
            runs = list(self._held.ranges(start, end))
            for block_index in (one for first, last in runs for one in (first, last - 1)):
                try:
                    self.block_span(block_index)
                except BlockUnavailable:
                    self._lose_around(block_index)
                    break
            else:
                return runs

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
            StoreCorrupt: it was here in a feed of ours, and is damaged.
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
        if not (self._held.get(block_index) or self._in_doubt.get(block_index)):
            return None
        try:
            start, end = self.block_span(block_index)
        except BlockUnavailable:
            self._lose_unreachable()
            self._lose_around(block_index)  # of nodes that are zeros nobody has told
            return None
        if not self._held.get(block_index):
            self._look_at([block_index])
            if not self._held.get(block_index):
                return None
        if self._unchecked:
            self._check(start, end)
            if not self._held.get(block_index):
                return None
        value = self._data.pread(end - start, start)
        if len(value) == end - start:
            return value
        self._lose_what_was_cut_off(start)
        return None

    @property
    def has_lost(self) -> bool:
        """`take_lost` has something to tell."""
        return bool(self._lost)

    def take_lost(self) -> list[tuple[int, int]]:
        """The blocks `[start, end)` that were found wrong since the last call; none is held."""
        lost, self._lost = self._lost, []
        return lost

    @property
    def has_found(self) -> bool:
        """`take_found` has something to tell."""
        return bool(self._found)

    def take_found(self) -> list[int]:
        """The blocks that were found to be here, unexpectedly, since the last call."""
        found, self._found = self._found, []
        return found

    def _check(self, start: int, end: int) -> None:
        """Has what was not checked in this run compared with its sums, or else with the tree.

        What is wrong is lost.
        """
        for first, last in self._unchecked.steps(start, end):
            for at in range(first, last, PIECE_BYTES):
                span = self._held_span(at)
                if span is not None and self._files.sums.is_right(at // PIECE_BYTES, span):
                    self._unchecked.discard(at, at + PIECE_BYTES)
            for doubtful in self._unchecked.steps(first, last):
                self._check_by_leaves(*doubtful)
        if self._nodes.has_lost:
            self._lose_unreachable()

    def _check_by_leaves(self, start: int, end: int) -> None:
        """Compares whole pieces with the tree, and makes sums of what is right in them."""

        def verified(offset: int, data: memoryview) -> None:
            first, last = max(offset, start), min(offset + len(data), end)
            if first < last:
                self._files.sums.add(first, (data[first - offset : last - offset],))

        wrong = wrong_blocks(self._data, list(self._held_leaves(start, end)), verified)
        self._unchecked.discard(start, end)
        for leaf in wrong:
            self._lose(leaf.block_index, leaf.block_index + 1)

    def _held_span(self, at: int) -> Span | None:
        """What is held of the piece at that byte, counted from there; None: not just one span."""
        piece_end = min(at + PIECE_BYTES, self._byte_length)
        if piece_end <= self._contiguous_bytes:
            return Span(0, piece_end - at)
        try:
            start = self._next_held(at)
            end = min(self.held_until(start, piece_end), piece_end)
            if start < end and self._next_held(end) >= piece_end:
                return Span(start - at, end - at)
        except BlockUnavailable:  # it is found wrong below
            return None
        return None

    def _next_held(self, offset: int) -> int:
        """The first byte from `offset` on that is held, or the end.

        Raises:
            BlockUnavailable: the way to it is lost.
        """
        if offset < self._contiguous_bytes or offset >= self._byte_length:
            return min(offset, self._byte_length)
        found = self.locate(offset)
        if isinstance(found, Located) and self._held.get(found.block_index):
            return offset
        behind = (
            found.block_index + 1
            if isinstance(found, Located)
            else found.first_block + found.block_count
        )
        held = self._held.first_set(behind, self._state.length)
        return self._byte_length if held is None else self.block_span(held)[0]

    def _look_for(self, start: int, end: int) -> None:
        """Looks at the blocks in doubt that have bytes in `[start, end)` and do not count as held.

        What an unclean stop has left of a followed feed may be here without being noted.
        """
        at, end = start, min(end, self._byte_length)
        blocks = []
        while at < end:
            found = self.locate(at)
            if isinstance(found, Unknown):
                at = found.start + found.span
                continue
            if self._in_doubt.get(found.block_index) and not self._held.get(found.block_index):
                blocks.append(found.block_index)
            at = found.end
        self._look_at(blocks)

    def _look_at(self, blocks: Iterable[int]) -> None:
        """Finds out whether blocks in doubt, which do not count as held, are here and right."""
        for block_index in blocks:
            start, end = self.block_span(block_index)
            leaf = self._nodes.node(2 * block_index)
            if leaf is not None and not wrong_blocks(
                self._data, [Leaf(block_index, start, end - start, leaf.hash)]
            ):
                self._find(block_index, end - start)
            self._in_doubt.clear(block_index)

    def _find(self, block_index: int, size: int) -> None:
        """A block that did not count as held is here and right."""
        self._held.set(block_index)
        self._held_bytes += size
        self._found.append(block_index)
        self._note_finding(Change.HELD, block_index, block_index + 1, size)
        self._update_contiguous()
        if self._contiguous_length == self.length:
            self._is_damaged = False

    def _held_leaves(self, start: int, end: int) -> Iterator[Leaf]:
        """The blocks that are held and have bytes in `[start, end)`."""
        end = min(end, self._byte_length)
        while start < end:
            found = self.locate(start)
            if isinstance(found, Unknown):
                self._lose(found.first_block, found.first_block + found.block_count)
                start = found.start + found.span
                continue
            block_index, start = found.block_index, found.start
            while start < end and (leaf := self._nodes.node(2 * block_index)) is not None:
                if self._held.get(block_index):
                    yield Leaf(block_index, start, leaf.size, leaf.hash)
                start += leaf.size
                block_index += 1
            if start == found.start < found.end:  # its leaf is lost, its size known by the others
                self._lose(block_index, block_index + 1)
                start = found.end

    def _lose(self, start: int, end: int) -> None:
        """Blocks `[start, end)`, as far as they are held, are wrong."""
        lost = list(self._held.ranges(start, end))
        for first, last in lost:
            self._lost.append((first, last))
            try:
                size = self.block_span(last - 1)[1] - self.block_span(first)[0]
            except BlockUnavailable:
                self._held.clear_range(first, last)
                self._recount()
                size = UNKNOWN_SIZE  # others of this way may be gone with them, and are not noted
            else:
                self._forget(first, last, size)
            self._is_damaged = self._is_damaged or self.is_owned
            self._note_finding(Change.LOST, first, last, size)

    def _note_finding(self, change: Change, start: int, end: int, size: int) -> None:
        """Notes that blocks `[start, end)` were found wrong, or here, and count as that now.

        What a clean mark says holds no more. If it cannot be noted, the next run finds the same.
        """
        files = self._files
        with suppress(StoreError, OSError):
            files.before_write()
            if files.held_log.has_room():
                files.held_log.note(change, start, end, size)
                return
            try:
                fold_notes(files, self._held_blocks(), is_owned=self.is_owned)
            except (StoreError, OSError):
                files.held_log.clear()  # to try that for each finding would take too long

    def _held_blocks(self, in_doubt: Bitfield | None = None) -> HeldBlocks:
        return HeldBlocks(
            self.length,
            self._held_bytes,
            self._is_damaged,
            self._held,
            Bitfield() if in_doubt is None else in_doubt,
        )

    def _lose_unreachable(self) -> None:
        """Nodes were found wrong: the blocks below them, as far as the way there is lost, are too.

        A block can be read only by the sizes on the way to it.
        """
        for first, last in self._nodes.take_lost():
            at = first
            while at < min(last, self._state.length):
                unknown = seek.unknown_around(self._nodes, self._state.roots, at)
                if unknown is not None:
                    self._lose(*unknown)
                at = max(at + 1, unknown[1] if unknown is not None else 0)

    def _lose_around(self, block_index: int) -> None:
        """The way to a held block is lost."""
        unknown = seek.unknown_around(self._nodes, self._state.roots, block_index)
        self._lose(*(unknown or (block_index, block_index + 1)))

    def _recount(self) -> None:
        """Counts the bytes held anew; a range to whose ends the way is lost becomes smaller."""
        counted = 0
        at = 0
        while (first := self._held.first_set(at, self._state.length)) is not None:
            end = min(self._held.first_unset(first), self._state.length)
            try:
                counted += self.block_span(end - 1)[1] - self.block_span(first)[0]
            except BlockUnavailable:
                for block in (first, end - 1):
                    unknown = seek.unknown_around(self._nodes, self._state.roots, block)
                    if unknown is not None:
                        self._lost += self._held.ranges(*unknown)
                        self._held.clear_range(*unknown)
                continue
            at = end
        self._held_bytes = counted
        self._update_contiguous()

    def _lose_what_was_cut_off(self, offset: int) -> None:
        """Somebody has cut the `data` file: a read from `offset` was short."""
        size = self._data.size()
        if size >= self._byte_length:
            raise self._corrupt(offset)  # an error of the file system's own
        found = self.locate(size)
        first = found.block_index if isinstance(found, Located) else found.first_block
        self._lose(first, self._state.length)

    def _forget(self, start: int, end: int, size: int) -> None:
        """Counts blocks [start, end) of `size` bytes together as not held."""
        self._held.clear_range(start, end)
        self._held_bytes -= size
        self._update_contiguous()

    def _update_contiguous(self) -> None:
        length = self._held.contiguous_length
        if length == self._contiguous_length:
            return
        if length == self._state.length:
            self._contiguous_bytes = self._byte_length
        else:
            try:
                self._contiguous_bytes = self.block_span(length - 1)[1] if length else 0
            except BlockUnavailable:
                self._contiguous_length = self._contiguous_bytes = 0
                unknown = seek.unknown_around(self._nodes, self._state.roots, length - 1)
                if unknown is not None:
                    self._lose(*unknown)
                return
        self._contiguous_length = length

    def _check_has_tree(self) -> None:
        if self._state.length != self.length:
            raise StoreCorrupt(f"{self._files.directory.path}/tree", 0, "the roots are damaged")

    def _corrupt(self, offset: int) -> StoreCorrupt:
        return StoreCorrupt(f"{self._files.directory.path}/data", offset, "not what was written")
