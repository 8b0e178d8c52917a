"""Reads that pass through the page cache even on a direct handle wait, and are never short."""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

READ_MAPPED = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, flags=int(sys.argv[2]), prot=mmap.PROT_READ)
    sys.stdout.buffer.write(mapped[:])
"""
# Shows the first bytes of a mapping, as many as `fstat` says, each time that it is sent a line.
WATCH_MAPPED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
with open(sys.argv[1], "rb") as file:
    # Longer than the file, as no module of Python lets one map it.
    mapped = libc.mmap(None, ctypes.c_size_t(1 << 20), 1, int(sys.argv[2]), file.fileno(), 0)
    for _ in sys.stdin:
        size = os.fstat(file.fileno()).st_size
        sys.stdout.buffer.write(b"%d\\n" % size + ctypes.string_at(mapped, size))
        sys.stdout.buffer.flush()
"""
KINDS = pytest.mark.parametrize(
    "flags", [mmap.MAP_PRIVATE, mmap.MAP_SHARED], ids=["private", "shared"]
)
SIZE = 300_001
HELD = 70_000


def read_mapped(path: Path, flags: int) -> bytes:
    """The file by a mapping, in another process: a fault waits with Python's lock held."""
    command = [sys.executable, "-c", READ_MAPPED, str(path), str(flags)]
    return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout


@pytest.fixture
def filling(shared: Staged) -> Iterator[Path]:
    """A feed that is here in part; the rest comes in pieces while it is read."""
    path = shared.followed(SIZE, HELD)

    def fill() -> None:
        for count in (HELD + 1, 131_072, 200_000, SIZE):
            threading.Event().wait(0.05)
            shared.control("hold", path.name, count=count)

    thread = threading.Thread(target=fill)
    thread.start()
    yield path
    thread.join()


def test_copyfile(filling: Path, tmp_path: Path) -> None:
    shutil.copyfile(filling, tmp_path / "copy")  # sendfile
    assert (tmp_path / "copy").read_bytes() == pattern_bytes(SIZE)


def test_sendfile_to_a_socket(filling: Path) -> None:
    ours, theirs = socket.socketpair()
    received = bytearray()

    def receive() -> None:
        while data := theirs.recv(65536):
            received.extend(data)

    thread = threading.Thread(target=receive)
    thread.start()
    with filling.open("rb") as file, ours, theirs:
        sent = 0
        while sent < SIZE:
            count = os.sendfile(ours.fileno(), file.fileno(), sent, SIZE - sent)
            assert count > 0, "the end of the file in the middle of it"
            sent += count
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
    assert bytes(received) == pattern_bytes(SIZE)


def test_splice(filling: Path) -> None:
    reading, writing = os.pipe()
    received = b""
    with filling.open("rb") as file:
        while len(received) < SIZE:
            count = os.splice(file.fileno(), writing, 65_536, offset_src=len(received))
            assert count > 0, "the end of the file in the middle of it"
            received += os.read(reading, count)
    os.close(reading)
    os.close(writing)
    assert received == pattern_bytes(SIZE)


@KINDS
def test_a_mapping(filling: Path, flags: int) -> None:
    assert read_mapped(filling, flags) == pattern_bytes(SIZE)


def test_what_is_changed_in_a_mapping_is_not_written(shared: Staged) -> None:
    """The kernel writes whole pages back, which would be appended."""
    path = shared.owned(b"a" * 5_000)
    with path.open("ab+", buffering=0) as file:
        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED)
        mapped[0:1], mapped[4_500:4_501] = b"X", b"Y"
        with pytest.raises(PermissionError):
            mapped.flush()
        file.write(b"b" * (8_192 - 5_000))
        file.write(b"appended where a page begins")
        mapped.close()
    expected = b"a" * 5_000 + b"b" * (8_192 - 5_000) + b"appended where a page begins"
    assert path.read_bytes() == read_mapped(path, mmap.MAP_SHARED) == expected
    assert shared.control("show", path.name)["sizes"] == [5_000, 3_192, 28]


def test_a_followed_feed_has_no_mapping_that_can_be_written(shared: Staged) -> None:
    path = shared.followed(5_000, 5_000)
    with path.open("rb") as file, pytest.raises(PermissionError):
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED)


@KINDS
@pytest.mark.parametrize("is_owned", [False, True], ids=["followed", "owned"])
def test_a_mapping_shows_what_came_after_it(shared: Staged, flags: int, is_owned: bool) -> None:
    """The last page was read when it was not full: what is behind its end then is not zeros."""
    path = shared.owned(b"first\n") if is_owned else shared.followed(0, 0)
    if not is_owned:
        shared.control("stage", path.name, blocks=["first\n"])
    command = [sys.executable, "-c", WATCH_MAPPED, str(path), str(flags)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        expected = b"first\n"
        for line in (b"second\n", b"x" * 5_000, b"third\n", b"y" * 100_000):
            watcher.stdin.write(b"\n")
            watcher.stdin.flush()
            size = int(watcher.stdout.readline())
            assert watcher.stdout.read(size) == expected
            if is_owned:
                with path.open("ab", buffering=0) as file:
                    file.write(line)
            else:
                shared.control("stage", path.name, blocks=[line.decode()])
            expected += line
        watcher.stdin.close()


def test_a_read_of_whole_pages_waits_for_more_than_the_page_cache_does(shared: Staged) -> None:
    path = shared.followed(SIZE, HELD)
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor() as threads:
        shared.control("stage", path.name, pattern=SIZE, held=False)  # the kernel is not told yet
        read = threads.submit(os.pread, file.fileno(), 131_072, 262_144)
        wait_until(lambda: shared.control("show", path.name)["waiting"] == 1)
        shared.control("hold", path.name, count=SIZE)
        assert not read.done()
        shared.control("hold", path.name, count=2 * SIZE)
        assert read.result(10) == (2 * pattern_bytes(SIZE))[262_144:][:131_072]


def test_reads_of_whole_pages_are_full_where_all_may_be_of_the_page_cache(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage(flags=("--watch-proc",)) as staged:
        path = staged.followed(SIZE, HELD)
        command = ["dd", f"if={path}", "bs=131072", "skip=0", "count=3", "status=none"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            staged.control("hold", path.name, count=HELD + 1)
            staged.control("hold", path.name, count=SIZE)
            assert process.communicate(timeout=10)[0] == pattern_bytes(SIZE)
        shutil.copyfile(path, staged.mount.store / "copy")
        assert (staged.mount.store / "copy").read_bytes() == pattern_bytes(SIZE)


def test_growth_while_pages_are_cached(shared: Staged) -> None:
    path = shared.followed(5_000, 5_000)
    expected = pattern_bytes(5_000)
    for size in (1, 5_000, 100_000):
        assert read_mapped(path, mmap.MAP_PRIVATE) == read_mapped(path, mmap.MAP_SHARED) == expected
        shared.control("stage", path.name, pattern=size)
        expected += pattern_bytes(size)
    assert path.read_bytes() == expected
