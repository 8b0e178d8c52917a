"""What a killed run left: feeds without a name, and logs that must be checked before their use."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import FeedNameError, StoreError
from protozorfs.log.feed import Log
from protozorfs.names import own_id_name
from protozorfs.store.name_records import NameRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.store.layout import FeedDirectory, Store

logger = logging.getLogger(__name__)


def name_unnamed(store: Store) -> None:
    """Finishes removals and visits that were cut off; every other feed has a name afterwards.

    A feed that is not named, and not marked as one to go, gets its ID as a name: the file that
    named it may be damaged.
    """
    for directory in list(store.feeds()):
        with Boundary(logger, f"what the last run left of feed {directory.feed_id.hex()}"):
            try:
                _settle(store, directory)
            except (StoreError, FeedNameError, OSError) as error:
                logger.error("feed %s stays as it is: %s", directory.feed_id.hex(), error)


def _settle(store: Store, directory: FeedDirectory) -> None:
    feed_id = directory.feed_id
    if store.names.by_feed_id(feed_id) is not None:
        directory.unmark_visited()
    elif store.may_remove(feed_id):
        store.remove_feed(feed_id, with_secret=True)
    elif directory.is_empty():
        directory.remove()
    else:
        now = time.time_ns()
        name = own_id_name(feed_id)
        store.names.add(NameRow(name, feed_id, directory.is_owned(), now, now))
        logger.warning("feed %s had no name: it is shown by its ID", feed_id.hex())


async def open_unclean(store: Store, names: Iterable[tuple[Feed, bytes]]) -> None:
    """Opens the logs that have no mark of a clean stop, which checks them.

    It takes time in proportion to their size, so it is done in a thread. A feed that cannot be
    opened says so to whoever uses it.
    """
    for feed, name in names:
        directory = store.feed(feed.feed_id)
        if directory.exists() and not directory.is_marked_clean():
            shown = name.decode(errors="replace")
            with Boundary(logger, f"the recovery of feed {shown}"):
                try:
                    written_ns = directory.file("head").modified_ns()  # opening may write it
                    log = await trio.to_thread.run_sync(Log.open, directory, abandon_on_cancel=True)
                    feed.adopt_log(log)
                    if log.length:
                        feed.was_written(written_ns)
                        feed.keep_time()  # opening may have written the head anew
                except (StoreError, OSError) as error:
                    logger.error("feed %s cannot be opened: %s", shown, error)
