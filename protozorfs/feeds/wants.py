"""What is wanted of one feed, by whom, asked of whom, since when.

The one readable place for it: readers put in the bytes they wait for, the swarm puts in which
block it asked of which peer, and what explains a wait is a view of this. Nothing here does I/O.

A reader wants bytes, peers are asked for blocks. The block of a byte may not be known yet in a
feed of which little is here; then the tree is searched, one guessed block at a time
(`log.seek`), and each answer narrows the search.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import trio

from protozorfs.log.bitfield import Bitfield
from protozorfs.log.seek import Located, guess_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protozorfs.log.feed import Log

MIN_AHEAD_BYTES = 128 * 1024  # fetched ahead of a reader that has read on once
MAX_AHEAD_BYTES = 8 * 1024 * 1024  # and of one that has read on for a while
MAX_AHEAD_BLOCKS = 1024  # bounds the same for tiny blocks
MAX_STREAMS = 64  # readers whose position is remembered, to see who reads on


class AskedOf(NamedTuple):
    """Who was asked for a block, and when (seconds, monotonic)."""

    peer: str
    since: float


@dataclass(slots=True, eq=False)
class Want:
    """The bytes `[start, end)` that one reader waits for, or a whole block.

    Of a block even the position may be unknown: `start` and `end` mean nothing then. Nothing is
    asked for it before it `is_admitted`: where space is short, readers have it by turns.

    Attributes:
        missing_block: the first block of it that is missing, or to be tried.
        end_block: the block behind its last one, or behind the one to be tried for that.
    """

    start: int
    end: int
    since: float
    ahead_bytes: int
    whole_block: int | None = None
    missing_block: int | None = None
    end_block: int = 0
    error: Exception | None = None
    is_admitted: bool = True
    done: trio.Event = field(default_factory=trio.Event)

    async def wait(self) -> None:
        """Returns when all bytes are held; raises what `fail` was given."""
        await self.done.wait()
        if self.error is not None:
            raise self.error

    def fail(self, error: Exception) -> None:
        """Ends the wait with an error."""
        self.error = error
        self.done.set()


@dataclass(slots=True)
class _Stream:
    position: int
    ahead_bytes: int


class Waiters:
    """Readers that wait for the same thing, and since when (seconds, monotonic)."""

    def __init__(self) -> None:
        self._since: dict[object, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    @property
    def since(self) -> float:
        """When the first of those who still wait came; there must be one."""
        return next(iter(self._since.values()))

    @contextmanager
    def one(self, now: float) -> Iterator[None]:
        """Counts a reader while it waits in the body."""
        key = object()
        self._since[key] = now
        try:
            yield
        finally:
            del self._since[key]


class Wants:
    """All that is wanted of one feed at the moment.

    Attributes:
        asked: who was asked for which block.
        for_growth: readers at the end, which wait for it to grow.
        for_head: opens that wait for the first head.
    """

    def __init__(self) -> None:
        self.for_growth = Waiters()
        self.for_head = Waiters()
        self.asked: dict[int, list[AskedOf]] = {}
        self.asked_blocks = Bitfield()  # the keys of `asked`, for searches
        self._wants: dict[Want, None] = {}  # in the order they came
        self._streams: list[_Stream] = []

    def __len__(self) -> int:
        return len(self._wants)

    @property
    def waiting_count(self) -> int:
        """How many readers wait, for whatever."""
        return len(self._wants) + len(self.for_growth) + len(self.for_head)

    def __iter__(self) -> Iterator[Want]:
        return iter(self._wants)

    def __contains__(self, want: object) -> bool:
        return want in self._wants

    def add(self, log: Log, start: int, end: int, now: float) -> Want:
        """Registers a reader; `discard` must follow, whatever happens."""
        want = Want(start, end, now, self._ahead_of(start, end))
        self._wants[want] = None
        self._advance(log, want)
        return want

    def add_block(self, log: Log, block_index: int, now: float) -> Want:
        """Registers a reader that waits for a whole block; `discard` must follow."""
        want = Want(0, 0, now, MIN_AHEAD_BYTES, whole_block=block_index)
        self._wants[want] = None
        self._advance(log, want)
        return want

    def discard(self, want: Want) -> None:
        """The reader waits no longer."""
        self._wants.pop(want, None)

    def update(self, log: Log, added: Iterable[int]) -> None:
        """Blocks were added: wakes who has all it waits for, moves the others on."""
        if not self._wants:
            return
        blocks = set(added)
        for want in list(self._wants):
            if not want.done.is_set() and (
                want.missing_block is None or want.missing_block in blocks
            ):
                self._advance(log, want)

    def refresh(self, log: Log) -> None:
        """The tree has changed in another way: looks at every want again."""
        for want in list(self._wants):
            if not want.done.is_set():
                self._advance(log, want)

    def fail_all(self, error: Exception) -> None:
        """Ends every wait with an error."""
        for want in self._wants:
            if not want.done.is_set():
                want.fail(error)

    def urgent_blocks(self) -> list[int]:
        """The blocks that readers wait for, who came first first."""
        return list(dict.fromkeys(block for _, block in self._searching()))

    def wanted_ranges(self, log: Log) -> list[tuple[int, int]]:
        """Ranges of blocks `[start, end)`: the rest of what readers wait for, who came first first.

        Their first blocks are urgent: see `urgent_blocks`.
        """
        ranges: dict[tuple[int, int], None] = {}
        for want, block in self._searching():
            if block + 1 < want.end_block:
                ranges[block + 1, min(log.length, want.end_block)] = None
        return list(ranges)

    def ahead_ranges(self, log: Log, max_bytes: int | None = None) -> list[tuple[int, int]]:
        """Ranges of blocks `[start, end)` that readers will come to next, if they read on.

        Each has about `max_bytes` at most, where space is short.
        """
        if not log.length:
            return []
        block_bytes = max(1, log.byte_length // log.length)
        ranges: dict[tuple[int, int], None] = {}
        for want, block in self._searching():
            if not want.ahead_bytes:
                continue
            blocks = min(MAX_AHEAD_BLOCKS, 1 + want.ahead_bytes // block_bytes)
            if max_bytes is not None:
                blocks = min(blocks, max_bytes // block_bytes)
            start = max(block + 1, want.end_block)
            ranges[start, min(log.length, start + blocks)] = None
        return list(ranges)

    def note_asked(self, block_index: int, peer: str, now: float) -> None:
        """A peer was asked for a block."""
        self.asked.setdefault(block_index, []).append(AskedOf(peer, now))
        self.asked_blocks.set(block_index)

    def note_not_asked(self, block_index: int, peer: str) -> None:
        """That request has ended, in whatever way."""
        left = [asked for asked in self.asked.get(block_index, ()) if asked.peer != peer]
        if left:
            self.asked[block_index] = left
        else:
            self.asked.pop(block_index, None)
            self.asked_blocks.clear(block_index)

    def _searching(self) -> Iterator[tuple[Want, int]]:
        """Whose turn it is and the first block that is missing to it, who came first first."""
        for want in self._wants:
            if want.missing_block is not None and want.is_admitted and not want.done.is_set():
                yield want, want.missing_block

    def _advance(self, log: Log, want: Want) -> None:
        if want.whole_block is not None:
            want.missing_block = want.whole_block
            want.end_block = want.whole_block + 1
            if log.held.get(want.whole_block):
                want.done.set()
            return
        at = log.held_until(want.start, want.end)
        if at >= want.end:
            want.done.set()
            return
        if at >= log.byte_length:  # known from a head record; its tree is not here yet
            want.missing_block = None
            return
        want.missing_block = _block_of(log, at)
        want.end_block = _block_of(log, min(want.end, log.byte_length) - 1) + 1

    def _ahead_of(self, start: int, end: int) -> int:
        for stream in self._streams:
            if stream.position <= start <= stream.position + stream.ahead_bytes:
                stream.position = end
                stream.ahead_bytes = min(MAX_AHEAD_BYTES, stream.ahead_bytes * 2)
                return stream.ahead_bytes
        self._streams.append(_Stream(end, MIN_AHEAD_BYTES))
        del self._streams[:-MAX_STREAMS]
        return 0  # nothing is known of this reader yet: it may want just these bytes


def _block_of(log: Log, offset: int) -> int:
    """The block that holds a byte, or the one to be tried first in search of it."""
    found = log.locate(offset)
    return found.block_index if isinstance(found, Located) else guess_block(found)
