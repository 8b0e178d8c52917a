"""Marking the files of an open feed clean while nobody writes: then a kill costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.sync import PinnedFiles
from protozorfs.store.layout import HELD_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.sync import FileSyncs
    from protozorfs.store import FeedDirectory, PooledFile


class PendingRest(PinnedFiles):
    """One mark that is being made. `run` may be called in another thread.

    A write that comes meanwhile makes it void: the mark counts only once the thread of the feed has
    put it in its place.

    Attributes:
        writes: how often the files were about to be written to when this was made.
        held: the content of the file that says what is held.
        is_held_kept: `held` is in its place, durably.
        is_done: so is the mark, beside its place.
    """

    def __init__(
        self,
        syncs: FileSyncs,
        directory: FeedDirectory,
        files: Sequence[PooledFile],
        *,
        held: bytes,
        mark: bytes,
        writes: int,
        is_place_synced: bool,
    ) -> None:
        """`files`: all that the mark vouches for. `is_place_synced`: that of their directory."""
        super().__init__(syncs, files)
        self.writes = writes
        self.held = held
        self.is_held_kept = self.is_done = False
        self._directory = directory
        self._mark = mark
        self._is_place_synced = is_place_synced

    def run(self) -> None:
        """Syncs everything, and writes what is to be kept. Raises StoreFull, OSError."""
        for file in self._files:
            self._sync(file)
        directory = self._directory
        directory.files.replace(f"{directory.path}/{HELD_FILE}", self.held)
        self.is_held_kept = True
        if not self._is_place_synced:  # a later run takes what is marked clean for durable
            directory.sync_place()
        directory.prepare_mark(self._mark)
        self.is_done = True
