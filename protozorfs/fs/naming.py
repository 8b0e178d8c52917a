"""The handlers about names: finding, listing, following, renaming and removing.

None of them waits for the network. What changes names waits for the disk: until it is answered the
kernel has the directory locked, and lists it to nobody.
"""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING

import pyfuse3
import trio

from protozorfs.errors import StoreError
from protozorfs.fs.errnos import Refused
from protozorfs.fs.guard import guarded
from protozorfs.fs.inodes import ROOT_INODE, FeedInode, Inode, Path, PathInode
from protozorfs.fs.metadata import MetadataOperations
from protozorfs.fs.recent import Recent
from protozorfs.fs.self_test import SelfTest
from protozorfs.names import LIVE_DIRECTORY, RESERVED_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.fs.parts import Parts

log = logging.getLogger(__name__)

_ROOT: Path = ()
_LIVE: Path = (LIVE_DIRECTORY,)


@guarded
class NameOperations(MetadataOperations):
    """The root with its feeds, `.live` and `.protozorfs`."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._self_test = parts.self_test
        # A tool that was refused a writing open will now try to remove or rename the file.
        self._refused_opens: Recent[tuple[int, int]] = Recent()
        self._listings: dict[int, tuple[Path, Sequence[bytes]]] = {}
        self._next_handle = 1

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A name, or a feed ID that need not be followed."""
        if name == SelfTest.NAME and self._self_test.is_asking(ctx.pid):
            return self._attributes.hidden(SelfTest.INODE)
        inode: Inode | None
        if name in (b".", b".."):
            inode = self._find_by_number(parent_inode, name)
        else:
            inode = self._find(self._path(parent_inode), name)
        if inode is None:
            return self._attributes.root(self._root_mtime_ns)
        attributes = self._told(inode)
        inode.lookups += 1
        return attributes

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel gives references back."""
        for number, lookups in inode_list:
            self._inodes.forget(number, lookups)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """`ln -s ID NAME` follows the feed.

        The kernel insists on a symbolic link as the answer, so it gets one that is valid for no
        time; its next lookup finds the feed's file.
        """
        self._refuse_strangers(ctx)
        self._refuse_below_root(parent_inode)
        await self._directory.follow(name, target)
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
        self._refuse_below_root(parent_inode_old, parent_inode_new)
        self._refuse_after_refused_open(name_old, ctx.pid)
        await self._directory.rename(
            name_old,
            name_new,
            no_replace=bool(flags & pyfuse3.RENAME_NOREPLACE),
            exchange=bool(flags & pyfuse3.RENAME_EXCHANGE),
        )
        self._rotations.renamed(ctx.pid, name_old, trio.current_time())
        self._root_mtime_ns = time.time_ns()

    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Unfollows a feed, or removes an owned one that nobody else can know."""
        self._refuse_strangers(ctx)
        self._refuse_below_root(parent_inode)
        self._refuse_after_refused_open(name, ctx.pid)
        await self._directory.remove(name)
        self._root_mtime_ns = time.time_ns()

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A listing as of now."""
        path = self._path(inode)
        handle = self._new_handle()
        self._listings[handle] = (path, self._entries(path))
        return handle

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names and attributes from `start_id` on; `rewinddir` sees the names of that moment."""
        path, listing = self._listings[fh]
        if start_id == 0:
            listing = self._entries(path)
            self._listings[fh] = (path, listing)
        for position in range(start_id, len(listing)):
            name = listing[position]
            try:
                inode = self._find(path, name)
            except Refused:
                continue  # removed since the listing was made
            if not pyfuse3.readdir_reply(token, name, self._listed(inode), position + 1):
                self._inodes.forget(inode.number, 0)  # not told: it may have been made just now
                return
            inode.lookups += 1

    async def releasedir(self, fh: int) -> None:
        """Ends a listing."""
        del self._listings[fh]

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Names are durable when the operation that changed them returns."""

    def _path(self, number: int) -> Path:
        """The path of a directory."""
        if number == ROOT_INODE:
            return _ROOT
        inode = self._inode(number)
        if not isinstance(inode, PathInode) or not inode.is_directory:
            raise Refused(errno.ENOTDIR)
        return inode.path

    def _find(self, parent: Path, name: bytes) -> Inode:
        """The inode of a name in a directory. Raises Refused: ENOENT, ENAMETOOLONG."""
        if parent == _ROOT and name not in RESERVED_NAMES:
            return self._inodes.of_feed(self._directory.find(name))
        if parent == _LIVE:
            return self._inodes.of_feed(*self._directory.find_live(name))
        if (*parent, name) == _LIVE:
            return self._of_path(_LIVE)
        path = self._status.find(parent, name)
        if path is None:
            raise Refused(errno.ENOENT)
        return self._of_path(path)

    def _find_by_number(self, number: int, name: bytes) -> Inode | None:
        """What a file handle (`open_by_handle_at`, NFS) means once the kernel has forgotten its
        inode: for `.` the inode of that number, for `..` its directory. None is the root.

        Raises:
            Refused: ESTALE, neither a feed that is named or visited nor anything that is in use.
        """
        if number == ROOT_INODE:
            return None
        inode = self._inodes.get(number)
        if inode is None:
            feed = self._feeds.by_number(number)
            if feed is None:
                raise Refused(errno.ESTALE)
            inode = self._inodes.of_feed(feed.feed_id)
        if name == b".":
            return inode
        directory = _directory_of(inode)
        self._inodes.forget(number, 0)  # it may have been made just now
        return None if directory == _ROOT else self._of_path(directory)

    def _of_path(self, path: Path) -> PathInode:
        is_directory = path == _LIVE or bool(self._status.is_directory(path))
        return self._inodes.of_path(path, is_directory=is_directory)

    def _entries(self, path: Path) -> Sequence[bytes]:
        """The names in a directory. Of the root, `.live` and `.protozorfs` are not among them: what
        goes through whole trees would find feeds that never end there."""
        if path in (_ROOT, _LIVE):
            return [name for name, _ in self._feeds.names()]
        return self._status.entries(path)

    def _listed(self, inode: Inode) -> pyfuse3.EntryAttributes:
        try:
            return self._told(inode)
        except StoreError:
            # One feed that cannot be opened must not hide the others; its own stat tells the error.
            log.exception("something in a directory cannot be shown")
            if isinstance(inode, FeedInode):
                return self._attributes.feed(inode, None)
            return self._attributes.text(inode.number, 0)

    def _new_handle(self) -> int:
        handle = self._next_handle
        self._next_handle += 1
        return handle

    @staticmethod
    def _refuse_below_root(*parents: int) -> None:
        """Only the root has names that can be changed."""
        if any(parent != ROOT_INODE for parent in parents):
            raise Refused(errno.EPERM)

    def _refuse_after_refused_open(self, name: bytes, pid: int) -> None:
        """Stops a tool that could not write to the feed from replacing it by a new file."""
        if name in RESERVED_NAMES:
            raise Refused(errno.EPERM)
        number = self._inodes.of_feed(self._directory.find(name)).number
        try:
            if self._refused_opens.has((pid, number), trio.current_time()):
                raise Refused(errno.EPERM)
        finally:
            self._inodes.forget(number, 0)


def _directory_of(inode: Inode) -> Path:
    if isinstance(inode, PathInode):
        return inode.path[:-1]
    return _ROOT if inode.live is None else _LIVE
