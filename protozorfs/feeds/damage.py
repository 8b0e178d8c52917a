"""Blocks whose bytes on the disk are not what was signed: found where they are used, and told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings

logger = logging.getLogger(__name__)


def tell_lost(feed: Feed, surroundings: Surroundings) -> None:
    """Tells peers what the log has found wrong and does not hold any more, if there is anything.

    Of a feed that is not ours it is to be fetched again.
    """
    lost = feed.log.take_lost()
    if not lost:
        return
    count = sum(end - start for start, end in lost)
    what_next = (
        "the feed takes no appends until a follower brings them back"
        if feed.is_owned
        else "fetching them again"
    )
    logger.error("feed %s: %d blocks are damaged; %s", feed.feed_id.hex(), count, what_next)
    if surroundings.listener is not None:
        for start, end in lost:
            surroundings.listener.blocks_dropped(feed, start, end)
