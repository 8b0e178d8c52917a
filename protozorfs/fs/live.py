"""The live view of a feed: it never ends; reads wait at the end."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.fs.errnos import Refused
from protozorfs.fs.origins import Origin
from protozorfs.fs.reads import bytes_needed, is_of_pages, origin_of
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
    return feed.byte_length if from_end and live.start_block is None else 0


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

    Raises:
        Refused: EAGAIN, on a handle that never waits, and of readahead.
        StoreCorrupt, BlockUnavailable: of the feed.
        Interrupted, WaitTimedOut, Closing, TooManyWaits: of the wait.
    """
    feed, inode = handle.feed, handle.inode
    request = ReadRequest(inode=inode.number, offset=offset, size=size)
    deadline = trio.current_time() + timeout_seconds
    is_known, origin = False, Origin.UNKNOWN
    while True:
        start = handle.find_start()
        if start is None:
            block = inode.live.start_block if inode.live is not None else None
            _refuse_wait(handle)
            await waits.run(request, partial(feed.reader.wait_block_start, block or 0), _FOREVER)
            continue
        data = feed.reader.read_nowait(start + offset, size)
        needed = bytes_needed(
            offset,
            size,
            told=inode.told_length,
            known=feed.byte_length - start,
            fills_pages=is_of_pages(offset, size) and origin is not Origin.READ,
        )
        is_enough = len(data) >= needed or (
            is_known and handle.never_waits and origin is not Origin.PAGE_CACHE
        )
        if data and is_enough:
            handle.read_end = offset + len(data)
            return data
        if not needed:
            _refuse_wait(handle)
            await waits.run(request, partial(feed.reader.wait_length, feed.length), _FOREVER)
        elif not is_known:
            is_known, origin = True, await origin_of(request, inode, origins)
        else:
            _refuse_wait(handle)
            at = start + offset
            missing = partial(feed.reader.wait_bytes, at, at + needed)  # all of it, as in `reads`
            # Behind what the kernel was told there are no pages that it could have locked.
            has_pages = origin is not Origin.READ and offset < inode.told_length
            with inode.locked_pages() if has_pages else nullcontext():
                await waits.run(request, missing, deadline)


def _refuse_wait(handle: LiveHandle) -> None:
    if handle.never_waits:
        raise Refused(errno.EAGAIN)
