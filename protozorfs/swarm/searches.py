"""The searches for first heads that are under way, and when each is over.

A search is over when its feed has a head, or when nobody can bring one any more: no turn on the
DHT, no answer from the LAN, no peer that is dialled or connected. No I/O, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.feeds.feed import Feed


class Searches:
    """Starts and ends the `head_search` of feeds."""

    def __init__(self, may_find: Callable[[Feed], bool]) -> None:
        """`may_find` says whether somebody may still bring the first head of a feed."""
        self._may_find = may_find
        self._running: dict[Feed, None] = {}
        self._are_to_be_checked = False

    def start(self, feed: Feed) -> None:
        """Somebody is asked for the head of a feed."""
        self._running[feed] = None
        feed.head_search.start()

    def forget(self, feed: Feed) -> None:
        """The feed is not here any more."""
        self._running.pop(feed, None)

    def check(self, feed: Feed) -> None:
        """Ends the search for a feed if it is over."""
        if feed in self._running and (feed.is_head_known or not self._may_find(feed)):
            del self._running[feed]
            feed.head_search.end()

    def lost_a_peer(self) -> None:
        """A connection or an attempt has ended: that may have been the last hope of any search.

        The next `check_all` sees to it: thousands of peers that cannot be reached must not each
        cost a look at thousands of feeds.
        """
        self._are_to_be_checked = True

    def check_all(self, unanswered: Iterable[Feed]) -> None:
        """Once a second; `unanswered`: the feeds for which the LAN does not answer any more."""
        feeds = list(self._running) if self._are_to_be_checked else list(unanswered)
        self._are_to_be_checked = False
        for feed in feeds:
            self.check(feed)
