"""What `stat` shows: owned feeds 0644, others 0444, whole length, local bytes as blocks.

Live views are 0444, and as long as what there is of them now; so are files of the status. A feed of
which nothing is known is never shown as empty: tools that look at the size alone (`tar`, `find
-empty -delete`) would take it for that.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import pyfuse3

from protozorfs.fs.inodes import ROOT_INODE

if TYPE_CHECKING:
    from protozorfs.fs.inodes import FeedInode
    from protozorfs.fs.ports import FeedView

ROOT_ATTR_TIMEOUT = 1.0  # seconds; with 0 every path access would ask for the root's attributes
UNKNOWN_SIZE = 1  # bytes, while nothing is known: no tool takes that for empty
_BLOCK_BYTES = 512  # unit of st_blocks
_IO_BYTES = 4096  # st_blksize; what it says hardly matters to anyone
_OWNED_MODE = stat.S_IFREG | 0o644
_FOLLOWED_MODE = stat.S_IFREG | 0o444


def blocks_of(size: int, held_bytes: int) -> int:
    """`st_blocks` of a file with bytes, some of which are here: never 0, unless it is empty.

    GNU tar takes a file of no blocks for one hole, and archives zeros without reading it.
    """
    return max(int(size > 0), -(-held_bytes // _BLOCK_BYTES))


class Attributes:
    """Makes the answers; everything belongs to the user who mounts."""

    def __init__(self) -> None:
        self._uid = os.geteuid()
        self._gid = os.getegid()
        self._mounted_ns = time.time_ns()

    def root(self, mtime_ns: int) -> pyfuse3.EntryAttributes:
        """Of the directory; `mtime_ns` is when a name last came, went or changed."""
        entry = self._entry(ROOT_INODE, stat.S_IFDIR | 0o755, 0, mtime_ns)
        entry.st_nlink = 2
        entry.attr_timeout = ROOT_ATTR_TIMEOUT
        return entry

    def directory(self, number: int) -> pyfuse3.EntryAttributes:
        """Of a directory in which nothing can be changed."""
        entry = self._entry(number, stat.S_IFDIR | 0o555, 0, self._mounted_ns)
        entry.st_nlink = 2
        return entry

    def text(self, number: int, size: int) -> pyfuse3.EntryAttributes:
        """Of a file of the status: it says what is now."""
        entry = self._entry(number, _FOLLOWED_MODE, size, time.time_ns())
        entry.st_blocks = blocks_of(size, size)
        return entry

    def live(
        self, inode: FeedInode, feed: FeedView | None, start: int | None
    ) -> pyfuse3.EntryAttributes:
        """Of a live view that starts at that byte of the feed, None if that is not known."""
        if feed is None or feed.is_unknown:
            return self._unknown(inode, feed)
        if start is None:
            inode.tell(0, feed.mtime_ns)
        else:
            inode.tell(max(0, feed.byte_length - start), feed.mtime_ns)
        entry = self._entry(inode.number, _FOLLOWED_MODE, inode.told_length, inode.told_mtime_ns)
        entry.st_blocks = blocks_of(inode.told_length, 0)  # the feed's own file counts what is held
        return entry

    def feed(self, inode: FeedInode, feed: FeedView | None) -> pyfuse3.EntryAttributes:
        """Of a feed; None is one that is only named by its ID. Notes what is told."""
        if feed is None or feed.is_unknown:
            return self._unknown(inode, feed)
        mode = _OWNED_MODE if feed.is_owned else _FOLLOWED_MODE
        inode.tell(feed.byte_length, feed.mtime_ns)
        entry = self._entry(inode.number, mode, inode.told_length, inode.told_mtime_ns)
        entry.st_blocks = blocks_of(inode.told_length, feed.held_bytes)
        entry.st_birthtime_ns = feed.created_ns
        return entry

    def _unknown(self, inode: FeedInode, feed: FeedView | None) -> pyfuse3.EntryAttributes:
        inode.tell(UNKNOWN_SIZE, 0 if feed is None else feed.mtime_ns, is_unknown=True)
        entry = self._entry(inode.number, _FOLLOWED_MODE, inode.told_length, inode.told_mtime_ns)
        entry.st_blocks = blocks_of(UNKNOWN_SIZE, 0)
        if feed is not None:
            entry.st_birthtime_ns = feed.created_ns
        return entry

    def link(self, number: int, target: bytes) -> pyfuse3.EntryAttributes:
        """Of the symbolic link that SYMLINK must answer; the next lookup finds the feed instead."""
        return self._entry(number, stat.S_IFLNK | 0o777, len(target), 0)

    def hidden(self, number: int) -> pyfuse3.EntryAttributes:
        """Of the self-test's file."""
        return self._entry(number, stat.S_IFREG | 0o400, 0, 0)

    def _entry(self, number: int, mode: int, size: int, time_ns: int) -> pyfuse3.EntryAttributes:
        # Timeouts are 0: nothing about a feed is cached, so growth needs no invalidation.
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = number
        entry.entry_timeout = 0
        entry.attr_timeout = 0
        entry.st_mode = mode
        entry.st_nlink = 1
        entry.st_uid = self._uid
        entry.st_gid = self._gid
        entry.st_size = size
        entry.st_blksize = _IO_BYTES
        entry.st_blocks = 0
        entry.st_mtime_ns = entry.st_ctime_ns = entry.st_atime_ns = time_ns
        return entry
