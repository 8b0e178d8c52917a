from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import LocalProtocolError
from protozorfs.store.files import RealFiles
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.pool import FilePool

if TYPE_CHECKING:
    from pathlib import Path


def test_many_files_stay_below_the_limit_of_descriptors(tmp_path: Path) -> None:
    pool = FilePool(RealFiles(tmp_path), limit=8)
    before = len(os.listdir("/proc/self/fd"))
    files = [pool.file(str(number)) for number in range(300)]
    assert len(os.listdir("/proc/self/fd")) == before
    for number, file in enumerate(files):
        file.pwrite(b"%d" % number, 0)
    for number, file in enumerate(files):
        assert file.pread(9, 0) == b"%d" % number
        assert len(os.listdir("/proc/self/fd")) <= before + 8
    for file in files:
        file.close()
    assert pool.open_count == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_files_in_use_stay_open_while_others_come_and_go() -> None:
    memory = MemoryFiles()
    pool = FilePool(memory, limit=4)
    busy = pool.file("busy")
    inner = busy.pin()
    busy.unpin()
    for number in range(50):
        busy.pwrite(b"x", 0)
        pool.file(str(number)).pwrite(b"x", 0)
    assert inner.pread(1, 0) == b"x"  # would be refused had it been closed


def test_a_pinned_file_is_never_closed() -> None:
    pool = FilePool(MemoryFiles(), limit=2)
    pinned = pool.file("pinned")
    inner = pinned.pin()
    for number in range(20):
        pool.file(str(number)).pwrite(b"x", 0)
    pinned.close()
    inner.pwrite(b"y", 0)
    assert pinned.pread(1, 0) == b"y"
    pinned.unpin()
    pinned.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        inner.pread(1, 0)
    with pytest.raises(LocalProtocolError):
        pinned.unpin()


def test_only_pins_may_exceed_the_limit() -> None:
    pool = FilePool(MemoryFiles(), limit=2)
    pinned = [pool.file(f"p{number}") for number in range(5)]
    for file in pinned:
        file.pin()
    assert pool.open_count == 5
    pool.file("more").pwrite(b"x", 0)
    for file in pinned:
        file.unpin()
    pool.file("again").pwrite(b"x", 0)
    assert pool.open_count == 2


def test_what_is_not_used_any_more_is_closed_and_comes_back() -> None:
    pool = FilePool(MemoryFiles())
    used, unused, pinned = (pool.file(name) for name in ("used", "unused", "pinned"))
    for file in (used, unused, pinned):
        file.pwrite(b"x", 0)
    pinned.pin()
    pool.close_unused()
    assert pool.open_count == 1  # of all the pin alone; what was used once is not in use
    for _ in range(3):
        used.pread(1, 0)
        used.pread(1, 0)
        pool.close_unused()
        assert pool.open_count == 2
    pool.close_unused()
    assert pool.open_count == 1
    pinned.unpin()
    pool.close_unused()  # the pin was a use
    pool.close_unused()
    assert pool.open_count == 0
    assert unused.pread(1, 0) == b"x"


def test_who_keeps_something_of_a_file_hears_of_its_end() -> None:
    closed: list[str] = []
    pool = FilePool(MemoryFiles(), limit=1)
    one = pool.file("one", closed=lambda: closed.append("one"))
    one.close()
    assert closed == []
    one.pwrite(b"x", 0)
    pool.file("two").pwrite(b"x", 0)
    assert closed == ["one"]
    one.pwrite(b"x", 0)
    pool.close_unused()
    assert closed == ["one", "one"]


def test_a_missing_file_reads_as_empty_and_is_made_by_a_write() -> None:
    memory = MemoryFiles()
    pool = FilePool(memory)
    file = pool.file("file")
    assert (file.pread(10, 0), file.size(), file.allocated_bytes()) == (b"", 0, 0)
    assert not memory.exists("file")
    assert pool.open_count == 0
    file.pwrite(b"x", 0)
    assert file.pread(10, 0) == b"x"


def test_where_no_descriptor_is_left_a_file_of_the_pool_makes_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    pool = FilePool(RealFiles(tmp_path), limit=100)
    pinned, *others = (pool.file(str(number)) for number in range(50))
    pinned.pin()
    in_use = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 6, hard))
    try:
        for file in others:
            file.pwrite(b"x", 0)
        assert all(file.pread(1, 0) == b"x" for file in others)
        for file in others:
            file.close()
        pool_of_one = FilePool(RealFiles(tmp_path))
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            pool_of_one.file("new").pwrite(b"x", 0)
        for each in taken:
            os.close(each)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_takes_what_is_written_and_one_that_is_not_there_takes_nothing() -> None:
    memory = MemoryFiles()
    pool = FilePool(memory)
    file = pool.file("a")
    assert (file.allocated_bytes(), file.size(), file.modified_ns()) == (0, 0, 0)
    assert not file.is_there(0)
    assert file.pread(5, 0) == b""
    assert not memory.exists("a")
    file.pwrite(b"x" * 5000, 0)
    assert file.allocated_bytes() >= 5000
    assert file.size() == 5000
    assert file.modified_ns() > 0
    assert file.is_there(5000)
