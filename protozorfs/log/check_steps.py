"""The check behind an unclean stop, in steps: what may be done in another thread.

A step is a value that the log gives out: blocks with their leaves. Reading and hashing them takes
the time, and no lock; what comes of it goes back to the log, which goes on changing meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.checking import wrong_blocks
from protozorfs.log.sync import PinnedFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.log.checking import Leaf
    from protozorfs.log.sync import FileSyncs
    from protozorfs.store import FeedDirectory, File, PooledFile

# Hashing so many small blocks takes 2 ms, in which no other thread runs. Large ones are hashed
# without the interpreter's lock.
MAX_STEP_BLOCKS = 1024


class CheckStep:
    """Blocks `[start, end)` of a feed, as far as they can be checked.

    Attributes:
        leaves: what those of them must be that can be here.
        changes: how often the feed had changed when the step was made.
        wrong: the blocks that are not what their leaves say, once `run` has returned.
    """

    def __init__(
        self, data: PooledFile, start: int, end: int, leaves: Sequence[Leaf], changes: int
    ) -> None:
        self.start = start
        self.end = end
        self.leaves = leaves
        self.changes = changes
        self.wrong: frozenset[int] = frozenset()
        self._pool_file = data
        self._file: File | None = data.pin()

    @property
    def size(self) -> int:
        """How many bytes are looked at."""
        return sum(leaf.size for leaf in self.leaves)

    def run(self) -> None:
        """Looks at the blocks. For any thread."""
        assert self._file is not None
        wrong = wrong_or_unreadable(self._file, self.leaves)
        self.wrong = frozenset(leaf.block_index for leaf in wrong)

    def release(self) -> None:
        """Lets the file be closed again; for the thread of the feed. A second call does nothing."""
        if self._file is not None:
            self._file = None
            self._pool_file.unpin()


def wrong_or_unreadable(file: File, leaves: Sequence[Leaf]) -> list[Leaf]:
    """The blocks, given in their order, that cannot be read as their leaves say. For any thread."""
    try:
        return wrong_blocks(file, leaves)
    except OSError:  # a bad sector, of which only the blocks on it are wrong
        return [leaf for leaf in leaves if _is_unreadable(file, leaf)]


def _is_unreadable(file: File, leaf: Leaf) -> bool:
    try:
        return bool(wrong_blocks(file, [leaf]))
    except OSError:
        return True


class ProgressSync(PinnedFiles):
    """One sync of all that was checked, so that a power cut takes none of it afterwards.

    `run` may be called in another thread.
    """

    def __init__(
        self, syncs: FileSyncs, directory: FeedDirectory, files: Sequence[PooledFile]
    ) -> None:
        """`files` of that directory; one of them may have been made in this run."""
        super().__init__(syncs, files)
        self._directory = directory
        self.is_done = False

    def run(self) -> None:
        """Blocks until the files survive a power cut. Raises StoreFull, OSError."""
        for file in self._files:
            self._sync(file)
        self._directory.sync()
        self.is_done = True
