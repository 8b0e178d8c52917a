"""The check of what an unclean stop has left, behind the mount.

One feed after another, in steps: what is next is looked up in the event loop, read and hashed in a
thread, and taken in in the event loop. When something else had to be done meanwhile, the next step
waits, so that readers, writers and peers come first.

What cannot be gone on with for want of space is, once there is some: a feed whose recovery is in
memory only is recovered on the disk and checked there, and what was checked is noted.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import StoreError, StoreFull
from protozorfs.feeds.damage import tell_findings
from protozorfs.feeds.facts import CheckFacts

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings
    from protozorfs.log.feed import Log

KEEP_SECONDS = 1.0  # of work that a kill may take
BUSY_SECONDS = 0.0005  # that others took of the event loop, so that they are given way
# A step takes 5 ms or so: while others are busy, the check takes a tenth of the time.
GIVE_WAY_SECONDS = 0.05
TELL_SECONDS = 30.0  # between two lines of the log
FULL_PAUSE = 5.0  # seconds until it is tried again on a full disk

logger = logging.getLogger(__name__)


class Checks:
    """What is checked, what has been, and the task that does it."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._feeds: dict[Feed, int] = {}  # bytes that are left to look at, about
        self._has_more = trio.Event()
        self._has_ended = trio.Event()
        self._waiting: dict[Feed, None] = {}  # for space
        self._has_waiting = trio.Event()
        self._done_bytes = self._done_feeds = self._lost_blocks = 0
        self._started = self._told = 0.0

    @property
    def facts(self) -> CheckFacts | None:
        """How far it is; None if nothing is to be checked."""
        if not self._feeds:
            return None
        seconds = time.monotonic() - self._started
        return CheckFacts(
            feeds_left=len(self._feeds),
            bytes_left=sum(self._feeds.values()),
            bytes_done=self._done_bytes,
            bytes_per_second=self._done_bytes / seconds if seconds > 0 else 0.0,
        )

    def add(self, feed: Feed) -> None:
        """A log was opened of which something is in doubt, or is in memory only."""
        log = feed.log
        if not log.is_recovered:
            self._wait_for_space(feed)
        if not self._feeds:
            self._done_bytes = self._done_feeds = self._lost_blocks = 0
            self._started = self._told = time.monotonic()
            self._has_ended = trio.Event()
        self._feeds[feed] = _bytes_in_doubt(log)
        self._has_more.set()

    async def run(self) -> None:
        """Checks whatever is added; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_waiting)
            await self._run()

    async def _run(self) -> None:
        while True:
            await self._has_more.wait()
            self._has_more = trio.Event()
            if self._feeds:
                logger.info(
                    "checking behind the mount what the last run left: %d feeds, about %d bytes",
                    len(self._feeds),
                    sum(self._feeds.values()),
                )
            while self._feeds:
                feed = next(iter(self._feeds))
                with Boundary(logger, f"the check of feed {feed.feed_id.hex()}"):
                    try:
                        await self._check(feed)
                    except StoreFull as error:
                        logger.warning(
                            "the check of feed %s waits for space: %s", feed.feed_id.hex(), error
                        )
                        self._wait_for_space(feed)
                    except (StoreError, OSError) as error:
                        logger.error("feed %s cannot be checked: %s", feed.feed_id.hex(), error)
                self._feeds.pop(feed, None)
                self._done_feeds += 1
            if self._done_feeds:
                self._tell_end()
            self._has_ended.set()

    async def wait_done(self) -> None:
        """Returns when nothing is to be checked."""
        while self._feeds:
            await self._has_ended.wait()

    async def _check(self, feed: Feed) -> None:
        log, kept = feed.log, time.monotonic()
        while feed.has_log(log):
            step = log.begin_check()
            if step is None:
                if not log.has_progress:
                    break  # nothing was awaited since: who adds the feed again comes later
                await _keep_progress(feed, log)
                continue
            try:
                await trio.to_thread.run_sync(step.run)
            finally:
                step.release()
            if not feed.has_log(log):
                return
            log.end_check(step)
            self._lost_blocks += tell_findings(feed, self._surroundings)
            self._done_bytes += step.size
            self._feeds[feed] = _bytes_in_doubt(log)
            self._tell_progress()
            if time.monotonic() - kept >= KEEP_SECONDS:
                with suppress(StoreFull):  # it is tried again at the end
                    await _keep_progress(feed, log)
                kept = time.monotonic()
            await give_way()
        if feed.has_log(log):
            self._surroundings.room.was_checked(feed)

    def _wait_for_space(self, feed: Feed) -> None:
        self._waiting[feed] = None
        self._has_waiting.set()

    async def _run_waiting(self) -> None:
        while True:
            await self._has_waiting.wait()
            await trio.sleep(FULL_PAUSE)
            with Boundary(logger, "what waits for space to be recovered or checked"):
                await self._try_waiting()
            if not self._waiting:
                self._has_waiting = trio.Event()

    async def _try_waiting(self) -> None:
        for feed in list(self._waiting):
            del self._waiting[feed]
            try:
                await self._go_on(feed)
            except StoreFull:
                self._waiting[feed] = None  # behind the others, which may need less
                return
            except (StoreError, OSError) as error:
                logger.error("feed %s cannot be recovered: %s", feed.feed_id.hex(), error)

    async def _go_on(self, feed: Feed) -> None:
        log = feed.open_log
        if log is None:
            return
        log.recover()
        if log.in_doubt.segments:
            self.add(feed)
        elif log.has_progress and feed not in self._feeds:
            await _keep_progress(feed, log)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS and (facts := self.facts) is not None:
            self._told = now
            logger.info(
                "checked %d bytes, about %d of %d feeds are left; %.1f MB/s",
                facts.bytes_done,
                facts.bytes_left,
                facts.feeds_left,
                facts.bytes_per_second / 1e6,
            )

    def _tell_end(self) -> None:
        seconds = time.monotonic() - self._started
        logger.info(
            "what the last run left is checked: %d feeds, %d bytes in %.1f s (%.1f MB/s),"
            " %d blocks are damaged",
            self._done_feeds,
            self._done_bytes,
            seconds,
            self._done_bytes / 1e6 / max(seconds, 1e-9),
            self._lost_blocks,
        )


async def _keep_progress(feed: Feed, log: Log) -> None:
    progress = log.begin_progress()
    try:
        await trio.to_thread.run_sync(progress.run)
    finally:
        if feed.has_log(log):
            log.end_progress(progress)
        else:
            progress.release()


async def give_way() -> None:
    """Lets everything else run that is ready, and waits if that was much."""
    before = trio.current_time()
    for _ in range(2):  # what has come meanwhile is noticed in the first, and done in the second
        await trio.lowlevel.checkpoint()
    if trio.current_time() - before > BUSY_SECONDS:
        await trio.sleep(GIVE_WAY_SECONDS)


def _bytes_in_doubt(log: Log) -> int:
    """About how many bytes are yet to be looked at."""
    count = log.in_doubt.count(0, log.length)
    return log.byte_length * count // log.length if log.length else 0
