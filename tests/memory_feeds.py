"""Feeds in memory for the mount: the same ports as the real ones, and everything can be staged."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.errors import (
    BlockUnavailable,
    Closing,
    HeadUnknown,
    NameTaken,
    NoSuchFeed,
    NotRemovable,
    NotWritable,
    StoreCorrupt,
    StoreFull,
)
from protozorfs.feeds.facts import FeedFacts, FeedReport
from protozorfs.feeds.numbers import Numbers, identity_of_feed
from protozorfs.names import check_new_name
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.numbers import KeptNumbers
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from protozorfs.feeds.facts import CheckFacts, NodeFacts, ScrubFacts

FAULTS = {"full": StoreFull, "frozen": NotWritable, "closing": Closing, "bug": ZeroDivisionError}


class MemoryReader:
    """Answers reads of a feed in memory."""

    def __init__(self, feed: MemoryFeed) -> None:
        self._feed = feed

    def read_nowait(self, offset: int, size: int) -> bytes:
        feed = self._feed
        if feed.is_damaged and offset + size > feed.sound_bytes:
            raise StoreCorrupt("data", offset, "flipped bits")
        return bytes(feed.data[offset : min(offset + size, feed.held_until(offset))])

    async def read(self, start: int, end: int) -> bytes:
        await self.wait_bytes(start, end)
        return self.read_nowait(start, end - start)

    async def wait_bytes(self, start: int, end: int) -> None:
        feed = self._feed
        if feed.is_local and feed.held_until(start) < end:
            raise BlockUnavailable("not here")
        feed.waiting_count += 1
        try:
            while feed.held_until(start) < end:
                await feed.changed.wait()
        finally:
            feed.waiting_count -= 1

    async def wait_length(self, length: int) -> None:
        feed = self._feed
        feed.waiting_count += 1
        try:
            while feed.length <= length:
                await feed.changed.wait()
        finally:
            feed.waiting_count -= 1

    def block_start(self, block_index: int) -> int | None:
        feed = self._feed
        if block_index > feed.length or feed.hides_blocks:
            return None
        return sum(map(len, feed.blocks[:block_index]))

    async def wait_block_start(self, block_index: int) -> None:
        feed = self._feed
        while self.block_start(block_index) is None:
            await feed.changed.wait()

    def look_for_head(self) -> None:
        self._feed.looks += 1

    async def wait_first_head(self) -> None:
        feed = self._feed
        feed.looks += 1
        while feed.is_unknown:
            if feed.attempt is None:
                raise HeadUnknown("nobody to ask")
            await feed.attempt.wait()


class MemoryFeed:
    """One feed: its bytes up to the head, of which a test says how many are here."""

    def __init__(self, feed_id: FeedId, *, is_owned: bool, is_local: bool = False) -> None:
        self.feed_id = feed_id
        self.is_owned = is_owned
        self.is_local = is_local
        self.blocks: list[bytes] = []
        self.data = bytearray()
        self.held_bytes = 0  # a prefix
        self.islands: list[tuple[int, int]] = []  # ranges of bytes behind it that are here, too
        self.fork = 0
        self.frozen_why = ""
        self.created_ns = self.mtime_ns = time.time_ns()
        self.peer_count = 0
        self.is_lost = False
        self._state = "owned" if is_owned else "resolving"
        self.handles = 0
        self.reader = MemoryReader(self)
        self.syncs = 0
        self.fault = ""  # of the next appends
        self.is_damaged = False
        self.sound_bytes = 0  # at its beginning, of a damaged one
        self.attempt: trio.Event | None = None  # to find its head; it ends it
        self.looks = 0  # how often it was looked for
        self.waiting_count = 0
        self.hides_blocks = False  # their positions are not known
        self.watchers: list[Callable[[MemoryFeed], None]] = []
        self.changed = trio.Event()

    @property
    def is_unknown(self) -> bool:
        return not self.is_owned and not self.blocks

    @property
    def state(self) -> str:
        if self.is_lost:
            raise StoreCorrupt("head", 0, "gone")
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    @property
    def length(self) -> int:
        return len(self.blocks)

    @property
    def byte_length(self) -> int:
        return len(self.data)

    async def append(self, blocks: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        if self.fault:
            raise FAULTS[self.fault](self.fault)
        self.stage(list(blocks))

    async def sync(self) -> None:
        await trio.lowlevel.checkpoint()
        self.syncs += 1

    def acquire(self) -> None:
        self.handles += 1

    def release(self) -> None:
        self.handles -= 1

    def stage(self, blocks: list[bytes], *, held: bool = True) -> None:
        """Grows by blocks that are here, or (all of them from then on) are not."""
        self.blocks.extend(blocks)
        self.data.extend(b"".join(blocks))
        self.mtime_ns = time.time_ns()
        self.hold(len(self.data) if held else self.held_bytes)

    def held_until(self, offset: int) -> int:
        """The end of the bytes that are here from `offset` on without a gap."""
        end = max(offset, self.held_bytes)
        while further := [stop for start, stop in self.islands if start <= end < stop]:
            end = max(further)
        return end

    def hold(self, count: int) -> None:
        """The first `count` bytes are here."""
        self.held_bytes = count
        self._changed()

    def hold_island(self, start: int, end: int) -> None:
        """Bytes `[start, end)` are here."""
        self.islands.append((start, end))
        self._changed()

    def _changed(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
        for watcher in self.watchers:
            watcher(self)


class MemorySurroundings:
    """What all feeds have in common."""

    def __init__(self) -> None:
        self.watchers: list[Callable[[MemoryFeed], None]] = []  # one list, shared by all feeds
        self.has_room = True
        self.is_read_only = False
        self.trouble = ""

    @contextmanager
    def watched(self, watcher: Callable[[MemoryFeed], None]) -> Iterator[None]:
        self.watchers.append(watcher)
        yield
        self.watchers.remove(watcher)

    def may_fetch(self) -> bool:
        return self.has_room

    def store_trouble(self) -> str:
        return self.trouble


class MemoryFeeds:
    """All feeds, by name and by ID."""

    def __init__(self, *, is_local: bool = False) -> None:
        self.named: dict[bytes, MemoryFeed] = {}
        self.visited: dict[FeedId, MemoryFeed] = {}
        self.numbers = Numbers(KeptNumbers(MemoryFiles(), bytes(32)))
        self._is_local = is_local
        self.is_broken = False
        self.surroundings = MemorySurroundings()

    def name_by_id(self, feed_id: FeedId) -> bytes | None:
        found = (name for name, feed in self.named.items() if feed.feed_id == feed_id)
        return next(found, None)

    def check_facts(self) -> CheckFacts | None:
        return None

    def scrub_facts(self) -> ScrubFacts | None:
        return None

    def node_facts(self) -> NodeFacts | None:
        return None

    def report(self, feed_id: FeedId) -> FeedReport:
        feed = self.by_id(feed_id)
        assert feed is not None
        return FeedReport(
            head=None,
            held_blocks=feed.length,
            contiguous_blocks=feed.length,
            waiting=feed.waiting_count,
            why="a reason from memory",
            facts=FeedFacts(),
        )

    def names(self) -> list[tuple[bytes, MemoryFeed]]:
        return sorted(self.named.items())

    def by_name(self, name: bytes) -> MemoryFeed | None:
        return self.named.get(name)

    def by_id(self, feed_id: FeedId) -> MemoryFeed | None:
        if self.is_broken:
            raise RuntimeError("broken, as a test asked for")
        for feed in self.named.values():
            if feed.feed_id == feed_id:
                return feed
        return self.visited.get(feed_id)

    def by_number(self, number: int) -> MemoryFeed | None:
        feed_id = self.numbers.feed_of(number)
        return None if feed_id is None else self.by_id(feed_id)

    async def create(self, name: bytes) -> MemoryFeed:
        self._check_free(name)
        pair = crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES))
        feed = self.named[name] = MemoryFeed(FeedId(pair.public_key), is_owned=True)
        self._known(feed)
        return feed

    async def follow(self, feed_id: FeedId, name: bytes) -> MemoryFeed:
        self._check_free(name)
        if any(feed.feed_id == feed_id for feed in self.named.values()):
            raise NameTaken("has a name")
        feed = await self.visit(feed_id)
        del self.visited[feed_id]
        self.named[name] = feed
        return feed

    async def visit(self, feed_id: FeedId) -> MemoryFeed:
        feed = self.by_id(feed_id)
        if feed is None:
            feed = MemoryFeed(feed_id, is_owned=False, is_local=self._is_local)
            self.visited[feed_id] = feed
            self._known(feed)
        return feed

    async def rename(self, old: bytes, new: bytes) -> None:
        self._check_free(new)
        self.named[new] = self.named.pop(old)

    async def remove(self, name: bytes) -> None:
        feed = self.named.get(name)
        if feed is None:
            raise NoSuchFeed("no feed of that name")
        if feed.is_owned and feed.length:
            raise NotRemovable("its key would be lost")
        self._forget(name)

    async def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        if self.named[name].feed_id != feed_id:
            raise NoSuchFeed("no feed of that name and ID")
        self._forget(name)

    def statvfs(self) -> os.statvfs_result:
        return os.statvfs("/")

    def _check_free(self, name: bytes) -> None:
        check_new_name(name)
        if name in self.named:
            raise NameTaken("there is a feed of that name")

    def _known(self, feed: MemoryFeed) -> None:
        feed.watchers = self.surroundings.watchers
        self.numbers.take(identity_of_feed(feed.feed_id))

    def _forget(self, name: bytes) -> None:
        feed = self.named.pop(name)
        self.numbers.give_back(identity_of_feed(feed.feed_id))
