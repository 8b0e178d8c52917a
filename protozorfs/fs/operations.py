"""The file system's handlers, as pyfuse3 calls them.

Thin: names are in `directory`, attributes in `metadata`, rules in `policy`, waiting in `reads` and
`waits`. Only READ and OPEN may wait for the network, WRITE and FSYNC for the disk; all others are
answered at once.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pyfuse3
import trio

from protozorfs.errors import StoreError
from protozorfs.feeds.blocks import cut_blocks
from protozorfs.fs import policy
from protozorfs.fs.directory import refuse
from protozorfs.fs.errnos import Refused, WaitTimedOut
from protozorfs.fs.guard import guarded
from protozorfs.fs.inodes import FeedInode, Handle
from protozorfs.fs.interrupts import SelfTest
from protozorfs.fs.metadata import MetadataOperations
from protozorfs.fs.reads import bytes_needed, read_waiting
from protozorfs.fs.requests import OpenRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.fs.ports import FeedsView, FeedView
    from protozorfs.fs.waits import Patience, Waits

log = logging.getLogger(__name__)


@guarded
class Operations(MetadataOperations):
    """The handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False  # it would turn appends into page writes at any offset

    def __init__(
        self,
        feeds: FeedsView,
        waits: Waits,
        self_test: SelfTest,
        *,
        patience: Patience,
        syncs: bool = False,
    ) -> None:
        super().__init__(feeds)
        self.initialised = trio.Event()  # the kernel's INIT was handled
        self._waits = waits
        self._self_test = self_test
        self._patience = patience
        self._syncs = syncs
        self._refused_opens = policy.RefusedOpens()
        self._handles: dict[int, Handle] = {}
        self._listings: dict[int, Sequence[tuple[bytes, FeedView]]] = {}
        self._next_handle = 1

    def init(self) -> None:
        """Called when the kernel's INIT is handled."""
        self.initialised.set()

    # Names

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A name, or a feed ID that need not be followed."""
        if name == SelfTest.NAME and self._self_test.is_asking(ctx.pid):
            return self._attributes.hidden(SelfTest.INODE)
        if name in (b".", b".."):
            return self._attributes.root(self._root_mtime_ns)
        inode = self._inodes.of_feed(self._directory.find(name))
        inode.lookups += 1
        return self._attributes.feed(inode, self._feed_of(inode))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel gives references back."""
        for number, lookups in inode_list:
            self._inodes.forget(number, lookups)

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """A new name: a new owned feed."""
        self._refuse_strangers(ctx)
        feed = self._directory.create(name, flags)
        self._root_mtime_ns = time.time_ns()
        inode = self._inodes.of_feed(feed.feed_id)
        inode.lookups += 1
        attributes = self._attributes.feed(inode, feed)
        feed.acquire()
        return self._opened(inode, feed, flags, in_sequence=True), attributes

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """`ln -s ID NAME` follows the feed.

        The kernel insists on a symbolic link as the answer, so it gets one that is valid for no
        time; its next lookup finds the feed's file.
        """
        self._refuse_strangers(ctx)
        self._directory.follow(name, target)
        self._root_mtime_ns = time.time_ns()
        return self._attributes.link(self._inodes.throw_away(), target)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Gives a feed another name; never replaces one."""
        self._refuse_strangers(ctx)
        self._refuse_after_refused_open(name_old, ctx.pid)
        self._directory.rename(
            name_old,
            name_new,
            no_replace=bool(flags & pyfuse3.RENAME_NOREPLACE),
            exchange=bool(flags & pyfuse3.RENAME_EXCHANGE),
        )
        self._root_mtime_ns = time.time_ns()

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Unfollows a feed, or removes an owned one that nobody can know."""
        self._refuse_strangers(ctx)
        self._refuse_after_refused_open(name, ctx.pid)
        self._directory.remove(name)
        self._root_mtime_ns = time.time_ns()

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A listing as of now."""
        handle = self._new_handle()
        self._listings[handle] = self._feeds.names()
        return handle

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names and attributes from `start_id` on; `rewinddir` sees the names of that moment."""
        if start_id == 0:
            self._listings[fh] = self._feeds.names()
        listing = self._listings[fh]
        for position in range(start_id, len(listing)):
            name, feed = listing[position]
            inode = self._inodes.of_feed(feed.feed_id)
            attributes = self._listed(inode, feed)
            if not pyfuse3.readdir_reply(token, name, attributes, position + 1):
                self._inodes.forget(inode.number, 0)  # not told: it may have been made just now
                return
            inode.lookups += 1

    async def releasedir(self, fh: int) -> None:
        """Ends a listing."""
        del self._listings[fh]

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Names are durable when the operation that changed them returns."""

    # Contents

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Opens a feed; for reading, it may wait for the first attempt to find its head."""
        if inode == SelfTest.INODE:
            await self._self_test.handle_open()
            return pyfuse3.FileInfo(fh=SelfTest.HANDLE, direct_io=True, keep_cache=False)
        known = self._inode(inode)
        feed = self._feed_of(known)
        is_owned = feed is not None and feed.is_owned and self._may_change(ctx)
        code = policy.open_refusal(is_owned=is_owned, flags=flags)
        if code:
            self._refused_opens.note(ctx.pid, inode, trio.current_time())
            raise Refused(code)
        if feed is None:
            feed = self._feeds.visit(known.feed_id)
        feed.acquire()
        try:
            await self._wait_head(feed, flags, OpenRequest(inode=inode, pid=ctx.pid))
            return self._opened(known, feed, flags, in_sequence=False)
        except BaseException:
            feed.release()  # there will be no RELEASE of an open that failed
            raise

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """What is here at once; see `reads` for the rest."""
        handle = self._handles.get(fh)
        if handle is None:
            await self._self_test.handle_read()
            return b""
        feed = handle.feed
        data = feed.read_nowait(off, size)
        count = len(data)
        if count < size and count < bytes_needed(
            off, size, told=handle.inode.told_length, known=feed.byte_length
        ):
            return await read_waiting(
                feed,
                handle.inode,
                self._waits,
                offset=off,
                size=size,
                timeout_seconds=self._patience.read_seconds,
            )
        return data

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Appends; returns when it survives a kill of the daemon, or a power cut if `syncs`."""
        handle = self._handles[fh]
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
        await feed.append(cut_blocks(buf))
        if handle.syncs:
            await feed.sync()
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        """Returns when all of the feed is durable."""
        handle = self._handles.get(fh)
        if handle is not None:
            await handle.feed.sync()

    async def flush(self, fh: int) -> None:
        """Close does not wait."""

    async def release(self, fh: int) -> None:
        """The last descriptor of a handle is closed."""
        handle = self._handles.pop(fh, None)
        if handle is not None:  # else it is the self-test's
            handle.feed.release()
            self._inodes.closed(handle.inode)

    def _listed(self, inode: FeedInode, feed: FeedView) -> pyfuse3.EntryAttributes:
        try:
            return self._attributes.feed(inode, feed)
        except StoreError:
            # One feed that cannot be opened must not hide the others; its own stat tells the error.
            log.exception("a feed cannot be shown")
            return self._attributes.feed(inode, None)

    def _refuse_after_refused_open(self, name: bytes, pid: int) -> None:
        """Stops a tool that could not write to the feed from replacing it by a new file."""
        number = self._inodes.of_feed(self._directory.find(name)).number
        try:
            if self._refused_opens.is_recent(pid, number, trio.current_time()):
                raise Refused(errno.EPERM)
        finally:
            self._inodes.forget(number, 0)

    async def _wait_head(self, feed: FeedView, flags: int, request: OpenRequest) -> None:
        if feed.is_owned or feed.length or flags & os.O_NONBLOCK or not self._patience.head_seconds:
            return
        deadline = trio.current_time() + self._patience.head_seconds
        with suppress(WaitTimedOut):  # then the file is opened as it is: empty, for now
            await self._waits.run(request, feed.wait_first_head, deadline)

    def _opened(
        self, inode: FeedInode, feed: FeedView, flags: int, *, in_sequence: bool
    ) -> pyfuse3.FileInfo:
        handle = self._new_handle()
        self._handles[handle] = Handle(
            inode=inode,
            feed=feed,
            appends=bool(flags & os.O_APPEND),
            in_sequence=in_sequence,
            syncs=self._syncs or bool(flags & os.O_DSYNC),  # O_SYNC includes O_DSYNC
        )
        self._inodes.opened(inode, feed)
        # Direct: waiting reads, growth, whole appends and interrupts are right in this mode only.
        # An open that dropped the pages would wait, and could not be killed, while another process
        # waits for one of them (sendfile, mmap). Reads of an owned feed never wait.
        return pyfuse3.FileInfo(fh=handle, direct_io=True, keep_cache=not feed.is_owned)

    def _new_handle(self) -> int:
        handle = self._next_handle
        self._next_handle += 1
        return handle
