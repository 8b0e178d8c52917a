"""Inodes: what each number means, how often the kernel knows it, what size it was told.

A feed has one inode whatever name or ID it is reached by, and one more for each of its live views.
The number follows from what the inode is (`feeds.numbers`), so an entry can go when the kernel
forgets it, and comes back with the same number: lookups of many IDs leave nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import ref

from protozorfs.feeds.numbers import identity_of_feed
from protozorfs.fs.readahead import Readahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.fs.ports import FeedView, NumbersView
    from protozorfs.types import FeedId

ROOT_INODE = 1
FIRST_THROWN_AWAY = 1 << 53  # and up: beyond all numbers that are derived
_BLOCK_BYTES = 8  # of a block number in the identity of a live view

# The names below the mount point, whose own is empty. A feed of the status has its ID there.
Path = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LiveView:
    """A view of a feed that never ends; from which block on, None: as the mount was told."""

    start_block: int | None


@dataclass(slots=True)
class FeedInode:
    """A feed that the kernel knows.

    Attributes:
        number: the inode number.
        feed_id: the feed; it need be neither followed nor visited.
        live: which live view of it this is; None for the file that ends.
        lookups: how many references the kernel holds.
        told_length: the size in bytes that the kernel was told last.
        told_mtime_ns: the modification time that it was told last.
        is_told_unknown: the size that it was told last stands for one that nobody knows.
        page_reads: how many reads that may have pages locked wait now.
        readahead: what of it was declined.
        open_feed: the feed of the open handles; None without any. After a removal the handles
            that are still open go on with it.
        handles: how many handles are open.
        pages_of: the feed that was opened last. What the kernel has in its page cache is of it.
    """

    number: int
    feed_id: FeedId
    live: LiveView | None = None
    lookups: int = 0
    told_length: int = 0
    told_mtime_ns: int = 0
    is_told_unknown: bool = False
    page_reads: int = 0
    readahead: Readahead = field(default_factory=Readahead)
    open_feed: FeedView | None = None
    handles: int = 0
    pages_of: ref[FeedView] | None = None

    @property
    def identity(self) -> bytes:
        """What it is, for its number."""
        return _identity_of(self.feed_id, self.live)

    def may_keep_pages(self, feed: FeedView) -> bool:
        """Whether the kernel may keep what it has cached when this feed is opened now.

        Not when the last one opened was another of the same ID: one that was removed, or forgotten,
        and has come back with whatever history its key has signed meanwhile. Nobody has that one
        open any more, so that nobody waits for its pages: to drop them then holds nothing up.
        """
        before, self.pages_of = self.pages_of, ref(feed)
        is_same = before is None or before() is feed
        if not is_same:
            self.readahead.forget()
        return is_same

    def tell(self, length: int, mtime_ns: int, *, is_unknown: bool = False) -> None:
        """Notes what the kernel is about to be told.

        While pages are locked it is told nothing new: a change makes it drop all pages, for which
        it waits in a state that no signal ends.
        """
        if self.page_reads:
            return
        self.is_told_unknown = is_unknown
        if (length, mtime_ns) != (self.told_length, self.told_mtime_ns):
            self.told_length = length
            self.told_mtime_ns = mtime_ns
            self.readahead.forget()

    @contextmanager
    def told_if_answered(self) -> Iterator[None]:
        """What is told in the body counts only if it ends well: an error carries no attributes."""
        told = self.told_length, self.told_mtime_ns, self.is_told_unknown
        try:
            yield
        except BaseException:
            self.told_length, self.told_mtime_ns, self.is_told_unknown = told
            raise

    @contextmanager
    def locked_pages(self) -> Iterator[None]:
        """While a read waits that may have pages of the feed locked."""
        self.page_reads += 1
        try:
            yield
        finally:
            self.page_reads -= 1


@dataclass(slots=True)
class PathInode:
    """A directory, or a file of the status; `handles` as for feeds."""

    number: int
    path: Path
    is_directory: bool
    lookups: int = 0
    handles: int = 0

    @property
    def identity(self) -> bytes:
        """What it is, for its number."""
        return _identity_of_path(self.path)


Inode = FeedInode | PathInode


class Inodes:
    """The table. Not found means that the kernel does not know the number any more."""

    def __init__(self, numbers: NumbersView) -> None:
        self._numbers = numbers
        self._by_number: dict[int, Inode] = {}
        self._feeds: dict[tuple[FeedId, LiveView | None], FeedInode] = {}
        self._paths: dict[Path, PathInode] = {}
        self._next_thrown_away = FIRST_THROWN_AWAY

    def __len__(self) -> int:
        return len(self._by_number)

    def of_feed(self, feed_id: FeedId, live: LiveView | None = None) -> FeedInode:
        """The inode of a feed or of a live view of it, made when it is new.

        The caller counts the lookup if it answers one.
        """
        inode = self._feeds.get((feed_id, live))
        if inode is None:
            number = self._numbers.take(_identity_of(feed_id, live))
            inode = FeedInode(number, feed_id, live)
            self._feeds[feed_id, live] = inode
            self._by_number[inode.number] = inode
        return inode

    def of_path(self, path: Path, *, is_directory: bool) -> PathInode:
        """The inode of a directory or a file of the status, made when it is new."""
        inode = self._paths.get(path)
        if inode is None:
            number = self._numbers.take(_identity_of_path(path))
            inode = PathInode(number, path, is_directory)
            self._paths[path] = inode
            self._by_number[inode.number] = inode
        return inode

    def find_feed(self, feed_id: FeedId) -> FeedInode | None:
        """The inode of a feed's file that ends, if the kernel may know it."""
        return self._feeds.get((feed_id, None))

    def get(self, number: int) -> Inode | None:
        """The inode of a number."""
        return self._by_number.get(number)

    def throw_away(self) -> int:
        """A number that means nothing, never given again while the mount lives: for the answer to
        SYMLINK, which must not be a feed's."""
        number = self._next_thrown_away
        self._next_thrown_away += 1
        return number

    def forget(self, number: int, lookups: int) -> None:
        """Takes back references of the kernel; unknown numbers are throw-away ones."""
        inode = self._by_number.get(number)
        if inode is None:
            return
        inode.lookups -= lookups
        self._drop_unused(inode)

    def opened(self, inode: Inode, feed: FeedView | None = None) -> None:
        """Counts a handle; `feed` is the one of a feed's inode."""
        if isinstance(inode, FeedInode):
            inode.open_feed = feed
        inode.handles += 1

    def closed(self, inode: Inode) -> None:
        """Takes a handle back."""
        inode.handles -= 1
        if inode.handles == 0 and isinstance(inode, FeedInode):
            inode.open_feed = None
        self._drop_unused(inode)

    def _drop_unused(self, inode: Inode) -> None:
        if inode.lookups > 0 or inode.handles:
            return
        del self._by_number[inode.number]
        self._numbers.give_back(inode.identity)
        if isinstance(inode, FeedInode):
            del self._feeds[inode.feed_id, inode.live]
        else:
            del self._paths[inode.path]


def _identity_of(feed_id: FeedId, live: LiveView | None) -> bytes:
    if live is None:
        return identity_of_feed(feed_id)
    block = live.start_block
    return b"live " + feed_id + (b"" if block is None else block.to_bytes(_BLOCK_BYTES, "little"))


def _identity_of_path(path: Path) -> bytes:
    return b"path " + b"/".join(path)
