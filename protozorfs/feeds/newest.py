"""Before the first append of a run: has the feed grown somewhere else? (docs/design.md, rule 3.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protozorfs.errors import NotWritable

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Surroundings


class NewestCheck:
    """Done once in a run, by whoever appends first; others wait for it."""

    def __init__(self, *, is_needed: bool) -> None:
        self._is_needed = is_needed
        self._is_settled = not is_needed
        self._running = trio.Lock()

    async def run(self, feed: Feed, surroundings: Surroundings) -> None:
        """Returns when the feed may be appended to, as far as that can be known.

        Raises:
            NotWritable: nobody could be asked, and the store may be a copy, or a restored one.
        """
        if not self._is_needed or surroundings.forces_appends:
            return
        async with self._running:
            if not self._is_needed:
                return
            listener = surroundings.listener
            succeeded = listener is not None and await listener.check_newest(feed)
            if not succeeded and feed.log.may_lack_heads:
                raise NotWritable(
                    "its newest head was damaged on the disk, and nobody could be asked whether it"
                    " is longer than what is left; force_append appends all the same"
                )
            why = "" if succeeded else feed.log.displacement()
            if why:
                raise NotWritable(
                    f"{why}: it may be a copy or an old state, and nobody could be asked whether"
                    " the feed has grown elsewhere; if not, unmount it: protozorfs store adopt"
                )
            self._is_needed = False

    def settle(self, feed: Feed) -> None:
        """Everything newer that was found is here: this is the feed's place from now on.

        Raises:
            StoreFull, OSError
        """
        if not self._is_settled:
            feed.log.settle()
            self._is_settled = True
