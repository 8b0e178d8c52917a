"""Feeds that are read by their IDs without being followed, and when to forget them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import TooManyVisits

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed

VISIT_SECONDS = 600.0  # a visited feed is forgotten so long after its last close
MAX_VISITS = 256  # at once; each may hold what was read of it


class Visits:
    """The visited feeds, who was closed longest ago first. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self._left: dict[Feed, float] = {}

    def __contains__(self, feed: Feed) -> bool:
        return feed in self._left

    def touch(self, feed: Feed, now: float) -> None:
        """The visit begins, or its last handle was closed."""
        self._left.pop(feed, None)
        self._left[feed] = now

    def end(self, feed: Feed) -> None:
        """The feed is followed now, or forgotten."""
        self._left.pop(feed, None)

    def to_make_room(self) -> Feed | None:
        """Whom to forget before there is one more; None if there is room.

        Raises:
            TooManyVisits: all are being read.
        """
        if len(self._left) < MAX_VISITS:
            return None
        for feed in self._left:
            if not feed.handles:
                return feed
        raise TooManyVisits(f"{MAX_VISITS} feeds are being read by their IDs already")

    def over(self, now: float) -> list[Feed]:
        """Whom to forget now."""
        return [
            feed
            for feed, left in self._left.items()
            if not feed.handles and now - left >= VISIT_SECONDS
        ]
