"""Waits through the page cache: signals end them, and nobody else runs into the locked pages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protozorfs.fs.signals import has_pending_signal
from tests.e2e.stage import wait_until, wait_until_waiting
from tests.fuse.test_waiting_reads import DEATH_SECONDS, reader
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SIZE = 300_001
HELD = 70_000
GROWTH = 5_000
SENDFILE = """
import os, sys
with open(sys.argv[1], "rb") as feed, open(os.devnull, "wb") as null:
    size = os.fstat(feed.fileno()).st_size
    while size:
        sent = os.sendfile(null.fileno(), feed.fileno(), None, size)
        assert sent, "the end of the file in the middle of it"
        size -= sent
"""
MAPPED = """
import mmap, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(sys.argv[1], "rb") as feed:
    mapped = mmap.mmap(feed.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    assert len(mapped[:]) == len(mapped)
"""
HANDLES_SIGNAL = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"handled\\n"))
"""
FIRST_BYTES = 1_000
KERNELS_LIMIT = 12  # of READs in the background, where nothing raises it
CROWD = 30


@contextmanager
def waiting(script: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that waits in person for bytes that are missing."""
    with reader(sys.executable, "-c", script, path) as process:
        wait_until_waiting(path, process)
        yield process


def sendfile_waiting(path: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return waiting(SENDFILE, path)


@pytest.mark.parametrize("script", [SENDFILE, MAPPED], ids=["sendfile", "mmap"])
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_signal_ends_it(shared: Staged, script: str, number: int) -> None:
    path = shared.followed(SIZE, HELD)
    for growth in (0, GROWTH, 0):
        # The kernel still has the pages that were declined, or drops them as the file grows.
        shared.control("stage", path.name, pattern=growth, held=False)
        with waiting(script, path) as process:
            process.send_signal(number)
            assert process.wait(DEATH_SECONDS) == -number
    shared.control("hold", path.name, count=SIZE + GROWTH)
    run(sys.executable, "-c", script, path)


def test_sendfile_goes_on_behind_a_handled_signal(shared: Staged) -> None:
    path = shared.followed(SIZE, HELD)
    with waiting(HANDLES_SIGNAL + SENDFILE, path) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == b"handled\n"
            wait_until_waiting(path, process)
        shared.control("hold", path.name, count=SIZE)
        assert process.wait(DEATH_SECONDS) == 0


def test_a_mapping_goes_on_behind_a_handled_signal(shared: Staged) -> None:
    path = shared.followed(SIZE, HELD)
    with waiting(HANDLES_SIGNAL + MAPPED, path) as process:
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: not has_pending_signal(process.pid))
        wait_until_waiting(path, process)
        shared.control("hold", path.name, count=SIZE)
        assert process.wait(DEATH_SECONDS) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"handled\n"  # when Python came to it


def test_a_crowd_holds_nobody_up_where_the_kernels_limit_stands(staged: Staged) -> None:
    """As in a container, where it cannot be raised."""
    connection = Path("/sys/fs/fuse/connections") / str(os.stat(staged.path).st_dev)
    (connection / "max_background").write_text(str(KERNELS_LIMIT))
    other = staged.followed(SIZE, SIZE)
    with ExitStack() as stack:
        for number in range(CROWD):
            script = SENDFILE if number % 2 else MAPPED
            stack.enter_context(waiting(script, staged.followed(SIZE, HELD)))
        assert run("cmp", other, other) == b""
        run(sys.executable, "-c", SENDFILE, other)
        run(sys.executable, "-c", MAPPED, other)


def run(*command: str | Path) -> bytes:
    """The output of a command that must not wait."""
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=10, check=True).stdout


def test_opening_and_reading_what_is_here_does_not_wait(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path):
        assert run("head", "-c", str(FIRST_BYTES), path) == pattern_bytes(FIRST_BYTES)


def test_stat_after_growth_does_not_wait(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path) as process:
        staged.control("stage", path.name, pattern=GROWTH, held=False)
        assert int(run("stat", "-c", "%s", path)) == SIZE  # told when the pages are there
        assert path.name in os.listdir(path.parent)
        staged.control("hold", path.name, count=SIZE + GROWTH)
        assert process.wait(DEATH_SECONDS) == 0
        wait_until(lambda: path.stat().st_size == SIZE + GROWTH)
    assert len(path.read_bytes()) == SIZE + GROWTH


def test_stat_after_growth_does_not_wait_when_the_reader_was_killed(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path) as process:
        process.kill()
        assert process.wait(DEATH_SECONDS) == -9
        staged.control("stage", path.name, pattern=GROWTH, held=False)
        run("stat", path)
        assert run("head", "-c", str(FIRST_BYTES), path) == pattern_bytes(FIRST_BYTES)
        staged.control("hold", path.name, count=SIZE + GROWTH)
        wait_until(lambda: path.stat().st_size == SIZE + GROWTH)
