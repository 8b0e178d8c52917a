"""Syncs in another thread. That of a newest head is the only way to one that may be published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.head_store import HeadStore
    from protozorfs.store import File, PooledFile
    from protozorfs.types import Head


class PinnedFiles:
    """Files of a feed that stay open until `release`, to be synced in any thread.

    They are pinned, and released, in the thread of the feed.

    Attributes:
        has_failed: a sync failed, and not only what was done before it.
        is_full: for want of space.
    """

    def __init__(self, files: Sequence[PooledFile]) -> None:
        self.has_failed = self.is_full = False
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
        self.has_failed = True
        try:
            file.fdatasync()
        except StoreFull:
            self.is_full = True
            raise
        self.has_failed = False

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
        self, head: Head | None, data: PooledFile, tree: PooledFile, heads: HeadStore
    ) -> None:
        """`head` is None when there is nothing to make durable."""
        super().__init__((data, tree, heads.file) if head is not None else ())
        self.head = head
        self.is_done = False
        self._heads = heads

    def run(self) -> None:
        """Blocks until the head survives a power cut.

        The order is the promise that nothing is published which is not durable: a head on disk
        whose blocks are not there could only be taken back, and that would fork the feed.

        Raises:
            StoreFull, OSError: it may not survive. If `has_failed` is set, trying again would prove
                nothing: the system forgets what it failed to write.
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
