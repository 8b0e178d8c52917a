"""The writing side of a feed: what must be true before an append, the commit, what follows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import NotWritable
from protozorfs.feeds.commits import Committer, Publisher
from protozorfs.feeds.newest import NewestCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings

logger = logging.getLogger(__name__)


class Writer:
    """Appends to a feed, if it is ours.

    Attributes:
        refusal: why the last append was refused; None if it was not.
    """

    def __init__(self, feed: Feed, surroundings: Surroundings, *, is_new: bool) -> None:
        """`is_new`: the feed's key was made just now, so that no head of it can be anywhere."""
        self.refusal: str | None = None
        self._feed = feed
        self._surroundings = surroundings
        self._newest_check = NewestCheck(is_needed=feed.is_owned and not is_new)
        self._committer: Committer | None = None
        self._publisher: Publisher | None = None

    async def append(self, blocks: Sequence[bytes]) -> None:
        """See `Feed.append`."""
        try:
            await self._check()
        except NotWritable as error:
            if self.refusal != str(error):
                self.refusal = str(error)
                logger.warning("appends to %s are refused: %s", self._feed.feed_id.hex(), error)
            raise
        self.refusal = None
        if self._committer is None:
            self._committer = Committer(self._feed.log)
        publisher = self._get_publisher()
        publisher.check()
        await self._committer.commit(blocks)
        publisher.nudge()

    async def sync(self) -> None:
        """See `Feed.sync`."""
        await self._get_publisher().wait_durable()

    def publish(self) -> None:
        """There is a commit that is not durable."""
        self._get_publisher().nudge()

    def stop(self) -> None:
        """The feed is being removed: nothing more becomes durable or is published."""
        if self._publisher is not None:
            self._publisher.stop()

    def forget(self) -> None:
        """The log was closed."""
        self._committer = None
        self._publisher = None

    async def _check(self) -> None:
        feed = self._feed
        if not feed.is_owned:
            raise NotWritable("not a feed of ours")
        if self._surroundings.is_read_only:
            raise NotWritable("the store is open read-only")
        log = feed.log  # opening it reads the evidence that is kept
        self._check_history()
        if log.damaged:
            raise NotWritable(
                "blocks of it are damaged; a follower that has them can bring them back"
            )
        self._surroundings.check_store_often()
        log.check_present()
        await self._newest_check.run(feed, self._surroundings)
        self._check_history()  # peers were asked for it
        if log.contiguous_length < max(log.length, feed.known_head.length):
            raise NotWritable("a newer head was found elsewhere; its blocks are being fetched")
        self._newest_check.settle(feed)

    def _check_history(self) -> None:
        why = self._feed.frozen_why
        if why:
            raise NotWritable(f"the feed is frozen, since {why}")

    def _get_publisher(self) -> Publisher:
        if self._publisher is None:
            log = self._feed.log
            around = self._surroundings
            self._publisher = Publisher(log, around.start_task, self._published, around.syncs)
        return self._publisher

    def _published(self) -> None:
        if self._surroundings.listener is not None:
            self._surroundings.listener.head_published(self._feed)
