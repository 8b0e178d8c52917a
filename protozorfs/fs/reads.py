"""The read of a feed's file: what is here at once, what is known but not here by waiting."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.fs.errnos import Refused
from protozorfs.fs.origins import Origin
from protozorfs.fs.readahead import PAGE_BYTES
from protozorfs.fs.requests import ReadRequest

if TYPE_CHECKING:
    from protozorfs.fs.inodes import FeedInode
    from protozorfs.fs.origins import Origins
    from protozorfs.fs.ports import FeedView
    from protozorfs.fs.waits import Waits


def bytes_needed(offset: int, size: int, *, told: int, known: int, fills_pages: bool) -> int:
    """How many bytes from `offset` on an answer to READ must have.

    `told` is the length that the kernel was told last, `known` the feed's. A READ that fills the
    page cache (sendfile, splice and private mmap use it even on a direct handle) takes a short
    answer for the end of the file: it must be full, up to the length told. Others may be short, but
    only behind the end may they be empty.
    """
    if offset >= known:
        return 0
    if fills_pages and offset < told:
        return min(size, min(told, known) - offset)
    return min(size, 1)


def is_of_pages(offset: int, size: int) -> bool:
    """True for a READ of whole pages: no other fills the page cache."""
    return not (offset % PAGE_BYTES or size % PAGE_BYTES)


async def origin_of(request: ReadRequest, inode: FeedInode, origins: Origins) -> Origin:
    """Where a READ of missing bytes comes from, in the task that handles it.

    Raises:
        Refused: EAGAIN, to readahead; whoever reads asks again, in person.
    """
    if not is_of_pages(request.offset, request.size):
        return Origin.READ
    with inode.locked_pages():
        origin = await origins.of(request)
    if origin is Origin.PAGE_CACHE and inode.readahead.declines(request.offset, request.size):
        raise Refused(errno.EAGAIN)
    return origin


async def read_waiting(
    feed: FeedView,
    inode: FeedInode,
    waits: Waits,
    origins: Origins,
    *,
    offset: int,
    size: int,
    timeout_seconds: float,
) -> bytes:
    """The answer to a READ of bytes that are missing: waits until as much is here as it must have.

    Raises:
        Refused: of readahead.
        StoreCorrupt, BlockUnavailable: of the feed.
        Interrupted, WaitTimedOut, Closing, TooManyWaits: of the wait.
    """
    request = ReadRequest(inode=inode.number, offset=offset, size=size)
    deadline = trio.current_time() + timeout_seconds
    fills_pages = await origin_of(request, inode, origins) is not Origin.READ
    with inode.locked_pages() if fills_pages else nullcontext():
        while True:
            data = feed.reader.read_nowait(offset, size)
            needed = bytes_needed(
                offset,
                size,
                told=inode.told_length,
                known=feed.byte_length,
                fills_pages=fills_pages,
            )
            if len(data) >= needed:
                return data
            # From the start, although some is here: where space is short, that could go meanwhile.
            missing = partial(feed.reader.wait_bytes, offset, offset + needed)
            await waits.run(request, missing, deadline)
