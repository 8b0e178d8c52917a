"""Whether a READ or WRITE is of the page cache: the kernel says it, pyfuse3 does not.

`sendfile`, `splice` and faults of a mapping go through the page cache even on a direct handle. The
kernel marks the READs of read(2) with their lock owner; those of the page cache have none. It marks
the WRITEs by which it writes back a mapping that can be written. Source: linux/fuse.h
(FUSE_READ_LOCKOWNER, FUSE_WRITE_CACHE), fs/fuse/file.c (fuse_send_read, fuse_writepages). The marks
are in the kernel's message, which stays, in pyfuse3, in the closure of the task that handles it.

Where the pointer to the message stands there is not assumed: `learn` finds it by content, in a READ
whose arguments are known. Every use compares the arguments again, and memory is read through /proc,
where an address that means nothing is an error. Written against pyfuse3 3.5.0, which is pinned.
"""

from __future__ import annotations

import ctypes
import gc
import struct
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING

from protozorfs.fs.requests import look_asleep

if TYPE_CHECKING:
    import trio

    from protozorfs.fs.requests import ReadRequest, WriteRequest

_CLOSURE = "_pyx_scope_struct"
_MAX_CLOSURE_BYTES = 4096  # a larger object is not what we take it for
_POINTER = struct.Struct("=Q")
_OBJECT_BYTES = 16  # the head of a Python object, where no field is
# struct fuse_in_header, struct fuse_read_in or fuse_write_in: of these the opcode, node, offset,
# size, and the flags of the READ or WRITE.
_MESSAGE = struct.Struct("=4xI8xQ16x8xQII16x")
_OPCODE_READ = 15
_OPCODE_WRITE = 16
_READ_LOCKOWNER = 1 << 1
_WRITE_CACHE = 1 << 0


class Origin(Enum):
    """Where a READ comes from; `UNKNOWN` is either."""

    READ = "read(2)"
    PAGE_CACHE = "the page cache"
    UNKNOWN = "unknown"


class Origins:
    """Tells where READs come from, once it has learned how."""

    def __init__(self) -> None:
        self._position: int | None = None

    async def learn(self, request: ReadRequest) -> None:
        """Finds the message of the READ that the calling task handles; nothing if in doubt."""
        closure = await look_asleep(_closure_memory)
        found = [
            at
            for at in range(_OBJECT_BYTES, len(closure) - _POINTER.size + 1, _POINTER.size)
            if _flags(closure, at, _OPCODE_READ, request) is not None
        ]
        self._position = found[0] if len(found) == 1 else None

    async def of(self, request: ReadRequest) -> Origin:
        """Where the READ that the calling task handles comes from."""
        flags = await self._flags_of(_OPCODE_READ, request)
        if flags is None:
            return Origin.UNKNOWN
        return Origin.READ if flags & _READ_LOCKOWNER else Origin.PAGE_CACHE

    async def may_be_writeback(self, request: WriteRequest) -> bool:
        """False if the WRITE that the calling task handles comes from write(2) for sure."""
        flags = await self._flags_of(_OPCODE_WRITE, request)
        return flags is None or bool(flags & _WRITE_CACHE)

    async def _flags_of(self, opcode: int, request: ReadRequest | WriteRequest) -> int | None:
        if self._position is None:
            return None
        return _flags(await look_asleep(_closure_memory), self._position, opcode, request)


def _closure_memory(task: trio.lowlevel.Task) -> bytes:
    """The bytes of the closure of what a sleeping task runs; none if it is not of Cython's kind."""
    coroutine: object = task.coro
    while isinstance(coroutine, CoroutineType):  # wrappers of pyfuse3 and of trio
        coroutine = coroutine.cr_await
    for referent in gc.get_referents(coroutine):
        if type(referent).__name__ == "coroutine":  # what Cython's own wrapper holds
            coroutine = referent
    for referent in gc.get_referents(coroutine):
        kind = type(referent)
        if _CLOSURE in kind.__name__ and kind.__basicsize__ <= _MAX_CLOSURE_BYTES:
            return ctypes.string_at(id(referent), kind.__basicsize__)
    return b""


def _flags(
    closure: bytes, position: int, opcode: int, request: ReadRequest | WriteRequest
) -> int | None:
    """The flags in the message whose address stands there, if it is the request's."""
    if position + _POINTER.size > len(closure):
        return None
    (address,) = _POINTER.unpack_from(closure, position)
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            message = memory.read(_MESSAGE.size)
    except (OSError, OverflowError, ValueError):
        return None  # no address
    if len(message) < _MESSAGE.size:
        return None
    *found, flags = _MESSAGE.unpack(message)
    return flags if found == [opcode, request.inode, request.offset, request.size] else None
