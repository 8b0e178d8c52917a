"""Blocks whose bytes on the disk are not what was signed: found where they are used, and told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.log.bitfield import runs_of_indexes

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings

logger = logging.getLogger(__name__)


def drop_damaged(feed: Feed, surroundings: Surroundings, start: int, end: int) -> int:
    """Checks blocks `[start, end)`, up to the first that is not here; returns how many are bad.

    These are not here any more, to be fetched again, and peers are told so.
    """
    log = feed.log
    bad: list[int] = []
    for index in range(start, end):
        if not log.held.get(index):
            break
        if not log.check_block(index):
            bad.append(index)
    if not bad:
        return 0
    logger.error(
        "feed %s: %d blocks are damaged, fetching them again", feed.feed_id.hex(), len(bad)
    )
    if surroundings.listener is not None:
        for first, last in runs_of_indexes(bad):
            surroundings.listener.blocks_dropped(feed, first, last)
    return len(bad)
