"""The handlers that tell or change attributes, and who may change anything.

The kernel's own check (`default_permissions`) is not used: it refuses a writing open of a followed
feed without asking, so that the unlink by which `cp -f` goes on could not be told from an `rm`. The
rule is short: everybody may read, and the user who mounts (and root) may change. Who gets into the
mount at all is the kernel's affair (`allow_other`).
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pyfuse3
import trio
from pyfuse3 import FUSEError

from protozorfs.fs import policy, xattrs
from protozorfs.fs.attributes import Attributes
from protozorfs.fs.directory import Directory, refuse
from protozorfs.fs.errnos import Refused
from protozorfs.fs.guard import guarded
from protozorfs.fs.handles import Handle
from protozorfs.fs.inodes import ROOT_INODE, FeedInode, Inode, Inodes, PathInode
from protozorfs.fs.live import start_of
from protozorfs.fs.recent import Rotations
from protozorfs.fs.refusals import RefusedOperations
from protozorfs.fs.self_test import SelfTest
from protozorfs.types import MAX_NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.fs.handles import AnyHandle
    from protozorfs.fs.parts import Parts
    from protozorfs.fs.ports import FeedView
    from protozorfs.types import FeedId

_STATVFS_FIELDS = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
)


@guarded
class MetadataOperations(RefusedOperations):
    """Attributes of the directory and of feeds."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._feeds = parts.feeds
        self._status = parts.status
        self._nudges = parts.nudges
        self._live_from_end = parts.live_from_end
        self._directory = Directory(parts.feeds)
        self._attributes = Attributes()
        self._inodes = Inodes(parts.feeds.numbers)
        self._handles: dict[int, AnyHandle] = {}
        self._rotations = Rotations()
        self._is_shared = parts.is_shared
        self._may_change_uids = frozenset({0, os.geteuid()})
        self._own_gids = frozenset({os.getegid(), *os.getgroups()})
        self._root_mtime_ns = time.time_ns()

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """From what is here."""
        if inode == ROOT_INODE:
            return self._attributes.root(self._root_mtime_ns)
        if inode == SelfTest.INODE:
            return self._attributes.hidden(SelfTest.INODE)
        return self._told(self._inode(inode))

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """What cannot be kept is accepted if nobody relies on it, else refused; see `policy`.

        Two set the size to what it is: `nudges`, and who copies into a new file.
        """
        known = self._inodes.get(inode)
        with known.told_if_answered() if isinstance(known, FeedInode) else nullcontext():
            present = await self.getattr(inode, ctx)
            if not self._nudges.is_asking(ctx.pid):
                self._refuse_changes(inode, present, attr, fields, fh, ctx)
            return present

    def _refuse_changes(
        self,
        inode: int,
        present: pyfuse3.EntryAttributes,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        may_append = self._may_append(inode, ctx)
        is_ours = may_append or (inode == ROOT_INODE and self._may_change(ctx))
        is_size_new = not self._fills_new_file(fh) or attr.st_size != present.st_size
        refuse(
            policy.setattr_refusal(
                is_owned=may_append,
                size=fields.update_size and is_size_new,
                mode=fields.update_mode
                and not (is_ours and self._passes_over_mode(present, attr.st_mode, ctx)),
                owner=(fields.update_uid or fields.update_gid)
                and not (is_ours and self._passes_over_owner(present, attr, fields, ctx)),
            )
        )
        if fields.update_atime or fields.update_mtime:
            self._refuse_strangers(ctx, errno.EPERM)

    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """For access(2) and chdir(2)."""
        if mode & os.W_OK and not self._may_change(ctx):
            return False
        if inode in (ROOT_INODE, SelfTest.INODE):
            return True
        known = self._inode(inode)
        if isinstance(known, PathInode):
            return not mode & os.W_OK and (known.is_directory or not mode & os.X_OK)
        feed = self._feed_of(known)
        is_owned = feed is not None and feed.is_owned and known.live is None
        return not (mode & os.X_OK or (mode & os.W_OK and not is_owned))

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """The store's file system."""
        below = self._feeds.statvfs()
        answer = pyfuse3.StatvfsData()
        for field in _STATVFS_FIELDS:
            setattr(answer, field, getattr(below, field))
        answer.f_namemax = MAX_NAME_BYTES
        return answer

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """Nothing: who lists attributes copies them, and these can be set nowhere."""
        return ()

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """The feed's state as text."""
        # Asked for security.* before each write and at each `ls -l`: the common answer comes first.
        if not name.startswith(xattrs.PREFIX) or inode == ROOT_INODE:
            raise FUSEError(errno.ENODATA)
        known = self._inode(inode)
        if not isinstance(known, FeedInode):
            raise FUSEError(errno.ENODATA)
        value = xattrs.value(known.feed_id, self._feed_of(known), name)
        if value is None:
            raise FUSEError(errno.ENODATA)
        return value

    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """`protozorfs.delete_key` with the feed's ID deletes an owned feed."""
        if name != xattrs.DELETE_KEY or inode == ROOT_INODE:
            raise Refused(xattrs.change_refusal(name))
        self._refuse_strangers(ctx)
        known = self._inode(inode)
        feed = self._feed_of(known) if isinstance(known, FeedInode) else None
        if feed is None:
            raise Refused(errno.EPERM)
        await self._directory.delete_key(feed, value)
        self._root_mtime_ns = time.time_ns()

    def _told(self, inode: Inode) -> pyfuse3.EntryAttributes:
        """The attributes of anything but the root, which the kernel is about to be told."""
        if isinstance(inode, PathInode):
            if inode.is_directory:
                return self._attributes.directory(inode.number)
            return self._attributes.text(inode.number, len(self._status.read(inode.path)))
        feed = self._feed_of(inode)
        if inode.live is None:
            return self._attributes.feed(inode, feed)
        from_end = self._live_from_end
        start = None if feed is None else start_of(feed, inode.live, from_end=from_end)
        return self._attributes.live(inode, feed, start)

    def has_locked_pages(self, feed_id: FeedId) -> bool:
        """True while a change of the feed's size would wait in the kernel."""
        inode = self._inodes.find_feed(feed_id)
        return inode is not None and inode.page_reads > 0

    def _inode(self, number: int) -> Inode:
        inode = self._inodes.get(number)
        if inode is None:
            raise Refused(errno.ENOENT)
        return inode

    def _feed_of(self, inode: FeedInode) -> FeedView | None:
        """The feed now; after a removal the one that open handles hold."""
        feed = self._feeds.by_id(inode.feed_id)
        return inode.open_feed if feed is None else feed

    def _may_append(self, number: int, ctx: pyfuse3.RequestContext) -> bool:
        if number in (ROOT_INODE, SelfTest.INODE) or not self._may_change(ctx):
            return False
        known = self._inode(number)
        if not isinstance(known, FeedInode) or known.live is not None:
            return False
        feed = self._feed_of(known)
        return feed is not None and feed.is_owned

    def _passes_over_mode(
        self, present: pyfuse3.EntryAttributes, mode: int, ctx: pyfuse3.RequestContext
    ) -> bool:
        is_first = self._rotations.take_mode(ctx.pid, present.st_ino, trio.current_time())
        is_shared = self._is_shared and not is_first
        return policy.is_mode_harmless(mode, present.st_mode, is_shared=is_shared)

    def _passes_over_owner(
        self,
        present: pyfuse3.EntryAttributes,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        ctx: pyfuse3.RequestContext,
    ) -> bool:
        is_own_uid = not fields.update_uid or attr.st_uid == present.st_uid
        is_own_gid = not fields.update_gid or attr.st_gid in self._own_gids | {ctx.gid}
        if is_own_uid and is_own_gid:
            return True
        return self._rotations.take_owner(ctx.pid, present.st_ino, trio.current_time())

    def _fills_new_file(self, fh: int | None) -> bool:
        """Whether the file was new or empty when the handle was opened."""
        handle = None if fh is None else self._handles.get(fh)
        return isinstance(handle, Handle) and handle.in_sequence

    def _may_change(self, ctx: pyfuse3.RequestContext) -> bool:
        return ctx.uid in self._may_change_uids

    def _refuse_strangers(self, ctx: pyfuse3.RequestContext, code: int = errno.EACCES) -> None:
        refuse(0 if self._may_change(ctx) else code)
