"""The ends of a mount: unmounting and signals, with readers that wait."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.half_held import HalfHeld, half_held
from tests.e2e.stage import (
    WAIT_SECONDS,
    free_port,
    mounted_at,
    running,
    shell,
    wait_until_waiting,
)
from tests.mounts import is_listed, unmount

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fuse

END_SECONDS = 2.0
READERS = 20


@contextmanager
def waited_in(directory: Path) -> Iterator[tuple[HalfHeld, list[subprocess.Popen[bytes]]]]:
    """A half-held feed and the processes that wait for its bytes."""
    with half_held(directory) as staged, ExitStack() as stack:
        readers = [
            stack.enter_context(running(command, staged.feed, os.devnull))
            for command in ("cat", "cp")
            for _ in range(READERS // 2)
        ]
        wait_until_waiting(staged.feed, *readers)
        yield staged, readers


def seconds_to_end(process: subprocess.Popen[bytes], start: float) -> float:
    process.wait(WAIT_SECONDS)
    return time.monotonic() - start


def expect_no_more_readers(readers: list[subprocess.Popen[bytes]]) -> None:
    for reader in readers:
        assert reader.wait(WAIT_SECONDS) != 0
        assert reader.stderr is not None
        assert b"Traceback" not in reader.stderr.read()


def test_unmounting_ends_the_daemon(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port()) as mount:
        shell(f"echo hello >> {mount.path}/journal")
        start = time.monotonic()
        assert unmount(mount.path).returncode == 0
        assert seconds_to_end(mount.process, start) < END_SECONDS
        assert mount.process.returncode == 0
        assert not is_listed(mount.path)
    with mounted_at(tmp_path, "m", free_port()):
        assert shell(f"cat {mount.path}/journal") == "hello\n"


def test_unmounting_with_readers_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with waited_in(tmp_path) as (staged, readers):
        mount = staged.mount
        done = unmount(mount.path)
        assert done.returncode != 0
        assert b"busy" in done.stderr.lower()
        assert mount.process.poll() is None
        wait_until_waiting(
            staged.feed, *readers
        )  # still, or again: one may have had a byte to read
        shell(f"echo hello >> {mount.path}/journal")


def test_lazy_unmounting_ends_daemon_and_readers(tmp_path: Path) -> None:
    with waited_in(tmp_path) as (staged, readers):
        mount = staged.mount
        start = time.monotonic()
        assert unmount(mount.path, "-z").returncode == 0
        assert seconds_to_end(mount.process, start) < END_SECONDS
        assert mount.process.returncode == 0
        expect_no_more_readers(readers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_daemon_and_readers(tmp_path: Path, number: int) -> None:
    with waited_in(tmp_path) as (staged, readers):
        mount = staged.mount
        start = time.monotonic()
        mount.process.send_signal(number)
        assert seconds_to_end(mount.process, start) < END_SECONDS
        assert mount.process.returncode == 0
        assert not is_listed(mount.path)
        expect_no_more_readers(readers)
