"""The listener of a node that is connected to nobody: every search ends at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.feeds.feed import Feed


class Unconnected:
    """See `ports.Listener`."""

    def feed_opened(self, feed: Feed) -> None:
        feed.head_search.end()

    def feed_closed(self, feed: Feed) -> None: ...
    def wants_changed(self, feed: Feed) -> None: ...

    def head_wanted(self, feed: Feed) -> None:
        feed.head_search.end()

    def head_published(self, feed: Feed) -> None: ...
    def blocks_dropped(self, feed: Feed, start: int, end: int) -> None: ...

    def blocks_found(self, feed: Feed, blocks: Sequence[int]) -> None: ...

    async def check_newest(self, feed: Feed) -> bool:
        return False
