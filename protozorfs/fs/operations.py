"""The file system's handlers, as pyfuse3 calls them: those about open files.

Thin: names are in `naming`, attributes in `metadata`, rules in `policy`, waiting in `reads`, `live`
and `waits`. Only READ and OPEN may wait for the network; WRITE, FSYNC and what changes names wait
for the disk; all others are answered at once.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pyfuse3
import trio

from protozorfs.errors import HeadUnknown
from protozorfs.feeds.blocks import cut_blocks
from protozorfs.fs import policy
from protozorfs.fs.directory import refuse
from protozorfs.fs.errnos import Refused, WaitTimedOut
from protozorfs.fs.guard import guarded
from protozorfs.fs.handles import Handle, LiveHandle, TextHandle
from protozorfs.fs.inodes import FeedInode, PathInode
from protozorfs.fs.live import read_live, start_of
from protozorfs.fs.naming import NameOperations
from protozorfs.fs.polls import ALWAYS
from protozorfs.fs.readahead import PAGE_BYTES
from protozorfs.fs.reads import read_waiting
from protozorfs.fs.requests import OpenRequest, WriteRequest
from protozorfs.fs.self_test import SelfTest

if TYPE_CHECKING:
    from protozorfs.fs.inodes import LiveView
    from protozorfs.fs.parts import Parts
    from protozorfs.fs.ports import FeedView


@guarded
class Operations(NameOperations):
    """The handlers of one mount."""

    supports_dot_lookup = True  # a number means a feed, whether the kernel has it in memory or not
    enable_writeback_cache = False  # it would turn appends into page writes at any offset

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.initialised = trio.Event()  # the kernel's INIT was handled
        self._waits = parts.waits
        self._origins = parts.origins
        self._polls = parts.polls
        self._patience = parts.patience
        self._syncs = parts.syncs

    def init(self) -> None:
        """Called when the kernel's INIT is handled."""
        self.initialised.set()

    # Opening

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A new name: a new owned feed."""
        self._refuse_strangers(ctx)
        self._refuse_below_root(parent_inode)
        now = trio.current_time()
        is_rotation = self._rotations.take_name(ctx.pid, name, now)
        feed = await self._directory.create(name, flags, is_rotation=is_rotation)
        self._root_mtime_ns = time.time_ns()
        inode = self._inodes.of_feed(feed.feed_id)
        if is_rotation:
            self._rotations.made(ctx.pid, inode.number, now)
        inode.lookups += 1
        attributes = self._attributes.feed(inode, feed)
        feed.acquire()
        return self._opened(inode, feed, flags, in_sequence=True), attributes

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Opens a feed; waits for the first head of one of which nothing is known."""
        if inode == SelfTest.INODE:
            await self._self_test.handle_open()
            return pyfuse3.FileInfo(fh=SelfTest.HANDLE, direct_io=True, keep_cache=False)
        known = self._inode(inode)
        if isinstance(known, PathInode):
            return self._opened_text(known, flags)
        feed = self._feed_of(known)
        is_owned = feed is not None and feed.is_owned and self._may_change(ctx)
        is_empty = is_owned and feed is not None and not feed.length
        code = policy.open_refusal(
            is_owned=is_owned and known.live is None, is_empty=is_empty, flags=flags
        )
        if code:
            self._refused_opens.note((ctx.pid, inode), trio.current_time())
            raise Refused(code)
        if feed is None:
            feed = await self._feeds.visit(known.feed_id)
        feed.acquire()
        try:
            if known.live is not None:
                feed.reader.look_for_head()  # its reads wait, for ever
            else:
                await self._wait_head(feed, flags, OpenRequest(inode=inode, pid=ctx.pid))
            _tell_size(known, feed)
            if known.live is not None:
                return self._opened_live(known, known.live, feed, flags)
            return self._opened(known, feed, flags, in_sequence=is_empty)
        except BaseException:
            feed.release()  # there will be no RELEASE of an open that failed
            raise

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """At once if all of it is here; see `reads` and `live` for the rest."""
        handle = self._handles.get(fh)
        if handle is None:
            await self._self_test.handle_read()
            return b""
        if isinstance(handle, TextHandle):
            return handle.text[off : off + size]
        patience = self._patience.read_seconds
        if isinstance(handle, LiveHandle):
            return await read_live(
                handle,
                self._waits,
                self._origins,
                offset=off,
                size=size,
                timeout_seconds=patience,
            )
        feed = handle.feed
        data = feed.reader.read_nowait(off, size)
        if len(data) < size and off + len(data) < feed.byte_length:
            return await read_waiting(
                feed,
                handle.inode,
                self._waits,
                self._origins,
                offset=off,
                size=size,
                timeout_seconds=patience,
            )
        return data

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Appends; returns when it survives a kill of the daemon, or a power cut if `syncs`."""
        handle = self._handles[fh]
        if not isinstance(handle, Handle):
            raise Refused(errno.EBADF)  # the kernel lets nobody write who has not opened it so
        feed = handle.feed
        if not handle.appends:
            refuse(
                policy.write_refusal(
                    appends=False,
                    in_sequence=handle.in_sequence,
                    offset=off,
                    end=feed.byte_length,
                )
            )
        elif handle.is_readable and await self._may_be_writeback(handle, off, len(buf)):
            raise Refused(errno.EPERM)
        await feed.append(cut_blocks(buf))
        if handle.syncs:
            await feed.sync()
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Returns when all of the feed is durable."""
        handle = self._handles.get(fh)
        if isinstance(handle, Handle):
            await handle.feed.sync()

    async def poll(
        self,
        inode: int,
        fh: int,
        poll_handle: pyfuse3.PollHandle | None,
        ctx: pyfuse3.RequestContext,
    ) -> int:
        """What is ready; a live view is when there is more than was read."""
        handle = self._handles.get(fh)
        if isinstance(handle, LiveHandle):
            return self._polls.poll(handle, poll_handle)
        return ALWAYS

    async def flush(self, fh: int) -> None:
        """Close does not wait."""

    async def release(self, fh: int) -> None:
        """The last descriptor of a handle is closed."""
        handle = self._handles.pop(fh, None)
        if handle is None:
            return  # the self-test's
        if isinstance(handle, LiveHandle):
            self._polls.forget(handle)
        if not isinstance(handle, TextHandle):
            handle.feed.release()
        self._inodes.closed(handle.inode)

    async def _may_be_writeback(self, handle: Handle, offset: int, size: int) -> bool:
        """Whether a WRITE is of pages that were changed in a mapping, which must append nothing.

        Those are whole pages of what the feed has. An append begins at the end that the kernel
        knows, which is another one only while the feed grows in another way.
        """
        if offset % PAGE_BYTES or offset >= handle.feed.byte_length:
            return False
        request = WriteRequest(inode=handle.inode.number, offset=offset, size=size)
        return await self._origins.may_be_writeback(request)

    async def _wait_head(self, feed: FeedView, flags: int, request: OpenRequest) -> None:
        """Returns when the feed is known: an open that succeeds never shows an unknown one empty.

        Raises:
            HeadUnknown: nobody told its head in time, or there is nobody to ask; at once if the
                open is not to wait.
            Interrupted, Closing, TooManyWaits: of the wait.
        """
        if not feed.is_unknown:
            return
        if flags & os.O_NONBLOCK or not self._patience.head_seconds:
            feed.reader.look_for_head()
        else:
            deadline = trio.current_time() + self._patience.head_seconds
            with suppress(WaitTimedOut):
                await self._waits.run(request, feed.reader.wait_first_head, deadline)
        if feed.is_unknown:
            raise HeadUnknown("nothing is known of this feed yet")

    def _opened(
        self, inode: FeedInode, feed: FeedView, flags: int, *, in_sequence: bool
    ) -> pyfuse3.FileInfo:
        handle = self._new_handle()
        self._handles[handle] = Handle(
            inode=inode,
            feed=feed,
            appends=bool(flags & os.O_APPEND),
            is_readable=flags & os.O_ACCMODE != os.O_WRONLY,
            in_sequence=in_sequence,
            syncs=self._syncs or bool(flags & os.O_DSYNC),  # O_SYNC includes O_DSYNC
        )
        self._inodes.opened(inode, feed)
        may_keep = inode.may_keep_pages(feed) and not feed.is_owned
        # Direct: waiting reads, growth, whole appends and interrupts are right in this mode only.
        # An open that dropped the pages would wait, and could not be killed, while another process
        # waits for one of them (sendfile, mmap). Reads of an owned feed never wait.
        return pyfuse3.FileInfo(fh=handle, direct_io=True, keep_cache=may_keep)

    def _opened_live(
        self, inode: FeedInode, live: LiveView, feed: FeedView, flags: int
    ) -> pyfuse3.FileInfo:
        handle = self._new_handle()
        self._handles[handle] = LiveHandle(
            inode=inode,
            feed=feed,
            start=start_of(feed, live, from_end=self._live_from_end),
            is_from_end=self._live_from_end and live.start_block is None,
            never_waits=bool(flags & os.O_NONBLOCK),
        )
        self._inodes.opened(inode, feed)
        may_keep = inode.may_keep_pages(feed)  # as of feeds
        return pyfuse3.FileInfo(fh=handle, direct_io=True, keep_cache=may_keep)

    def _opened_text(self, inode: PathInode, flags: int) -> pyfuse3.FileInfo:
        if policy.wants_to_write(flags):
            raise Refused(errno.EACCES)
        text = self._status.read(inode.path)
        handle = self._new_handle()
        self._handles[handle] = TextHandle(inode, text)
        self._inodes.opened(inode)
        return pyfuse3.FileInfo(fh=handle, direct_io=True, keep_cache=False)


def _tell_size(inode: FeedInode, feed: FeedView) -> None:
    """Lets no open succeed while the kernel takes a known feed for one byte long.

    `sendfile` and `splice` would end there. On ESTALE the kernel looks the path up again, by which
    it learns the size, and opens once more.

    Raises:
        Refused: ESTALE, to all until one has learned it.
    """
    if inode.is_told_unknown and not feed.is_unknown:
        raise Refused(errno.ESTALE)
