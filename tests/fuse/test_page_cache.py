"""Reads that pass through the page cache even on a direct handle wait, and are never short."""

from __future__ import annotations

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
    mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    sys.stdout.buffer.write(mapped[:])
"""
SIZE = 300_001
HELD = 70_000


def read_mapped(path: Path) -> bytes:
    """The file by a private mapping, in another process: a fault waits with Python's lock held."""
    command = [sys.executable, "-c", READ_MAPPED, str(path)]
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


def test_a_private_mapping(filling: Path) -> None:
    assert read_mapped(filling) == pattern_bytes(SIZE)


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
        assert read_mapped(path) == expected
        shared.control("stage", path.name, pattern=size)
        expected += pattern_bytes(size)
    assert path.read_bytes() == expected
