"""The first search for a feed's head: the one that the opening of its file may wait for."""

from __future__ import annotations

import trio


class HeadSearch:
    """Whether the first search is under way, or over.

    Attributes:
        is_over: it has found a head, or there was nobody left to ask.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._running: trio.Event | None = None

    @property
    def is_running(self) -> bool:
        """It is under way."""
        return self._running is not None

    def start(self) -> None:
        """Begins it; later searches are nobody's to wait for."""
        if not self.is_over and self._running is None:
            self._running = trio.Event()

    def end(self) -> None:
        """Ends it, and every wait for it."""
        self.is_over = True
        if self._running is not None:
            self._running.set()
            self._running = None

    async def wait(self) -> None:
        """Returns when it is not under way."""
        if self._running is not None:
            await self._running.wait()
