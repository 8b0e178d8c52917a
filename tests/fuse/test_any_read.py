"""Any read of any layout of missing bytes, while they come and signals are sent, is whole or fails.

Read by system calls, not by Python's own reads, which go on after EINTR.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.stage import wait_until
from tests.memory_control import pattern_bytes
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

EXAMPLES = long_or_short(2000, 60)
MAX_SIZE = 250_000
PAGE = 4096
END_SECONDS = 10.0  # for a read of which all is here; it takes less than a millisecond

_libc = ctypes.CDLL(None, use_errno=True)
_offset = ctypes.c_int64
_libc.pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, _offset]
_libc.preadv2.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, _offset, ctypes.c_int]
_libc.sendfile.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
for _call in (_libc.pread, _libc.preadv2, _libc.sendfile):
    _call.restype = ctypes.c_ssize_t


class _IoVector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def _result(count: int, buffer: ctypes.Array[ctypes.c_char]) -> bytes | int:
    """The bytes that were read, or the errno."""
    return ctypes.get_errno() if count < 0 else buffer.raw[:count]


def pread(descriptor: int, offset: int, size: int) -> bytes | int:
    buffer = ctypes.create_string_buffer(size)
    return _result(_libc.pread(descriptor, buffer, size, offset), buffer)


def preadv2(descriptor: int, offset: int, size: int) -> bytes | int:
    """Into three pieces of unlike sizes."""
    buffer = ctypes.create_string_buffer(size)
    cuts = [0, size // 3, size // 2, size]
    pieces = [
        _IoVector(ctypes.addressof(buffer) + start, end - start)
        for start, end in itertools.pairwise(cuts)
    ]
    vectors = (_IoVector * len(pieces))(*pieces)
    return _result(_libc.preadv2(descriptor, vectors, len(pieces), offset, 0), buffer)


def sendfile(descriptor: int, offset: int, size: int) -> bytes | int:
    """Through the page cache, to a file. It may stop short, but not before the first byte."""
    at = _offset(offset)
    target = os.memfd_create("target")
    try:
        count = _libc.sendfile(target, descriptor, ctypes.byref(at), size)
        return ctypes.get_errno() if count < 0 else os.pread(target, count, 0)
    finally:
        os.close(target)


CALLS = {"pread": pread, "preadv2": preadv2, "sendfile": sendfile}
HINTS: dict[str, Callable[[int, int, int], object]] = {
    "willneed": lambda fd, at, size: os.posix_fadvise(fd, at, size, os.POSIX_FADV_WILLNEED),
    "random": lambda fd, at, size: os.posix_fadvise(fd, at, size, os.POSIX_FADV_RANDOM),
    "sequential": lambda fd, at, size: os.posix_fadvise(fd, at, size, os.POSIX_FADV_SEQUENTIAL),
    "readahead": lambda fd, at, size: _libc.readahead(fd, _offset(at), ctypes.c_size_t(size)),
}


@dataclass
class Read:
    """A read under way, in a thread of its own.

    Attributes:
        known: how long the feed was when it began, in bytes; to the page cache, as `fstat` says.
    """

    call: str
    offset: int
    size: int
    known: int
    result: Future[bytes | int]
    thread: int = 0

    def check(self, data: bytes) -> None:
        """`data`: all that the feed ever had."""
        result = self.result.result(END_SECONDS)
        if isinstance(result, int):
            assert result == errno.EINTR, (self, errno.errorcode[result])
            return
        assert result == data[self.offset :][: len(result)], self
        least = max(0, min(self.offset + self.size, self.known) - self.offset)
        if self.call == "sendfile":
            least = min(least, 1)
        assert least <= len(result) <= self.size, self


@dataclass
class Reader:
    """The file of one feed, its descriptors, and the reads of it."""

    staged: Staged
    path: Path
    threads: ThreadPoolExecutor
    descriptors: dict[str, int]
    data: bytes

    def __post_init__(self) -> None:
        self.reads: list[Read] = []
        self.islands: list[tuple[int, int]] = []

    def grow(self, size: int) -> None:
        self.staged.control("stage", self.path.name, pattern=size, held=False)
        self.data += pattern_bytes(size)

    def hold(self, start: int, size: int) -> None:
        end = min(start + size, len(self.data))
        self.islands += [(start, end)] if start < end else []
        self.staged.control("island", self.path.name, start=start, end=end)

    def start(self, call: str, how: str, offset: int, size: int) -> None:
        """A second sendfile would wait for pages of the first, where the daemon cannot see it."""
        if call == "sendfile" and any(r.call == call and not r.result.done() for r in self.reads):
            return
        descriptor, begun = self.descriptors[how], threading.Event()
        told = os.fstat(descriptor).st_size
        known = told if call == "sendfile" else len(self.data)
        read = Read(call, offset, size, known, self.threads.submit(lambda: 0))

        def run() -> bytes | int:
            read.thread = threading.get_ident()
            begun.set()
            return CALLS[call](descriptor, offset, size)

        read.result = self.threads.submit(run)
        begun.wait(END_SECONDS)
        self.reads.append(read)
        if call == "sendfile":
            # Its pages are locked before the daemon knows: `fstat` of a size that is new then waits
            # for them, and no signal ends that (docs/limits.md).
            wait_until(lambda: sum(not one.result.done() for one in self.reads) <= self.waiting())

    def waiting(self) -> int:
        """How many reads the daemon has that wait."""
        count = self.staged.control("show", self.path.name)["waiting"]
        assert isinstance(count, int)
        return count

    def start_across(self, call: str, how: str, number: int) -> None:
        start, end = self.islands[number % len(self.islands)] if self.islands else (0, 1)
        self.start(call, how, (start + end) // 2, end - start + PAGE)

    def interrupt(self, number: int) -> None:
        waiting = [read for read in self.reads if not read.result.done()]
        if waiting:
            signal.pthread_kill(waiting[number % len(waiting)].thread, signal.SIGUSR1)

    def finish(self) -> None:
        """All that is missing comes, and every read must have ended well."""
        self.staged.control("hold", self.path.name, count=len(self.data))
        for read in self.reads:
            read.check(self.data)
        wait_until(lambda: self.waiting() == 0)


@contextmanager
def reader_of(staged: Staged, size: int) -> Iterator[Reader]:
    path = staged.followed(size, 0)
    flags = {"plain": os.O_RDONLY, "direct": os.O_RDONLY | os.O_DIRECT}
    descriptors = {how: os.open(path, how_flags) for how, how_flags in flags.items()}
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    try:
        with ThreadPoolExecutor(16) as threads:
            reader = Reader(staged, path, threads, descriptors, pattern_bytes(size))
            try:
                yield reader
            finally:
                reader.finish()
    finally:
        signal.signal(signal.SIGUSR1, before)
        for descriptor in descriptors.values():
            os.close(descriptor)


# Few places, so that what is read and what is here often overlap in part.
_places = st.one_of(
    st.sampled_from(range(0, MAX_SIZE, 25_000)), st.sampled_from(range(0, MAX_SIZE, 8 * PAGE))
)
_offsets = st.builds(lambda place, more: max(0, place + more), _places, st.sampled_from([0, -7, 1]))
_sizes = st.sampled_from([1, 100, PAGE, 8 * PAGE, 25_000, 60_001, 32 * PAGE])
_steps = st.one_of(
    st.tuples(
        st.just("read"),
        st.sampled_from(sorted(CALLS)),
        st.sampled_from(["plain", "direct"]),
        _offsets,
        _sizes,
    ),
    st.tuples(
        st.just("read across the end of what is here"),
        st.sampled_from(sorted(CALLS)),
        st.sampled_from(["plain", "direct"]),
        st.integers(0, 9),
    ),
    st.tuples(st.just("hold"), _offsets, _sizes),
    st.tuples(st.just("grow"), st.integers(1, 60_000)),
    st.tuples(st.just("hint"), st.sampled_from(sorted(HINTS)), _offsets, _sizes),
    st.tuples(st.just("signal"), st.integers(0, 15)),
)


@given(
    size=st.integers(1, MAX_SIZE),
    here=st.lists(st.tuples(_offsets, _sizes), max_size=6),
    steps=st.lists(_steps, min_size=4, max_size=16),
)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_read_is_right_and_whole_or_fails(
    shared: Staged, size: int, here: list[tuple[int, int]], steps: list[tuple[object, ...]]
) -> None:
    with reader_of(shared, size) as reader:
        for offset, count in here:
            reader.hold(offset, count)
        for what, *arguments in steps:
            take(reader, str(what), arguments)


def take(reader: Reader, what: str, arguments: list[Any]) -> None:
    if what == "hint":
        hint, offset, size = arguments
        HINTS[hint](reader.descriptors["plain"], offset, size)
    else:
        moves: dict[str, Callable[..., None]] = {
            "read": reader.start,
            "read across the end of what is here": reader.start_across,
            "hold": reader.hold,
            "grow": reader.grow,
            "signal": reader.interrupt,
        }
        moves[what](*arguments)
