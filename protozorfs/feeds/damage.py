"""What is found on the disk where it is used: blocks that are damaged, or are here after all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings

logger = logging.getLogger(__name__)


def tell_findings(feed: Feed, surroundings: Surroundings) -> int:
    """Tells readers and peers what the log has found, if there is anything.

    Returns how many blocks were wrong, and are not held any more; of a feed that is not ours they
    are to be fetched again.
    """
    log = feed.log
    if log.has_found:
        feed.blocks_found(log.take_found())
    lost = log.take_lost()
    if not lost:
        return 0
    count = sum(end - start for start, end in lost)
    if surroundings.is_read_only:
        what_next = "nothing is done about it, since the store is only read"
    elif feed.is_owned:
        what_next = "the feed takes no appends until a follower brings them back"
    else:
        what_next = "fetching them again"
    logger.error("feed %s: %d blocks are damaged; %s", feed.feed_id.hex(), count, what_next)
    if surroundings.listener is not None:
        for start, end in lost:
            surroundings.listener.blocks_dropped(feed, start, end)
    return count
