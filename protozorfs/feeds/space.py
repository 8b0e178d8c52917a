"""The space that strangers' feeds must leave to our own appends (docs/design.md, rule 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.store.files import FreeSpace

MIN_FREE_BYTES = 256 * 1024 * 1024
MIN_FREE_SHARE = 0.05
MAX_FREE_SHARE = 0.10  # of a disk so small that the reserve would be most of it
CHECK_INTERVAL = 1.0  # seconds; a second of fetching cannot fill the reserve


def reserve_bytes(total_bytes: int) -> int:
    """Bytes that replication leaves free: max(256 MiB, 5 %), but never more than 10 %."""
    return int(min(max(MIN_FREE_BYTES, total_bytes * MIN_FREE_SHARE), total_bytes * MAX_FREE_SHARE))


class SpaceGuard:
    """Remembers for a second whether there is room."""

    def __init__(self, free_space: Callable[[], FreeSpace]) -> None:
        self._free_space = free_space
        self._checked = -CHECK_INTERVAL
        self._may_fetch = True

    def may_fetch(self, now: float) -> bool:
        """True while more than the reserve is free. `now`: seconds, monotonic."""
        if now - self._checked >= CHECK_INTERVAL:
            self._checked = now
            space = self._free_space()
            self._may_fetch = space.free_bytes > reserve_bytes(space.total_bytes)
        return self._may_fetch
