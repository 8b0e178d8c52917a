"""How appends to one owned feed become commits, and commits become durable and are published.

A commit is one signature over all writes that were waiting when it was made; each write keeps its
own blocks. There is no task for it: the first writer of a group lets the others that are ready
join, then commits for all. Making durable is slow and runs in a thread, in a task that lives while
there is something to make durable; only then is the new head shown to anybody else
(docs/design.md, rule 1).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from protozorfs.errors import StoreError, StoreFull, StoreGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from protozorfs.log.feed import Log

ALONE_COMMITS = 17  # of one writer in a row; then only in every 17th are others waited for
FEW_BLOCKS = 1  # appended during one sync: somebody types, publish each at once
MIN_PAUSE = 0.005  # seconds between two syncs of a feed that is written in bulk
FULL_PAUSE = 5.0  # until it is tried again on a full disk, unless somebody waits for it
PAUSE_SHARE = 3  # and at least this many times what the last sync took

logger = logging.getLogger(__name__)


class _Group:
    __slots__ = ("blocks", "committed", "error")

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.committed = trio.Event()
        self.error: Exception | None = None


class Committer:
    """Group commits into one log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._group: _Group | None = None
        self._alone = 0  # commits since another writer joined one

    async def commit(self, blocks: Sequence[bytes]) -> None:
        """Appends blocks, all or none; returns when they survive the end of this process.

        Raises:
            StoreFull, StoreError: nothing of the whole group counts.
        """
        group = self._group
        if group is not None:
            self._alone = 0
            group.blocks.extend(blocks)
            with trio.CancelScope(shield=True):  # the leader decides, and soon
                await group.committed.wait()
            if group.error is not None:
                raise group.error
            return
        self._alone += 1
        if self._alone > ALONE_COMMITS and self._alone % ALONE_COMMITS:
            # To let others join takes a turn of the event loop, as long as the commit itself.
            self._log.commit(blocks)
            return
        group = self._group = _Group()
        group.blocks.extend(blocks)
        # Shielded: whoever joins depends on this task.
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._group = None
        try:
            self._log.commit(group.blocks)
        except Exception as error:
            group.error = error
            raise
        finally:
            group.committed.set()


class Publisher:
    """Makes one log durable behind its commits, and tells when a head may be published."""

    def __init__(
        self,
        log: Log,
        start_task: Callable[[Callable[[], Awaitable[None]]], None],
        published: Callable[[], None],
        syncs: trio.CapacityLimiter,
    ) -> None:
        """`start_task` starts an async function in the node's nursery; `published` is called
        after each time that the durable head has grown; `syncs` are those of all feeds at once."""
        self._syncs = syncs
        self._log = log
        self._start_task = start_task
        self._published = published
        self._is_running = False
        self._is_stopped = False
        self._hurry = trio.Event()
        self._progress = trio.Event()
        self._error: Exception | None = None
        self._found_full = 0  # attempts that found no space, ever
        self._is_waiting_for_space = False

    def nudge(self) -> None:
        """There was a commit."""
        if not self._is_running and not self._is_stopped:
            self._is_running = True
            self._start_task(self._run)

    def stop(self) -> None:
        """The feed is being removed: nothing more is made durable or published.

        A sync that is under way ends in its thread, on files that have lost their names; then they
        are closed.
        """
        self._is_stopped = True
        self._hurry.set()

    def check(self) -> None:
        """Raises the error that ended this log's durability.

        It stays for as long as the log is open: after a failed fsync the kernel may call pages
        clean that never reached the disk, so a later success would prove nothing.
        """
        if self._is_stopped:
            raise StoreError("the feed was removed")
        if isinstance(self._error, StoreGone):
            raise self._error
        if self._error is not None:
            raise StoreError(f"the disk failed to keep this feed: {self._error}") from self._error

    async def wait_durable(self) -> None:
        """Returns when everything that is committed now survives a power cut.

        Raises:
            StoreFull: there is no space for that; it is tried again in the background.
            StoreError: it could not be made durable.
        """
        length, found_full = self._log.length, self._found_full
        while self._durable_length() < length:
            self.check()
            if self._found_full > found_full:
                raise StoreFull("no space left to make the feed durable")
            self.nudge()
            self._hurry.set()
            await self._progress.wait()

    def _durable_length(self) -> int:
        durable = self._log.durable_head
        return durable.length if durable is not None else 0

    async def _run(self) -> None:
        try:
            while self._has_work():
                before = self._log.length
                self._hurry = trio.Event()
                started = trio.current_time()
                if not await self._sync():
                    pause = FULL_PAUSE
                elif self._log.length - before > FEW_BLOCKS:
                    pause = max(MIN_PAUSE, PAUSE_SHARE * (trio.current_time() - started))
                else:
                    continue
                with trio.move_on_after(pause):
                    await self._hurry.wait()
        finally:
            self._is_running = False
            if self._is_stopped:
                self._log.rest()

    def _has_work(self) -> bool:
        may_work = self._error is None and not self._is_stopped
        return may_work and self._durable_length() < self._log.length

    async def _sync(self) -> bool:
        """Makes durable what there is; False if there was no space for that."""
        try:
            # Each keeps its files open: with too many at once no descriptor would be left.
            async with self._syncs:
                if self._is_stopped:
                    return True
                sync = self._log.begin_sync()
                try:
                    await trio.to_thread.run_sync(sync.run)
                finally:
                    self._log.end_sync()
        except StoreFull as error:
            if not self._is_waiting_for_space:
                logger.warning("a feed waits for space to become durable: %s", error)
            self._is_waiting_for_space = True
            self._found_full += 1
            return False
        except (StoreError, OSError) as error:
            logger.error("a feed could not be made durable, it takes no more appends: %s", error)
            self._error = error
        except Exception as error:
            self._error = error  # a bug; those who wait for it end with it
            raise
        else:
            self._is_waiting_for_space = False
            if not self._is_stopped:
                self._published()
        finally:
            self._progress.set()
            self._progress = trio.Event()
        return True
