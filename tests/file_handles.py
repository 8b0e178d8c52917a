"""name_to_handle_at(2) and open_by_handle_at(2), which Python does not have."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from tests.users import is_real_root

_libc = ctypes.CDLL(None, use_errno=True)
_HANDLE_BYTES = 128  # MAX_HANDLE_SZ
_AT_FDCWD = -100
_DROP_DENTRIES_AND_INODES = "2"


class FileHandle(ctypes.Structure):
    """struct file_handle. Source: linux/fcntl.h, `man 2 open_by_handle_at`."""

    _fields_ = (
        ("bytes", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_ubyte * _HANDLE_BYTES),
    )


def handle_of(path: Path) -> FileHandle:
    """The handle of a file: what NFS and backup programs keep of it."""
    handle, mount_id = FileHandle(_HANDLE_BYTES), ctypes.c_int()
    arguments = (os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount_id), 0)
    _check(_libc.name_to_handle_at(_AT_FDCWD, *arguments))
    return handle


def open_handle(mount_point: Path, handle: FileHandle, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the file. Raises OSError: EPERM for all but the machine's root."""
    directory = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _check(_libc.open_by_handle_at(directory, ctypes.byref(handle), flags))
    finally:
        os.close(directory)


def forget_all() -> None:
    """Has the kernel forget all names and inodes that nobody uses; nothing unless root may."""
    if is_real_root():
        Path("/proc/sys/vm/drop_caches").write_text(_DROP_DENTRIES_AND_INODES)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
