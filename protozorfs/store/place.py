"""Where a file was made: what tells a store in its place from a copy of it.

A copy has another inode and another birth time; a disk that moved, another machine id. An offline
rollback of the whole disk (a snapshot) cannot be told from the original.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_AT_FDCWD = -100
_STATX_BTIME = 0x800
_STATX_BYTES = 256  # sizeof(struct statx)
_MASK_AT, _BIRTH_AT = 0, 80  # of stx_mask, and of stx_btime: seconds, nanoseconds
_libc = ctypes.CDLL(None, use_errno=True)


def birth_ns(path: str) -> int:
    """When a file was made, in nanoseconds since 1970; 0 if the file system does not say.

    Raises:
        OSError: there is no such file.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if _libc.statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    (mask,) = struct.unpack_from("=I", buffer, _MASK_AT)
    if not mask & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH_AT)
    return int(seconds) * 10**9 + int(nanoseconds)


def place_of(path: str) -> bytes:
    """One line: machine id, device, inode and birth time of a file.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(path)
    try:
        machine = MACHINE_ID.read_text().strip()
    except OSError as error:
        if error.errno in _PASSING:  # what cannot be read now must not make this a copy
            raise
        machine = "-"  # minimal systems have none
    return b"%s %d %d %d\n" % (machine.encode(), status.st_dev, status.st_ino, birth_ns(path))
