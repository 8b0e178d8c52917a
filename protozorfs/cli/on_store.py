"""The feed commands on a store that is not mounted; FUSE is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from protozorfs import app
from protozorfs.cli.access import FeedLine
from protozorfs.cli.running import run_async
from protozorfs.errors import NoSuchFeed
from protozorfs.options import Options
from protozorfs.store.unwritable import is_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.registry import Feeds
    from protozorfs.types import FeedId

T = TypeVar("T")

# A command that only looks into the store tells nobody that it runs.
ALONE = Options(bind="127.0.0.1", nodht=True, nolan=True, noportmap=True)


class StoreAccess:
    """See `access.Access`. Opens the store for each operation.

    Raises:
        StoreLocked: another process has it open.
    """

    def __init__(self, store: Path) -> None:
        self.store = store

    def feeds(self) -> Sequence[FeedLine]:
        return self._look(lambda feeds: [_line(name, feed) for name, feed in feeds.names()])

    def create(self, name: bytes) -> FeedId:
        async def create(feeds: Feeds) -> FeedId:
            return (await feeds.create(name)).feed_id

        return self._do(create)

    def follow(self, feed_id: FeedId, name: bytes) -> None:
        self._do(lambda feeds: feeds.follow(feed_id, name))

    def feed_id_of(self, name: bytes) -> FeedId:
        return self._look(lambda feeds: named(feeds, name).feed_id)

    def remove(self, name: bytes) -> None:
        self._do(lambda feeds: feeds.remove(name))

    def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        self._do(lambda feeds: feeds.delete_key(name, feed_id))

    def _look(self, look: Callable[[Feeds], T]) -> T:
        """What is to be seen in the store; nothing is written into one that is there."""

        async def open_and_look() -> T:
            async with app.open_to_read(self.store) as stored:
                return look(stored.feeds)

        async def look_at_new(feeds: Feeds) -> T:
            return look(feeds)

        return run_async(open_and_look) if is_store(self.store) else self._do(look_at_new)

    def _do(self, operation: Callable[[Feeds], Awaitable[T]]) -> T:
        """The result of an operation on the store's feeds."""

        async def open_and_do() -> T:
            async with app.open_node(self.store, ALONE) as node:
                return await operation(node.feeds)

        return run_async(open_and_do)


def named(feeds: Feeds, name: bytes) -> Feed:
    """The feed of that name. Raises NoSuchFeed."""
    feed = feeds.by_name(name)
    if feed is None:
        raise NoSuchFeed("no feed of that name")
    return feed


def _line(name: bytes, feed: Feed) -> FeedLine:
    return FeedLine(
        name=name,
        feed_id=feed.feed_id,
        state=feed.state,
        length=None if feed.is_unknown else feed.length,
        byte_length=None if feed.is_unknown else feed.byte_length,
        held_bytes=feed.held_bytes,
        peer_count=feed.peer_count,
    )
