"""The room that followed feeds may take on the disk, held by what `cache` says (`cache_size`).

What counts is what the data files of feeds that are not ours take on the disk, measured after every
change. Room is made before blocks are written: what was not read for longest is dropped, and peers
are told before. Without a limit all of this does nothing.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from protozorfs.errors import NoRoom
from protozorfs.feeds.cache import (
    MAX_CHUNKS,
    MIN_DROP_CHUNKS,
    Chunk,
    Recency,
    Turns,
    chunk_bytes_for,
)
from protozorfs.log.bitfield import runs_of_indexes
from protozorfs.log.seek import Located

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.feeds.cache import Victim
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.wants import Want
    from protozorfs.log.feed import Log

MARGIN_SHARE = 64  # 1/64 stays free for what a file system itself needs for pieces of files
TURNS_SHARE = 2  # half is for readers that wait now, so that what they share stays for a while
AHEAD_SHARE = 8  # an eighth may be fetched ahead of all readers together
FILL_SHARE = 7 / 8  # whole feeds are fetched until so much is used: the rest is for readers
REFILL_SHARE = 3 / 4  # and again when so little is used

logger = logging.getLogger(__name__)


class Room:
    """What all feeds of others together may take. For the trio thread."""

    def __init__(self, cache_bytes: int | None, dropping: Callable[[Feed, int, int], None]) -> None:
        """`dropping` is called before blocks `[start, end)` of a feed are dropped.

        Without `cache_bytes` there is no limit.
        """
        self._cache_bytes = cache_bytes
        self._dropping = dropping
        size = cache_bytes or 0
        self._limit = size - size // MARGIN_SHARE
        self._recency: Recency[Feed] = Recency(chunk_bytes_for(size))
        self._turns: Turns[Feed] = Turns(size // TURNS_SHARE)
        self._logs: dict[Feed, Log] = {}
        self._unopened: dict[Feed, None] = {}  # of which only the size is known
        self._is_shrinking = False
        self._allocated: dict[Feed, int] = {}
        self._used = 0
        self._is_filled = self._has_refused = False

    @property
    def used_bytes(self) -> int:
        """What the feeds take now; 0 without a limit."""
        return self._used

    def may_fill(self) -> bool:
        """Feeds may be fetched whole, beyond what is read of them."""
        if self._cache_bytes is None:
            return True
        share = REFILL_SHARE if self._is_filled else FILL_SHARE
        self._is_filled = self._used > self._cache_bytes * share
        self._has_refused = self._has_refused or self._is_filled
        return not self._is_filled

    def has_resumed(self) -> bool:
        """True, once, when there is room again for whole feeds after there was none."""
        if self._has_refused and self.may_fill():
            self._has_refused = False
            return True
        return False

    @property
    def ahead_bytes(self) -> int | None:
        """How much may be fetched ahead of each reader that waits; None: no limit."""
        if self._cache_bytes is None:
            return None
        return self._cache_bytes // AHEAD_SHARE // max(1, len(self._turns))

    @property
    def piece_bytes(self) -> int | None:
        """How much a reader may want at one time; None: no limit."""
        return None if self._cache_bytes is None else max(1, self._cache_bytes // AHEAD_SHARE)

    # feeds that come and go

    def count(self, feed: Feed, allocated_bytes: int) -> None:
        """What a feed takes whose log is not open yet; it is opened when room is needed."""
        self._unopened[feed] = None
        self._set_allocated(feed, allocated_bytes)

    def opened(self, feed: Feed, log: Log) -> None:
        """The log of a feed was opened: what is in it counts, and goes first until it is read."""
        if self._cache_bytes is None or feed.is_owned:
            return
        self._unopened.pop(feed, None)
        self._logs[feed] = log
        self._drop_leavings(log)
        for start, end in log.held_runs(0, log.length):
            self._put(feed, log, start, end, is_unread=True)
        self._measure(feed)
        if not self._is_shrinking:
            self.shrink()

    def was_checked(self, feed: Feed) -> None:
        """What an unclean stop has left of it is known now."""
        log = self._logs.get(feed)
        if log is not None:
            self._drop_leavings(log)
            self._measure(feed)

    @staticmethod
    def _drop_leavings(log: Log) -> None:
        # What is in doubt does not count as held, but may be here.
        if not log.in_doubt.segments and log.allocated_bytes > log.held_bytes:
            log.drop_leavings()

    def closed(self, feed: Feed) -> None:
        """Its files are removed."""
        self._logs.pop(feed, None)
        self._unopened.pop(feed, None)
        self._recency.forget(feed)
        self._used -= self._allocated.pop(feed, 0)

    # what is read, and what comes

    def read(self, feed: Feed, start: int, end: int) -> None:
        """A reader got bytes `[start, end)`."""
        log = self._logs.get(feed)
        if log is None:
            return
        for number in self._recency.chunks_of(start, end):
            if not self._recency.touch(Chunk(feed, number)):
                self._put_bytes(feed, log, number, start, end)

    def maker(self, feed: Feed) -> Callable[[int], None] | None:
        """What makes room for blocks of a feed, for `Log.apply_all`; None: it needs none."""
        return partial(self._make, feed) if feed in self._logs else None

    def added(self, feed: Feed, blocks: Iterable[int]) -> None:
        """Blocks were written, or it was tried."""
        log = self._logs.get(feed)
        if log is None:
            return
        for start, end in runs_of_indexes(blocks):
            self._put(feed, log, start, end)
        self._measure(feed)

    def _make(self, feed: Feed, size: int) -> None:
        """Drops until there is room for `size` bytes more; nothing for a feed that nobody has open.

        Raises:
            NoRoom: there is none. Where what readers wait for takes it all, one of them is let in
                at a time from now on; who does not fit alone has its wait ended with this error.
        """
        if self._used + size <= self._limit:
            return
        if not feed.handles:
            raise NoRoom("what nobody reads is not worth dropping other blocks for")
        if self.shrink(size):
            return
        error = NoRoom("what a reader waits for is larger than cache_size has room for")
        alone = self._turns.only_first()
        if alone is not None and alone in feed.wants and not alone.done.is_set():
            alone.fail(error)
        raise error

    def shrink(self, size: int = 0) -> bool:
        """Drops until there is room for `size` bytes more; False if nothing is left to drop."""
        while self._used + size > self._limit or len(self._recency) > MAX_CHUNKS:
            over = self._used + size - self._limit
            if self._unopened and over > 0:
                self._open_one()
                continue
            count = max(MIN_DROP_CHUNKS, -(-over // self._recency.chunk_bytes))
            victims = self._recency.take_oldest(count, self._pinned())
            if not victims:
                return False
            for victim in victims:
                self._drop(victim)
        return True

    # readers that wait

    def enter(self, feed: Feed, want: Want) -> None:
        """A reader comes; it may have to wait for its turn."""
        log = self._logs.get(feed)
        if log is not None:
            average = log.byte_length // log.length if log.length else 0
            self._turns.enter(want, feed, want.end - want.start + 2 * average)

    def leave(self, want: Want) -> list[Feed]:
        """It waits no longer; returns the feeds of readers whose turn comes by that."""
        return self._turns.leave(want)

    def _open_one(self) -> None:
        feed = next(iter(self._unopened))
        del self._unopened[feed]
        self._is_shrinking = True
        try:
            if not feed.is_usable:  # opens it; what it takes still counts if that fails
                logger.warning("feed %s takes space that cannot be freed", feed.feed_id.hex())
        finally:
            self._is_shrinking = False

    def _pinned(self) -> set[Chunk[Feed]]:
        """What readers have of what they wait for: they shall have all of it at one time."""
        chunks_of = self._recency.chunks_of
        return {
            Chunk(feed, number)
            for want, feed in self._turns.admitted
            for number in chunks_of(want.start, want.end)
        }

    def _drop(self, victim: Victim[Feed]) -> None:
        feed = victim.key
        log = self._logs[feed]
        held = log.held_runs(victim.start, victim.end)
        first = _first_with_bytes(log, (one for run in held for one in range(*run)))
        if first is None:
            return
        backwards = (one for run in reversed(held) for one in reversed(range(*run)))
        last = _first_with_bytes(log, backwards) or first
        # Blocks at both ends may reach into chunks that are to be kept.
        before = range(self._chunks_of(log, first).start, victim.first_chunk)
        behind = range(victim.end_chunk, self._chunks_of(log, last).stop)
        start = first + self._recency.takes(feed, before, first)
        end = last + 1 - self._recency.takes(feed, behind, last)
        if start < end and log.held.first_set(start, end) is not None:
            self._dropping(feed, start, end)
            log.drop(start, end)
            self._measure(feed)

    def _chunks_of(self, log: Log, block: int) -> range:
        return self._recency.chunks_of(*log.block_span(block))

    def _put(self, feed: Feed, log: Log, start: int, end: int, *, is_unread: bool = False) -> None:
        """Notes blocks `[start, end)`, all of which are held."""
        first_byte, end_byte = log.block_span(start)[0], log.block_span(end - 1)[1]
        numbers = self._recency.chunks_of(first_byte, end_byte)
        if len(numbers) == 1:
            self._recency.put(Chunk(feed, numbers[0]), start, end, is_unread=is_unread)
            return
        for number in numbers:
            self._put_bytes(feed, log, number, first_byte, end_byte, is_unread=is_unread)

    def _put_bytes(
        self, feed: Feed, log: Log, number: int, start: int, end: int, *, is_unread: bool = False
    ) -> None:
        """Notes the blocks that bytes `[start, end)`, all of which are held, have in one chunk."""
        chunk_start = number * self._recency.chunk_bytes
        first = log.locate(max(start, chunk_start))
        last = log.locate(min(end, chunk_start + self._recency.chunk_bytes) - 1)
        if not isinstance(first, Located) or not isinstance(last, Located):
            return  # the way there was lost; so are the blocks, once they are looked at
        chunk, end_block = Chunk(feed, number), last.block_index + 1
        self._recency.put(chunk, first.block_index, end_block, is_unread=is_unread)

    def _measure(self, feed: Feed) -> None:
        self._set_allocated(feed, self._logs[feed].allocated_bytes)

    def _set_allocated(self, feed: Feed, allocated: int) -> None:
        self._used += allocated - self._allocated.get(feed, 0)
        self._allocated[feed] = allocated


def _first_with_bytes(log: Log, blocks: Iterable[int]) -> int | None:
    """The first block that is not empty."""
    for block in blocks:
        start, end = log.block_span(block)
        if start < end:
            return block
    return None
