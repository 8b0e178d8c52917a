"""The space that strangers' feeds must leave to our own appends (docs/design.md, rule 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.store.files import FreeSpace

MIN_FREE_BYTES = 256 * 1024 * 1024
MIN_FREE_SHARE = 0.05
MAX_FREE_SHARE = 0.10  # of a disk so small that the reserve would be most of it
CHECK_INTERVAL = 1.0  # seconds between two looks, at most
MAX_FILL_RATE = 2 * 1024**3  # bytes per second: faster than anything is fetched and stored


def reserve_bytes(total_bytes: int) -> int:
    """Bytes that replication leaves free: max(256 MiB, 5 %), but never more than 10 %."""
    return int(min(max(MIN_FREE_BYTES, total_bytes * MIN_FREE_SHARE), total_bytes * MAX_FREE_SHARE))


class SpaceGuard:
    """Remembers whether there is room, for as long as that cannot have changed."""

    def __init__(self, free_space: Callable[[], FreeSpace]) -> None:
        self._free_space = free_space
        self._next_check = float("-inf")
        self._may_fetch = True
        self._has_refused = False

    def may_fetch(self, now: float) -> bool:
        """True while more than the reserve is free. `now`: seconds, monotonic."""
        if now >= self._next_check:
            space = self._free_space()
            left = space.free_bytes - reserve_bytes(space.total_bytes)
            self._may_fetch = left > 0
            lasts = left / MAX_FILL_RATE if left > 0 else CHECK_INTERVAL
            self._next_check = now + min(CHECK_INTERVAL, lasts)
        self._has_refused = self._has_refused or not self._may_fetch
        return self._may_fetch

    def has_resumed(self, now: float) -> bool:
        """True, once, when there is room again for what was refused."""
        if self._has_refused and self.may_fetch(now):
            self._has_refused = False
            return True
        return False
