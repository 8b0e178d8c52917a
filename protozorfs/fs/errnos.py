"""The one table from errors to errno, and the errors that only the file system knows.

Source: docs/design.md, "What a person sees".
"""

from __future__ import annotations

import errno
import os

from protozorfs.errors import (
    BlockUnavailable,
    Closing,
    DecodeError,
    HeadUnknown,
    InvalidName,
    NameTaken,
    NameTooLong,
    NoRoom,
    NoSuchFeed,
    NotRemovable,
    NotWritable,
    ProtozorfsError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreGone,
    StoreRefused,
    TooManyVisits,
)


class Refused(ProtozorfsError):
    """A file operation that the rules of an append-only file forbid."""

    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.errno = code


class Interrupted(ProtozorfsError):
    """The process that waits was sent a signal."""


class WaitTimedOut(ProtozorfsError):
    """What was waited for did not come within the time that the user set."""


class TooManyWaits(ProtozorfsError):
    """More reads and opens wait than one mount bears."""


ERRNOS: dict[type[Exception], int] = {
    Interrupted: errno.EINTR,
    WaitTimedOut: errno.ETIMEDOUT,
    # Not EAGAIN for these two: Python's buffered `read()` takes it for an end, and returns a part.
    TooManyWaits: errno.ENOMEM,
    BlockUnavailable: errno.ENODATA,  # option `local`
    HeadUnknown: errno.ENODATA,  # of open(2); whoever tries again later may succeed
    Closing: errno.EIO,
    StoreCorrupt: errno.EIO,
    StoreRefused: errno.EIO,
    StoreFull: errno.ENOSPC,
    NoRoom: errno.ENOSPC,
    StoreError: errno.EIO,  # a feed that was removed meanwhile, a disk that fails
    NotWritable: errno.EROFS,
    StoreGone: errno.ESTALE,
    InvalidName: errno.EPERM,
    NameTooLong: errno.ENAMETOOLONG,
    NameTaken: errno.EEXIST,
    NoSuchFeed: errno.ENOENT,
    NotRemovable: errno.EPERM,
    TooManyVisits: errno.ENFILE,
    DecodeError: errno.EINVAL,
    MemoryError: errno.ENOMEM,
}

# What the disk or the process limits below may say and the caller can act on. Any other OSError
# (ENOENT of a store file, say) would be a lie about the feed, so it becomes EIO.
_PASSED_ON = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS}
)


def errno_of(error: BaseException) -> int | None:
    """The errno that an error means to the caller; None if the table does not list it."""
    if isinstance(error, Refused):
        return error.errno
    if isinstance(error, OSError):
        return error.errno if error.errno in _PASSED_ON else None
    for kind in type(error).__mro__:
        code = ERRNOS.get(kind)
        if code is not None:
            return code
    return None
