"""The handlers that refuse whatever they are asked."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pyfuse3

from protozorfs.fs import xattrs
from protozorfs.fs.errnos import Refused
from protozorfs.fs.guard import guarded

if TYPE_CHECKING:
    from pyfuse3 import EntryAttributes, RequestContext


@guarded
class RefusedOperations(pyfuse3.Operations):
    """What a file with `chattr +a`, or a directory of nothing but feeds, does not do.

    Each answers an errno of its own: ENOSYS, which pyfuse3 gives for a handler that is missing,
    would end such calls for the life of the mount with "Function not implemented".
    """

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        """Refused as by `chattr +a`."""
        raise Refused(errno.EPERM)

    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        """There are only feeds here."""
        raise Refused(errno.EPERM)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """There are only feeds here."""
        raise Refused(errno.EPERM)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        """The directories here are part of the mount."""
        raise Refused(errno.EPERM)

    async def readlink(self, inode: int, ctx: RequestContext) -> bytes:
        """There are no symbolic links."""
        raise Refused(errno.EINVAL)

    async def removexattr(self, inode: int, name: bytes, ctx: RequestContext) -> None:
        """No attribute can be removed."""
        raise Refused(xattrs.change_refusal(name))
