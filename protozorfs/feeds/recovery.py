"""What a killed run left: feeds without a name, and logs without a mark of a clean stop."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import FeedNameError, StoreError
from protozorfs.log.feed import Log
from protozorfs.names import own_id_name
from protozorfs.store.name_records import NameRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protozorfs.feeds.feed import Feed
    from protozorfs.store.layout import FeedDirectory, Store

OPEN_SECONDS = 0.5  # before the mount answers; then one more may be under way
OTHERS_PAUSE = 0.01  # seconds between two that are opened behind the mount

logger = logging.getLogger(__name__)


def name_unnamed(store: Store) -> None:
    """Finishes removals and visits that were cut off; every other feed has a name afterwards.

    A feed that is not named, and not marked as one to go, gets its ID as a name: the file that
    named it may be damaged. Only where there is nothing at all, nothing is named.
    """
    for directory in list(store.feeds()):
        with Boundary(logger, f"what the last run left of feed {directory.feed_id.hex()}"):
            try:
                _settle(store, directory)
            except (StoreError, FeedNameError, OSError) as error:
                logger.error("feed %s stays as it is: %s", directory.feed_id.hex(), error)
    try:
        store.forget_removals()
    except (StoreError, OSError) as error:
        logger.warning("removals of feeds are still remembered: %s", error)


def _settle(store: Store, directory: FeedDirectory) -> None:
    feed_id = directory.feed_id
    if store.names.by_feed_id(feed_id) is not None:
        directory.unmark_visited()
    elif store.may_remove(feed_id):
        store.remove_feed(feed_id, with_secret=True)
    elif directory.holds_nothing():
        directory.remove()
    else:
        now = time.time_ns()
        name = own_id_name(feed_id)
        store.names.add(NameRow(name, feed_id, directory.is_owned(), now, now))
        logger.warning("feed %s had no name: it is shown by its ID", feed_id.hex())


async def open_unclean(store: Store, feeds: Iterable[Feed]) -> list[Feed]:
    """Opens logs without a mark of a clean stop; returns those for which there was no time.

    What was appended and not synced is checked for it, in a thread; the rest is checked behind the
    mount. A feed that cannot be opened says so to whoever uses it. None is used before all are
    open: the files of the store's pool are for one thread at a time.
    """
    found = sorted(feeds, key=lambda feed: not feed.is_owned)
    if found:
        logger.info("the last run was not ended cleanly: opening %d feeds that it used", len(found))
    started = time.monotonic()
    logs: dict[Feed, Log] = {}
    others: list[Feed] = []
    for number, feed in enumerate(found):
        if time.monotonic() - started > OPEN_SECONDS:
            others = found[number:]
            break
        directory = store.feed(feed.feed_id)
        with _recovering(feed):
            # Not left alone when cancelled: it writes, and the store is closed behind it.
            logs[feed] = await trio.to_thread.run_sync(Log.open, directory)
    for feed, log in logs.items():
        with _recovering(feed):
            feed.adopt_log(log)
    return others


async def open_others(store: Store, feeds: Iterable[Feed]) -> None:
    """Opens the rest of them behind the mount; who uses one opens it sooner."""
    for feed in feeds:
        await trio.sleep(OTHERS_PAUSE)
        if feed.is_kept and feed.needs_recovery():
            with _recovering(feed):
                feed.adopt_log(Log.open(store.feed(feed.feed_id)))


@contextmanager
def _recovering(feed: Feed) -> Iterator[None]:
    """Errors in the body are logged: they are that feed's own."""
    with Boundary(logger, f"the recovery of feed {feed.feed_id.hex()}"):
        try:
            yield
        except (StoreError, OSError) as error:
            logger.error("feed %s cannot be opened: %s", feed.feed_id.hex(), error)
