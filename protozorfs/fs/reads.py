"""The read of a feed's file: whole, by waiting for what is known but not here; or an error."""

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
    from contextlib import AbstractContextManager

    from protozorfs.fs.inodes import FeedInode
    from protozorfs.fs.origins import Origins
    from protozorfs.fs.ports import FeedView
    from protozorfs.fs.waits import Waits


def end_of_answer(offset: int, size: int, *, told: int, known: int, origin: Origin) -> int:
    """Where the answer to a READ ends: it has every byte from `offset` to there.

    Programs take a short read of a regular file for its end: `tar` pads with zeros, `tac` stops. So
    read(2) gets all up to `known`, the feed's length when the READ came. The page cache has no use
    for more than the kernel was `told`, and waits for no more.
    """
    length = min(told, known) if origin is Origin.PAGE_CACHE and offset < told else known
    return max(offset, min(offset + size, length))


def is_of_pages(offset: int, size: int) -> bool:
    """True for a READ of whole pages: no other fills the page cache."""
    return not (offset % PAGE_BYTES or size % PAGE_BYTES)


async def origin_of(request: ReadRequest, inode: FeedInode, origins: Origins) -> Origin:
    """Where a READ of missing bytes comes from, in the task that handles it."""
    if not is_of_pages(request.offset, request.size):
        return Origin.READ
    with inode.locked_pages():
        return await origins.of(request)


def refuse_readahead(request: ReadRequest, inode: FeedInode, origin: Origin) -> None:
    """Declines a READ of missing bytes that nobody waits for in person.

    Raises:
        Refused: EAGAIN; whoever reads asks again, in person.
    """
    if origin is Origin.PAGE_CACHE and inode.readahead.declines(request.offset, request.size):
        raise Refused(errno.EAGAIN)


def locked_pages(inode: FeedInode, origin: Origin) -> AbstractContextManager[None]:
    """While in the body, a READ waits that may have pages locked."""
    return nullcontext() if origin is Origin.READ else inode.locked_pages()


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
    """The answer to a READ of which bytes are missing: waits until all of it is here.

    Raises:
        Refused: of readahead.
        StoreCorrupt, BlockUnavailable: of the feed.
        Interrupted, WaitTimedOut, Closing, TooManyWaits: of the wait.
    """
    known = feed.byte_length
    request = ReadRequest(inode=inode.number, offset=offset, size=size)
    deadline = trio.current_time() + timeout_seconds
    origin = await origin_of(request, inode, origins)
    end = end_of_answer(offset, size, told=inode.told_length, known=known, origin=origin)
    data = feed.reader.read_nowait(offset, end - offset)
    if len(data) == end - offset:
        return data
    refuse_readahead(request, inode, origin)
    with locked_pages(inode, origin):
        return await waits.run(request, partial(feed.reader.read, offset, end), deadline)
