"""What is open: feeds, live views, files of the status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.fs.inodes import FeedInode, PathInode
    from protozorfs.fs.ports import FeedView


@dataclass(slots=True)
class Handle:
    """An open feed file."""

    inode: FeedInode
    feed: FeedView
    appends: bool  # O_APPEND
    is_readable: bool  # so that a mapping of it can be written, too
    in_sequence: bool  # opened when the feed was empty: may write at our end without O_APPEND
    syncs: bool  # O_SYNC, O_DSYNC or a `sync` mount: a write returns when it is durable


@dataclass(slots=True, eq=False)
class LiveHandle:
    """An open live view.

    Attributes:
        start: the offset in the feed of its first byte; None while that is not known.
        is_from_end: it starts where the feed ends, once that is known.
        never_waits: O_NONBLOCK in the open flags.
        read_end: where the last read ended; poll answers for what follows.
    """

    inode: FeedInode
    feed: FeedView
    start: int | None
    is_from_end: bool
    never_waits: bool
    read_end: int = 0

    def find_start(self) -> int | None:
        """Where it starts, if that is known by now."""
        if self.start is None:
            if not self.is_from_end:
                self.start = self.feed.reader.block_start(self._start_block)
            elif not self.feed.is_unknown:
                self.start = self.feed.byte_length
        return self.start

    async def wait_start(self) -> None:
        """Returns when `find_start` may know. Raises as `wait_block_start`."""
        if self.is_from_end:
            await self.feed.reader.wait_length(0)
        else:
            await self.feed.reader.wait_block_start(self._start_block)

    @property
    def _start_block(self) -> int:
        live = self.inode.live
        return 0 if live is None else live.start_block or 0


@dataclass(slots=True)
class TextHandle:
    """An open file of the status: what it said when it was opened."""

    inode: PathInode
    text: bytes


AnyHandle = Handle | LiveHandle | TextHandle
