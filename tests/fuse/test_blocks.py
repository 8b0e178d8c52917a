"""What a write becomes: docs/manual.md. One WRITE of at most 64 KiB is one block."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

BLOCK = 64 * 1024


def test_each_small_write_is_one_block(shared: Staged) -> None:
    path = shared.owned(b"")
    subprocess.run(["bash", "-c", f"for i in 1 2 3; do echo line$i >> {path}; done"], check=True)
    assert shared.control("show", path.name)["sizes"] == [6, 6, 6]
    assert path.read_bytes() == b"line1\nline2\nline3\n"


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1]),
        (BLOCK - 1, [BLOCK - 1]),
        (BLOCK, [BLOCK]),
        (BLOCK + 1, [BLOCK, 1]),
        (3 * BLOCK, [BLOCK] * 3),
        (1024 * 1024 - 4096, [BLOCK] * 15 + [BLOCK - 4096]),
    ],
)
def test_a_larger_write_is_cut(shared: Staged, size: int, sizes: list[int]) -> None:
    path = shared.owned(b"")
    data = os.urandom(size)
    with path.open("ab", buffering=0) as file:
        assert file.write(data) == size
    assert shared.control("show", path.name)["sizes"] == sizes
    assert path.read_bytes() == data


def test_o_append_ignores_the_offset(shared: Staged) -> None:
    path = shared.owned(b"first\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        shared.control("stage", path.name, blocks=["elsewhere\n"])  # the kernel does not know
        os.pwrite(descriptor, b"last\n", 0)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == b"first\nelsewhere\nlast\n"


def test_writers_at_once_lose_and_mix_nothing(shared: Staged) -> None:
    path = shared.owned(b"")

    def write(name: str) -> None:
        with path.open("ab", buffering=0) as file:
            for count in range(100):
                file.write(f"{name} {count}\n".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {n}" for n in range(100)]
    assert len(shared.control("show", path.name)["sizes"]) == 400


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC])
def test_synchronous_handles_sync_after_each_write(shared: Staged, flag: int) -> None:
    path = shared.owned()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | flag)
    try:
        os.write(descriptor, b"a")
        os.write(descriptor, b"b")
        assert shared.control("show", path.name)["syncs"] == 2
    finally:
        os.close(descriptor)


def test_fsync_syncs_and_close_does_not(shared: Staged) -> None:
    path = shared.owned()
    assert shared.control("show", path.name)["syncs"] == 0
    with path.open("ab", buffering=0) as file:
        file.write(b"x")
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    assert shared.control("show", path.name)["syncs"] == 2


def test_a_sync_mount_syncs_every_write(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage("-o", "sync") as staged:
        path = staged.owned()
        assert staged.control("show", path.name)["syncs"] == 1


def test_growth_is_seen_at_once(shared: Staged) -> None:
    path = shared.followed(0, 0)
    shared.control("stage", path.name, blocks=["line 0\n"])
    with path.open("rb", buffering=0) as file:
        assert file.read(100) == b"line 0\n"
        for count in range(1, 50):
            shared.control("stage", path.name, blocks=[f"line {count}\n"])
            assert file.read(100) == f"line {count}\n".encode()
            assert path.stat().st_size == os.fstat(file.fileno()).st_size == file.tell()
