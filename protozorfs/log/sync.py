"""Syncs of a feed's files, in its own thread and in others.

That of a newest head is the only way to one that may be published.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.head_store import HeadStore
    from protozorfs.store import FeedDirectory, File, PooledFile
    from protozorfs.types import Head


class FileSyncs:
    """The syncs of one feed's files, one at a time, in whichever thread.

    Where one fails, a later one that succeeds proves nothing: the system says only once that it
    failed to write something, and calls it clean from then on.

    Attributes:
        failures: how many failed in this run.
    """

    def __init__(self, directory: FeedDirectory) -> None:
        self.failures = 0
        self._was_full = False  # at the last of them
        self._directory = directory
        self._lock = threading.RLock()  # simulations run the other thread within a sync

    def sync(self, file: File) -> None:
        """Returns when the file survives a power cut; no sync that fails is ever tried again.

        Raises:
            StoreFull: it may not survive. What it covered must be written again before it is
                synced again.
            OSError: the same; nothing is written to the feed any more.
        """
        with self._lock:
            try:
                file.fdatasync()
            except BaseException as error:
                self.failures += 1
                self._was_full = isinstance(error, StoreFull)
                if not self._was_full:
                    self._directory.sync_failed()
                raise

    def check_since(self, failures: int) -> None:
        """Raises StoreFull or StoreError if one failed since there were so many failures."""
        if self.failures == failures:
            return
        if self._was_full:
            raise StoreFull("no space left: another sync of the feed has failed meanwhile")
        raise StoreError("another sync of the feed has failed meanwhile")


class PinnedFiles:
    """Files of a feed that stay open until `release`, to be synced in any thread.

    They are pinned, and released, in the thread of the feed.

    Attributes:
        is_full: a sync found no space: what it covered must be written again.
    """

    def __init__(self, syncs: FileSyncs, files: Sequence[PooledFile]) -> None:
        self.is_full = False
        self._syncs = syncs
        self._failures = syncs.failures
        self._pinned: list[PooledFile] = []
        self._files: list[File] = []
        try:
            for file in files:
                self._files.append(file.pin())
                self._pinned.append(file)
        except BaseException:  # no descriptor is left, for instance
            self.release()
            raise

    def _sync(self, file: File) -> None:
        try:
            self._syncs.sync(file)
        except StoreFull:
            self.is_full = True
            raise
        self._syncs.check_since(self._failures)

    def release(self) -> None:
        """Lets the files be closed again. A second call does nothing."""
        pinned, self._pinned = self._pinned, []
        for file in pinned:
            file.unpin()


class PendingSync(PinnedFiles):
    """One sync of one feed. `run` may be called in another thread, while appends go on in this one.

    It covers the head that was the newest when it was made: all of that is written by then. The
    files are pinned until `release`, which belongs to the thread of the feed.
    """

    def __init__(
        self,
        syncs: FileSyncs,
        head: Head | None,
        data: PooledFile,
        tree: PooledFile,
        heads: HeadStore,
    ) -> None:
        """`head` is None when there is nothing to make durable."""
        super().__init__(syncs, (data, tree, heads.file) if head is not None else ())
        self.head = head
        self.is_done = False
        self._heads = heads

    def run(self) -> None:
        """Blocks until the head survives a power cut.

        The order is the promise that nothing is published which is not durable: a head on disk
        whose blocks are not there could only be taken back, and that would fork the feed.

        Raises:
            StoreFull, StoreError, OSError: it may not survive.
        """
        if self.head is not None:
            data, tree, head_file = self._files
            self._sync(data)
            self._sync(tree)
            if self._heads.rewrite_unsure(head_file):
                self._sync(head_file)
                self._heads.confirm_unsure()
            self._heads.write_durable(head_file, self.head)
            self._sync(head_file)
            self._heads.confirm_durable()
        self.is_done = True
