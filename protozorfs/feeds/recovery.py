"""What a killed run left: feeds without a name, and logs that must be checked before their use."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import StoreError
from protozorfs.log.feed import Log
from protozorfs.names import own_id_name
from protozorfs.store.name_records import NameRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.store.layout import Store

logger = logging.getLogger(__name__)


def name_unnamed(store: Store) -> None:
    """Drops what visits left; an owned feed with a history gets its ID as a name."""
    for directory in list(store.unnamed_feeds()):
        secret = directory.secret()
        if secret is not None and directory.file("head").size():
            now = time.time_ns()
            name = own_id_name(directory.feed_id)
            store.names.add(NameRow(name, directory.feed_id, True, now, now))
        else:
            store.remove_feed(directory.feed_id, with_secret=secret is not None)


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
