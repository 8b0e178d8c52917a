"""The libfuse request behind a handler that sleeps: what FUSE_INTERRUPT needs and pyfuse3 hides.

libfuse reads the kernel's INTERRUPT messages and offers a callback per request
(`fuse_req_interrupt_func`). What Python lacks is the `fuse_req_t`. pyfuse3 keeps it in an object of
the type `_Container`, which can be reached while the handler sleeps:

    trio task -> its coroutine -> cr_await -> Cython coroutines and closures -> _Container

Where in that object the pointer stands is not assumed: `find_layout` finds it by content, in an
OPEN and a READ whose arguments and whose thread are known (the self-test at mount time). Every use
compares the request's arguments again. Written against pyfuse3 3.5.0, which is pinned.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_CONTAINER = "_Container"
_WALK_LIMIT = 30  # objects looked at on the way to it; 5 to 8 in pyfuse3 3.5.0
_MAX_CONTAINER_BYTES = 4096  # a larger object is not what we take it for
_READ_ARGUMENTS = struct.Struct("=qQ")  # off_t off, size_t size: 16 bytes behind the pointer
_READ_ARGUMENTS_DISTANCE = 16
_POINTER = struct.Struct("=Q")
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class _Context(ctypes.Structure):
    """struct fuse_ctx. Source: libfuse include/fuse_lowlevel.h."""

    _fields_ = (
        ("uid", ctypes.c_uint),
        ("gid", ctypes.c_uint),
        ("pid", ctypes.c_int),
        ("umask", ctypes.c_uint),
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions in a container's memory, in bytes: of the fuse_req_t, and of an OPEN's inode."""

    request: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """An OPEN being handled: its inode and the thread that asks."""

    inode: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """A READ being handled: its arguments, and the inode of its handle."""

    inode: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """A WRITE being handled: its arguments, and the inode of its handle."""

    inode: int
    offset: int
    size: int


Request = OpenRequest | ReadRequest


async def look_asleep(look: Callable[[trio.lowlevel.Task], T]) -> T:
    """The result of `look` at the calling task.

    The task sleeps for that moment: a running coroutine does not show what it awaits.
    """
    task = trio.lowlevel.current_task()
    seen = trio.Event()
    results: list[T] = []

    def call() -> None:
        try:
            results.append(look(task))
        finally:
            seen.set()

    trio.lowlevel.current_trio_token().run_sync_soon(call)
    await seen.wait()
    return results[0]


async def container_memory() -> bytes | None:
    """The bytes of the container of the request that the calling task handles, or None."""
    return await look_asleep(_container_memory)


def _container_memory(task: trio.lowlevel.Task) -> bytes | None:
    """The same for a task that sleeps."""
    reachable: list[object] = [getattr(task.coro, "cr_await", None)]
    for _ in range(_WALK_LIMIT):
        if not reachable:
            return None
        for referent in gc.get_referents(reachable.pop()):
            kind = type(referent)
            if kind.__name__ == _CONTAINER:
                size = kind.__basicsize__
                # A copy: the container may be gone with the next step of the task.
                return (
                    ctypes.string_at(id(referent), size) if size <= _MAX_CONTAINER_BYTES else None
                )
            if kind.__module__.startswith("_cython") or "_pyx_scope_struct" in kind.__name__:
                reachable.append(referent)
    return None


class LibFuse:
    """The two functions of the libfuse that pyfuse3 is linked with.

    Raises:
        OSError: no such library is loaded.
        AttributeError: it lacks one of the functions.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(_loaded_library(), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        self._request_context = library.fuse_req_ctx
        self._request_context.argtypes = [ctypes.c_void_p]
        self._request_context.restype = ctypes.POINTER(_Context)
        self._interrupt_func = library.fuse_req_interrupt_func
        self._interrupt_func.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.c_void_p]
        self._interrupt_func.restype = None

    def context(self, request: int) -> tuple[int, int]:
        """Thread id and user id of the process behind a fuse_req_t."""
        context = self._request_context(request).contents
        return context.pid, context.uid

    def on_interrupt(self, request: int, callback: object, key: int) -> None:
        """Has libfuse call `callback(request, key)`, at once if the INTERRUPT came already."""
        self._interrupt_func(request, callback, key)


def make_callback(on_key: Callable[[int], None]) -> object:
    """A C function for `LibFuse.on_interrupt`; it must be kept alive while libfuse may call it.

    libfuse calls it in the trio thread, inside the loop that reads requests and with the request's
    lock held: it must wake a task and do nothing else.
    """
    return _CALLBACK(lambda _request, key: on_key(key))


def _loaded_library() -> str:
    """The path of the libfuse3 in this process; a build of pyfuse3 may bring its own copy."""
    with _maps() as maps:
        for line in maps:
            path = line.rstrip("\n").rpartition(" ")[2]
            if os.path.basename(path).startswith("libfuse3"):
                return path
    raise OSError("no libfuse3 is loaded")


def _maps() -> TextIO:
    # The store's files are among what is mapped, and their names are any bytes.
    return open("/proc/self/maps", encoding="utf-8", errors="surrogateescape")


def find_layout(
    libfuse: LibFuse,
    *,
    open_memory: bytes,
    inode: int,
    read_memory: bytes,
    offset: int,
    size: int,
    owner: tuple[int, int],
) -> Layout | None:
    """The layout, from the containers of an OPEN and a READ with known arguments.

    `owner` is the thread id and user id that made the requests. None if anything is ambiguous.
    """
    arguments = _only_position(read_memory, _READ_ARGUMENTS.pack(offset, size))
    at_inode = _only_position(open_memory, _POINTER.pack(inode))
    if arguments is None or at_inode is None or arguments < _READ_ARGUMENTS_DISTANCE:
        return None
    layout = Layout(arguments - _READ_ARGUMENTS_DISTANCE, at_inode)
    (request,) = _POINTER.unpack_from(read_memory, layout.request)
    if request % 8 or not _is_writable(request):
        return None
    return layout if libfuse.context(request) == owner else None


def _only_position(memory: bytes, wanted: bytes) -> int | None:
    """The one multiple of 8 where `wanted` stands."""
    found = [
        at
        for at in range(_READ_ARGUMENTS_DISTANCE, len(memory) - len(wanted) + 1, 8)
        if memory[at : at + len(wanted)] == wanted
    ]
    return found[0] if len(found) == 1 else None


def _is_writable(address: int) -> bool:
    """True if 512 bytes from the address on are mapped read-write."""
    with _maps() as maps:
        for line in maps:
            span, permissions = line.split(None, 2)[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if low <= address < high - 512:
                return permissions.startswith("rw")
    return False


def request_of(task: trio.lowlevel.Task, layout: Layout, request: Request) -> int | None:
    """The fuse_req_t that a sleeping task handles, if it is the one described, else None."""
    memory = _container_memory(task)
    if memory is None:
        return None
    if isinstance(request, ReadRequest):
        at = layout.request + _READ_ARGUMENTS_DISTANCE
        if _READ_ARGUMENTS.unpack_from(memory, at) != (request.offset, request.size):
            return None
    elif _POINTER.unpack_from(memory, layout.inode) != (request.inode,):
        return None
    pointer: int = _POINTER.unpack_from(memory, layout.request)[0]
    return pointer or None
