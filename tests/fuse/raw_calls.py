"""System calls, and forms of them, that `os` does not have. Source: the man pages of Linux.

Each raises OSError as the functions of `os` do.
"""

from __future__ import annotations

import ctypes
import os
import struct

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_COLLAPSE_RANGE = 0x01, 0x02, 0x08
FALLOC_FL_ZERO_RANGE, FALLOC_FL_INSERT_RANGE = 0x10, 0x20
RWF_NOAPPEND = 0x20  # a write at its offset, O_APPEND or not
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

_LIBC = ctypes.CDLL(None, use_errno=True)
_OFFSET = ctypes.c_longlong
_TIMESPECS = struct.Struct("=qqqq")  # access and modification time, each as seconds, nanoseconds


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def fallocate(descriptor: int, mode: int, offset: int, size: int) -> int:
    """fallocate(2) itself; `os.posix_fallocate` is emulated by libc."""
    return _checked(_LIBC.fallocate(descriptor, mode, _OFFSET(offset), _OFFSET(size)))


def renameat2(old: str, new: str, flags: int) -> int:
    """rename with RENAME_* flags."""
    paths = (os.fsencode(old), os.fsencode(new))
    return _checked(_LIBC.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags))


def utimensat(path: str, accessed_ns: int, modified_ns: int) -> int:
    """Sets times; either may be UTIME_NOW or UTIME_OMIT, or nanoseconds of the first second."""
    times = _TIMESPECS.pack(0, accessed_ns, 0, modified_ns)
    return _checked(_LIBC.utimensat(AT_FDCWD, os.fsencode(path), times, 0))


def sync_file_range(descriptor: int, offset: int, size: int, flags: int) -> int:
    """Asks for a part to be written to disk."""
    return _checked(_LIBC.sync_file_range(descriptor, _OFFSET(offset), _OFFSET(size), flags))


def readahead(descriptor: int, offset: int, size: int) -> int:
    """Asks for a part to be read into the page cache."""
    return _checked(_LIBC.readahead(descriptor, _OFFSET(offset), ctypes.c_size_t(size)))
