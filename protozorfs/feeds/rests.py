"""Feeds that nobody writes to any more are marked clean, so that a kill costs them nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from protozorfs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.feed import Log

logger = logging.getLogger(__name__)


class Rests:
    """Which feeds were written to since they were looked at last."""

    def __init__(self) -> None:
        self._writes: dict[Feed, int] = {}

    async def mark(self, feeds: Iterable[Feed]) -> None:
        """Marks those of the feeds that were not written to since the last call."""
        opened = {feed: log for feed in feeds if (log := feed.open_log) is not None}
        before, self._writes = self._writes, {feed: log.writes for feed, log in opened.items()}
        for feed, log in opened.items():
            if before.get(feed) == log.writes and feed.has_log(log):
                try:
                    await _mark(feed, log)
                except (
                    StoreError,
                    OSError,
                ) as error:  # as on a full disk
                    logger.warning("feed %s is not marked clean: %s", feed.feed_id.hex(), error)
                self._writes[feed] = log.writes


async def _mark(feed: Feed, log: Log) -> None:
    if not feed.is_owned and log.head != log.durable_head and not log.is_syncing:
        sync = log.begin_sync()  # of an owned feed the publisher does it
        try:
            await trio.to_thread.run_sync(sync.run)
        finally:
            log.end_sync()
    rest = log.begin_rest() if feed.has_log(log) else None
    if rest is None:
        return
    try:
        await trio.to_thread.run_sync(rest.run)
    finally:
        if feed.has_log(log):
            log.end_rest(rest)
        else:
            rest.release()
