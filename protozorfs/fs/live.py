"""The live view of a feed: it never ends; reads wait at the end."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.fs.errnos import Refused
from protozorfs.fs.origins import Origin
from protozorfs.fs.reads import is_of_pages, locked_pages, origin_of, refuse_readahead
from protozorfs.fs.requests import ReadRequest

if TYPE_CHECKING:
    from protozorfs.fs.handles import LiveHandle
    from protozorfs.fs.inodes import LiveView
    from protozorfs.fs.origins import Origins
    from protozorfs.fs.ports import FeedView
    from protozorfs.fs.waits import Waits

_FOREVER = float("inf")


def start_of(feed: FeedView, live: LiveView, *, from_end: bool) -> int | None:
    """The offset in the feed of the first byte of a view that is opened now; None: not known yet.

    `from_end` is what the mount was told for views without a block of their own.
    """
    if live.start_block:
        return feed.reader.block_start(live.start_block)
    if not from_end or live.start_block is not None:
        return 0
    return None if feed.is_unknown else feed.byte_length


def is_readable(handle: LiveHandle) -> bool:
    """True if a read that goes on after the last one would not wait.

    Raises:
        StoreCorrupt
    """
    start = handle.find_start()
    return start is not None and bool(handle.feed.reader.read_nowait(start + handle.read_end, 1))


async def read_live(
    handle: LiveHandle,
    waits: Waits,
    origins: Origins,
    *,
    offset: int,
    size: int,
    timeout_seconds: float,
) -> bytes:
    """The answer to a READ, never empty: waits for the next block at the end, for as long as it
    takes; for bytes that are known but not here, at most `timeout_seconds`.

    It may be short, as that of a pipe, but for the page cache.

    Raises:
        Refused: EAGAIN, on a handle that never waits, and of readahead.
        StoreCorrupt, BlockUnavailable: of the feed.
        Interrupted, WaitTimedOut, Closing, TooManyWaits: of the wait.
    """
    feed, inode = handle.feed, handle.inode
    request = ReadRequest(inode=inode.number, offset=offset, size=size)
    at = await _wait_known(handle, waits, request)
    deadline = trio.current_time() + timeout_seconds
    data = feed.reader.read_nowait(at, size)
    if len(data) < size and not (data and not is_of_pages(offset, size)):
        origin = await origin_of(request, inode, origins)
        if origin is Origin.READ or offset >= inode.told_length:
            data = await _read_some(handle, waits, request, at, deadline)
        else:
            data = await _read_pages(handle, waits, request, at, origin, deadline)
    handle.read_end = offset + len(data)
    return data


async def _wait_known(handle: LiveHandle, waits: Waits, request: ReadRequest) -> int:
    """Where in the feed the READ begins, once the feed is longer than that."""
    feed = handle.feed
    while (start := handle.find_start()) is None:
        _refuse_wait(handle)
        await waits.run(request, handle.wait_start, _FOREVER)
    while feed.byte_length <= start + request.offset:
        _refuse_wait(handle)
        await waits.run(request, partial(feed.reader.wait_length, feed.length), _FOREVER)
    return start + request.offset


async def _read_some(
    handle: LiveHandle, waits: Waits, request: ReadRequest, at: int, deadline: float
) -> bytes:
    """What is here from `at` on, once there is something."""
    reader = handle.feed.reader
    while not (data := reader.read_nowait(at, request.size)):
        _refuse_wait(handle)
        await waits.run(request, partial(reader.wait_bytes, at, at + 1), deadline)
    return data


async def _read_pages(
    handle: LiveHandle,
    waits: Waits,
    request: ReadRequest,
    at: int,
    origin: Origin,
    deadline: float,
) -> bytes:
    """For the page cache, or what may be: all up to the length that the kernel was told."""
    feed, inode = handle.feed, handle.inode
    end = min(at + request.size, at - request.offset + inode.told_length, feed.byte_length)
    data = feed.reader.read_nowait(at, request.size)
    if len(data) >= end - at or (data and handle.never_waits and origin is Origin.UNKNOWN):
        return data
    refuse_readahead(request, inode, origin)
    _refuse_wait(handle)
    with locked_pages(inode, origin):
        return await waits.run(request, partial(feed.reader.read, at, end), deadline)


def _refuse_wait(handle: LiveHandle) -> None:
    if handle.never_waits:
        raise Refused(errno.EAGAIN)
