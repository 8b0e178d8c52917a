"""inotify(7) for tests, which have no inotifywait everywhere."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Source: sys/inotify.h
IN_MODIFY = 0x2
IN_ATTRIB = 0x4
_HEADER = struct.Struct("=iIII")  # descriptor, mask, cookie, length of the name that follows
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """All events of one file or directory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def events(self, seconds: float, count: int) -> list[tuple[int, bytes]]:
        """The mask and name of each event, until there are `count` or the time is over."""
        found: list[tuple[int, bytes]] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0]:
                found += _parsed(os.read(self._descriptor, 65536))
        return found


def _parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        _, mask, _, length = _HEADER.unpack_from(data)
        end = _HEADER.size + length
        yield mask, data[_HEADER.size : end].rstrip(b"\0")
        data = data[end:]


@contextmanager
def watched(path: Path, mask: int = IN_MODIFY | IN_ATTRIB) -> Iterator[Watch]:
    """A watch for the length of the block."""
    descriptor = _libc.inotify_init1(os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        code = _libc.inotify_add_watch(descriptor, os.fsencode(path), mask)
        assert code >= 0, os.strerror(ctypes.get_errno())
        yield Watch(descriptor)
    finally:
        os.close(descriptor)
