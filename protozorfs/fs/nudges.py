"""Wakes inotify watchers of feeds that grow from elsewhere.

The kernel has no event for a FUSE file that changes by itself. But a truncation to the size that a
file has changes nothing, and its watchers get IN_MODIFY; so a thread of ours does that, to the
mount itself. The handler (SETATTR) takes it from this one thread, and from nobody else.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import trio

from protozorfs.ids import format_hex

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.fs.ports import FeedsView, FeedView
    from protozorfs.types import FeedId

log = logging.getLogger(__name__)

PERIOD = 0.5  # seconds between two events of one feed: a watcher reads all that came meanwhile
PAUSE = 0.02  # between two events at all; each costs four requests of the kernel's, 0.5 ms
_REFUSED = (errno.EROFS, errno.EPERM, errno.EACCES)  # it will never be allowed: `ro`, for one


class Nudges:
    """The feeds whose watchers are to be woken, and the thread that does it."""

    def __init__(self, mount_point: str, feeds: FeedsView, *, is_enabled: bool) -> None:
        self._mount_point = os.fsencode(mount_point)
        self._feeds = feeds
        self._is_enabled = is_enabled
        self._grown: dict[FeedId, None] = {}
        # In bytes, what watchers were told.
        self._sizes: WeakKeyDictionary[FeedView, int] = WeakKeyDictionary()
        self._has_grown = trio.Event()
        self._thread: int | None = None

    def is_asking(self, pid: int) -> bool:
        """True if this thread is ours, at work."""
        return self._thread is not None and pid == self._thread

    def grown(self, feed: FeedView) -> None:
        """A feed has grown; of our own ones the kernel tells by itself."""
        if self._is_enabled and not feed.is_owned:
            self._note(feed.feed_id)

    async def run(self, *, device: int, has_locked_pages: Callable[[FeedId], bool]) -> None:
        """Wakes watchers until cancelled, or until it turns out that it is not allowed.

        Args:
            device: number of the mount; nothing else that is at the mount point is touched.
            has_locked_pages: a change of that feed's size would wait in the kernel.
        """
        limiter = trio.CapacityLimiter(1)
        while self._is_enabled:
            await self._has_grown.wait()
            self._has_grown = trio.Event()
            grown, self._grown = self._grown, {}
            for feed_id in grown:
                if has_locked_pages(feed_id):
                    self._note(feed_id)  # later
                    continue
                path = self._path_to_nudge(feed_id)
                if path is None:
                    continue
                try:
                    # It calls into this very process: if it hangs, nobody waits for it at the end.
                    await trio.to_thread.run_sync(
                        self._touch, path, device, abandon_on_cancel=True, limiter=limiter
                    )
                except OSError as error:
                    self._failed(error)
                await trio.sleep(PAUSE)
            await trio.sleep(PERIOD)
        log.debug("inotify watchers are not woken")

    def _note(self, feed_id: FeedId) -> None:
        self._grown[feed_id] = None
        self._has_grown.set()

    def _path_to_nudge(self, feed_id: FeedId) -> bytes | None:
        feed = self._feeds.by_id(feed_id)
        if feed is None or feed.byte_length == self._sizes.get(feed):
            return None
        self._sizes[feed] = feed.byte_length
        name = self._feeds.name_by_id(feed_id)
        return os.path.join(self._mount_point, name or format_hex(feed_id).encode("ascii"))

    def _touch(self, path: bytes, device: int) -> None:
        """Truncates a file of this mount to the size it has. Runs in the thread."""
        self._thread = threading.get_native_id()
        try:
            descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                if status.st_dev == device:  # else the mount is gone, and this is another's file
                    os.truncate(f"/proc/self/fd/{descriptor}", status.st_size)
            finally:
                os.close(descriptor)
        finally:
            self._thread = None

    def _failed(self, error: OSError) -> None:
        if error.errno in _REFUSED:
            log.info("inotify watchers cannot be woken: %s", error.strerror)
            self._is_enabled = False
        else:
            log.debug("a watcher was not woken: %s", error)  # renamed, removed, or the end
