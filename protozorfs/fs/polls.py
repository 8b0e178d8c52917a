"""poll, select and epoll: who is to be told when a live view has more to read.

The kernel asks once (POLL) and hands over a handle to be notified by; after that it asks again. A
regular view is always ready, as every file on a disk is.
"""

from __future__ import annotations

import logging
import select
from typing import TYPE_CHECKING

import trio

from protozorfs.errors import ProtozorfsError
from protozorfs.fs.live import is_readable

if TYPE_CHECKING:
    import pyfuse3

    from protozorfs.fs.handles import LiveHandle
    from protozorfs.fs.ports import FeedView
    from protozorfs.types import FeedId

log = logging.getLogger(__name__)

READABLE = select.POLLIN | select.POLLRDNORM
ALWAYS = READABLE | select.POLLOUT | select.POLLWRNORM  # what poll says of a regular file


class Polls:
    """The waiting polls of one mount, by feed; `run` must be running."""

    def __init__(self) -> None:
        self._by_feed: dict[FeedId, dict[LiveHandle, pyfuse3.PollHandle]] = {}
        self._fetches: dict[LiveHandle, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the fetches for handles that are polled; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def poll(self, handle: LiveHandle, poll_handle: pyfuse3.PollHandle | None) -> int:
        """The answer to POLL: what is ready now. `poll_handle` is kept for what comes next."""
        is_ready = _may_be_read(handle)
        if poll_handle is not None:
            # One is enough: the kernel has a single one for all who poll the same open file. It is
            # kept when there is something to read, too: edge-triggered epoll asks only once.
            self._by_feed.setdefault(handle.feed.feed_id, {})[handle] = poll_handle
            if not is_ready:
                self._fetch(handle)
        return READABLE if is_ready else 0

    def grown(self, feed: FeedView) -> None:
        """Wakes those for whom there is something to read now."""
        waiting = self._by_feed.get(feed.feed_id)
        if not waiting:
            return
        for handle, poll_handle in list(waiting.items()):
            if _may_be_read(handle):
                self.forget(handle)
                try:
                    poll_handle.notify()
                except OSError as error:  # the mount is gone, and with it who waited
                    log.debug("a poll could not be woken: %s", error)

    def forget(self, handle: LiveHandle) -> None:
        """Nobody polls it any more."""
        waiting = self._by_feed.get(handle.feed.feed_id)
        if waiting is not None and waiting.pop(handle, None) is not None and not waiting:
            del self._by_feed[handle.feed.feed_id]
        scope = self._fetches.pop(handle, None)
        if scope is not None:
            scope.cancel()

    def _fetch(self, handle: LiveHandle) -> None:
        """Has the next byte fetched: who polls never reads before it is here."""
        if self._nursery is not None and handle not in self._fetches:
            scope = self._fetches[handle] = trio.CancelScope()
            self._nursery.start_soon(self._fetch_next, handle, scope)

    async def _fetch_next(self, handle: LiveHandle, scope: trio.CancelScope) -> None:
        feed = handle.feed
        try:
            with scope:
                if handle.find_start() is None:
                    await handle.wait_start()
                at = (handle.find_start() or 0) + handle.read_end
                while feed.byte_length <= at:
                    await feed.reader.wait_length(feed.length)
                await feed.reader.wait_bytes(at, at + 1)
        except ProtozorfsError as error:  # a read will tell it to whom it concerns
            log.debug("what is polled cannot be fetched: %s", error)
        finally:
            if self._fetches.get(handle) is scope:
                del self._fetches[handle]


def _may_be_read(handle: LiveHandle) -> bool:
    try:
        return is_readable(handle)
    except ProtozorfsError:
        return True  # the read tells the error
