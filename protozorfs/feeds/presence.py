"""Whether the store is still where it was opened: nothing keeps a user from deleting it in use."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import trio

from protozorfs.errors import StoreGone

if TYPE_CHECKING:
    from protozorfs.store.layout import Store

LOOK_INTERVAL = 10.0  # seconds
SURE_SECONDS = 0.05  # less than it takes to mount a store of which somebody has removed the lock
_ADVICE = ": copy what can be read, unmount, and mount a backup of the store"

logger = logging.getLogger(__name__)


class Presence:
    """Looks now and then, and says in the log what it finds. For the trio thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_replaced = False
        self._told = ""
        self._sure_until = -math.inf

    async def run(self) -> None:
        """Looks again and again; runs until cancelled."""
        while True:
            await self.look()
            await trio.sleep(LOOK_INTERVAL)

    async def look(self) -> None:
        """Looks whether the store's path still leads to it."""
        # In a thread: the way there may lead over a network that is gone.
        look = self._store.is_replaced
        self._is_replaced = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        self.trouble()

    def trouble(self) -> str:
        """That the store is gone, and what to do, as a sentence; empty if it is not."""
        path, trouble = self._store.path, ""
        if self._store.is_deleted():
            trouble = f"the store {path} was deleted or replaced while it was in use{_ADVICE}"
        elif self._is_replaced:
            trouble = f"the store {path} was moved in use, and another is in its place{_ADVICE}"
        if trouble != self._told:
            logger.error("%s", trouble or f"the store {path} is in its place again")
            self._told = trouble
        return trouble

    def check(self) -> None:
        """Raises StoreGone if it is gone."""
        trouble = self.trouble()
        if trouble:
            raise StoreGone(trouble)

    def check_often(self) -> None:
        """The same, for every append: that it was there a moment ago is enough."""
        now = time.monotonic()
        if now >= self._sure_until or self._told:
            self.check()
            self._sure_until = now + SURE_SECONDS
