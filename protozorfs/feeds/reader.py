"""The reading side of a feed: the bytes that are here, and the waits for those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protozorfs.errors import BlockUnavailable, Closing, HeadUnknown, StoreCorrupt
from protozorfs.feeds.damage import tell_findings

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings
    from protozorfs.feeds.wants import Want


class Reader:
    """Answers reads of a feed. Cancelling a wait drops what it wanted."""

    def __init__(self, feed: Feed, surroundings: Surroundings) -> None:
        self._feed = feed
        self._surroundings = surroundings
        self._grown = trio.Event()  # set and replaced whenever the feed grows

    # what is here

    def read_nowait(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on that are held without a gap, at most `size`.

        Raises:
            StoreCorrupt: an owned block is not what was signed.
        """
        feed = self._feed
        log = feed.log
        try:
            data = log.read(offset, size)
        finally:
            if log.has_lost or log.has_found:
                tell_findings(feed, self._surroundings)
                self.notify_wants()
        self._surroundings.room.read(feed, offset, offset + len(data))
        return data

    def block_start(self, block_index: int) -> int | None:
        """The offset in bytes of a block, or of the end if it is the next one; None: not known."""
        feed = self._feed
        if block_index in (0, feed.length):
            return feed.byte_length if block_index else 0
        try:
            return feed.log.block_span(block_index)[0]
        except BlockUnavailable:
            return None

    # waiting for the rest

    async def read(self, start: int, end: int) -> bytes:
        """All bytes of `[start, end)`, which the feed must have; waits for those that are missing.

        Under a small `cache_size` they are gathered in pieces that it has room for: what came first
        may have to go before the last comes.

        Raises: as `wait_bytes` and `read_nowait`.
        """
        parts: list[bytes] = []
        at = start
        while at < end:
            data = self.read_nowait(at, end - at)
            if data:
                parts.append(data)
                at += len(data)
            else:
                piece = self._surroundings.room.piece_bytes
                await self.wait_bytes(at, end if piece is None else min(end, at + piece))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def wait_bytes(self, start: int, end: int) -> None:
        """Returns when all bytes of `[start, end)` are held.

        Raises:
            BlockUnavailable: some are missing, and this node never fetches for readers.
            StoreCorrupt: some are missing from an owned feed.
            Closing: the node shuts down.
        """
        feed = self._feed
        if feed.log.held_until(start, end) < end:
            self._check_fetchable(start)
            await self._wait(feed.wants.add(feed.log, start, end, trio.current_time()))

    async def wait_block_start(self, block_index: int) -> None:
        """Returns when `block_start` is known. Raises as `wait_bytes` and `wait_length`."""
        feed = self._feed
        if block_index:
            await self.wait_length(block_index - 1)
        while self.block_start(block_index) is None:
            self._check_fetchable(0)
            # Its proof brings all sizes that its offset is the sum of.
            await self._wait(feed.wants.add_block(feed.log, block_index, trio.current_time()))

    async def wait_length(self, length: int) -> None:
        """Returns when the feed has more than `length` blocks.

        Raises:
            Closing: the node shuts down.
        """
        with self._feed.wants.for_growth.one(trio.current_time()):
            while self._feed.length <= length:
                self._surroundings.check_open()
                await self._grown.wait()

    def look_for_head(self) -> None:
        """Has everybody asked for the first head who may be asked again; no effect if it is known.

        It does not wait.
        """
        listener = self._surroundings.listener
        if self._feed.is_unknown and listener is not None and not self._surroundings.is_closing:
            listener.head_wanted(self._feed)

    async def wait_first_head(self) -> None:
        """Returns when a head is known; begins a search for one, if nothing is known yet.

        Raises:
            HeadUnknown: everybody was asked who might have told one.
            Closing: the node shuts down.
        """
        feed = self._feed
        if feed.is_unknown:
            with feed.wants.for_head.one(trio.current_time()):
                self.look_for_head()
                await feed.head_search.wait()
            self._surroundings.check_open()
            if feed.is_unknown:
                raise HeadUnknown("nobody who has this feed was found")

    # for the feed

    def grown(self) -> None:
        """The feed has a newer head, or more of it is here: wakes who waits for its growth."""
        self._grown.set()
        self._grown = trio.Event()

    def notify_wants(self) -> None:
        """Tells the swarm that other bytes are wanted than before."""
        if self._surroundings.listener is not None and not self._surroundings.is_closing:
            self._surroundings.listener.wants_changed(self._feed)

    def end_waits(self) -> None:
        """The feed is closed: ends all waits, those for bytes with `Closing`."""
        self._feed.wants.fail_all(Closing("the node is shutting down"))
        self.grown()
        self._feed.head_search.end()

    def _check_fetchable(self, offset: int) -> None:
        feed = self._feed
        if feed.is_owned and feed.log.damaged:
            raise StoreCorrupt(f"feed {feed.feed_id.hex()}", offset, "a block is damaged")
        if self._surroundings.is_local:
            raise BlockUnavailable("not here, and nothing is fetched")
        self._surroundings.check_open()

    async def _wait(self, want: Want) -> None:
        room = self._surroundings.room
        room.enter(self._feed, want)
        try:
            self.notify_wants()
            await want.wait()
        finally:
            self._feed.wants.discard(want)
            for feed in room.leave(want):
                feed.reader.notify_wants()
