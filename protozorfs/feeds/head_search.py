"""The search for a feed's first head: every open of an unknown feed waits for it.

It goes on while somebody may still answer, which the swarm knows: it starts and ends searches. The
first one starts with the feed, a later one when somebody opens the feed again.
"""

from __future__ import annotations

import trio


class HeadSearch:
    """Whether a search is under way.

    Attributes:
        is_over: the last search has found a head, or there was nobody left to ask.
    """

    def __init__(self) -> None:
        self.is_over = False  # the first one is yet to come
        self._running: trio.Event | None = None

    def start(self) -> None:
        """Begins a search; no effect while one is under way."""
        self.is_over = False
        if self._running is None:
            self._running = trio.Event()

    def end(self) -> None:
        """Ends it, and every wait for it."""
        self.is_over = True
        if self._running is not None:
            self._running.set()
            self._running = None

    async def wait(self) -> None:
        """Returns when no search is under way."""
        if self._running is not None:
            await self._running.wait()
