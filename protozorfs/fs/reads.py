"""The read of a feed's file: what is here at once, what is known but not here by waiting."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.fs.requests import ReadRequest

if TYPE_CHECKING:
    from protozorfs.fs.inodes import FeedInode
    from protozorfs.fs.ports import FeedView
    from protozorfs.fs.waits import Waits

_PAGE_BYTES = 4096


def bytes_needed(offset: int, size: int, *, told: int, known: int) -> int:
    """How many bytes from `offset` on an answer to READ must have.

    `told` is the length that the kernel was told last, `known` the feed's. A READ of whole pages
    may come from the page cache (sendfile, splice and private mmap use it even on a direct handle),
    which takes a short answer for the end of the file: it must be full, up to the length told.
    Others may be short, but only behind the end may they be empty.
    """
    if offset >= known:
        return 0
    if is_of_pages(offset, size) and offset < told:
        return min(size, min(told, known) - offset)
    return min(size, 1)


def is_of_pages(offset: int, size: int) -> bool:
    """True for a READ of whole pages, which may come from the page cache."""
    return not (offset % _PAGE_BYTES or size % _PAGE_BYTES)


async def read_waiting(
    feed: FeedView,
    inode: FeedInode,
    waits: Waits,
    *,
    offset: int,
    size: int,
    timeout_seconds: float,
) -> bytes:
    """The answer to a READ: waits until as much is here as it must have.

    Raises:
        StoreCorrupt, BlockUnavailable: of the feed.
        Interrupted, WaitTimedOut, Closing, TooManyWaits: of the wait.
    """
    request = ReadRequest(inode=inode.number, offset=offset, size=size)
    deadline = trio.current_time() + timeout_seconds
    with inode.locked_pages() if is_of_pages(offset, size) else nullcontext():
        while True:
            data = feed.reader.read_nowait(offset, size)
            needed = bytes_needed(offset, size, told=inode.told_length, known=feed.byte_length)
            if len(data) >= needed:
                return data
            # From the start, although some is here: where space is short, that could go meanwhile.
            missing = partial(feed.reader.wait_bytes, offset, offset + needed)
            await waits.run(request, missing, deadline)
