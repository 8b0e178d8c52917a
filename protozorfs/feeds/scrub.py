"""The scrub: all that is held is read again in the background, slowly, and compared with the tree.

Disks lose bits of what nobody reads. What is found is treated as if a reader had found it. Feeds
are served and appended to as ever meanwhile, and nothing is written where nothing is wrong.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import StoreError
from protozorfs.feeds.checks import give_way
from protozorfs.feeds.damage import tell_findings
from protozorfs.feeds.facts import ScrubCounts, ScrubFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.feeds.checks import Checks
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings

INTERVAL_SECONDS = 7 * 24 * 3600.0  # from the end of one scrub to the beginning of the next
# A step takes at most a fifth of the time: small blocks are hashed for long, and a slow disk is
# needed by others.
REST_SHARE = 4

logger = logging.getLogger(__name__)


class Scrub:
    """What is read again, what was found, and the task that does it."""

    def __init__(self, surroundings: Surroundings, checks: Checks, bytes_per_second: int) -> None:
        """`checks`: what a kill has left comes first."""
        self._surroundings = surroundings
        self._checks = checks
        self._bytes_per_second = bytes_per_second
        self._left: dict[Feed, int] = {}  # bytes that are yet to be read, about
        self._now: ScrubCounts | None = None
        self._last: ScrubCounts | None = None
        self._started = self._ended = self._next = trio.current_time()

    @property
    def facts(self) -> ScrubFacts:
        """How far it is, and what the last one found."""
        now = trio.current_time()
        seconds = now - self._started
        done = self._now.bytes if self._now is not None else 0
        return ScrubFacts(
            now=self._now,
            feeds_left=len(self._left),
            bytes_left=sum(self._left.values()),
            bytes_per_second=done / seconds if seconds > 0 else 0.0,
            last=self._last,
            ended_seconds=None if self._last is None else now - self._ended,
            next_seconds=None if self._now is not None else max(0.0, self._next - now),
        )

    async def run(self, feeds: Callable[[], Sequence[Feed]]) -> None:
        """Scrubs all feeds that there are, again and again; runs until cancelled."""
        while True:
            await self._checks.wait_done()
            await self._scrub_all(feeds())
            self._next = self._ended + INTERVAL_SECONDS
            await trio.sleep_until(self._next)

    async def _scrub_all(self, feeds: Sequence[Feed]) -> None:
        self._started = trio.current_time()
        self._now = ScrubCounts()
        for feed in feeds:
            self._left[feed] = _held_bytes(feed)
            await trio.lowlevel.checkpoint()
        logger.info(
            "scrubbing: %d feeds, about %d bytes, at most %.1f MB/s",
            len(self._left),
            sum(self._left.values()),
            self._bytes_per_second / 1e6,
        )
        while self._left:
            feed = next(iter(self._left))
            with Boundary(logger, f"the scrub of feed {feed.feed_id.hex()}"):
                try:
                    await self._scrub(feed)
                except (StoreError, OSError) as error:
                    logger.error("feed %s cannot be scrubbed: %s", feed.feed_id.hex(), error)
                    self._count(failed_feeds=1)
            self._left.pop(feed, None)
            self._count(feeds=1)
        self._ended = trio.current_time()
        self._last, self._now = self._now, None
        logger.info(
            "scrubbed: %d feeds, %d bytes in %.0f s; damaged blocks: %d,"
            " nodes of trees made good: %d, feeds that could not be read: %d",
            self._last.feeds,
            self._last.bytes,
            self._ended - self._started,
            self._last.damaged_blocks,
            self._last.mended_nodes,
            self._last.failed_feeds,
        )

    async def _scrub(self, feed: Feed) -> None:
        if not (feed.is_kept and feed.has_files):
            return  # removed meanwhile, or nothing of it is here
        log, at = feed.log, 0
        end = log.length  # what comes later is verified when it comes
        while feed.has_log(log) and (step := log.begin_scrub(at, end)) is not None:
            started = trio.current_time()
            try:
                await trio.to_thread.run_sync(step.run)
            finally:
                step.release()
            if not feed.has_log(log):
                return
            mended = log.end_scrub(step)
            damaged = tell_findings(feed, self._surroundings)
            self._count(bytes=step.size, damaged_blocks=damaged, mended_nodes=mended)
            self._left[feed] = max(0, self._left[feed] - step.size)
            at = step.end
            await self._rest(step.size, trio.current_time() - started)

    def _count(self, **more: int) -> None:
        assert self._now is not None
        counts = {name: getattr(self._now, name) + count for name, count in more.items()}
        self._now = replace(self._now, **counts)

    async def _rest(self, size: int, seconds: float) -> None:
        """Waits as long as the rate says, and as others need, after a step that took `seconds`."""
        await trio.sleep(max(size / self._bytes_per_second - seconds, REST_SHARE * seconds))
        await give_way()
        await self._checks.wait_done()


def _held_bytes(feed: Feed) -> int:
    try:
        return feed.held_bytes
    except (StoreError, OSError):  # said when it is its turn
        return 0
