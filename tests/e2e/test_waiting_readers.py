"""Readers of bytes whose peer has gone: signals end them at once, and they slow nobody down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.durations import are_fast, seconds_of
from tests.e2e.half_held import FIRST_MISSING, HalfHeld, half_held
from tests.e2e.stage import WAIT_SECONDS, running, shell, wait_until, wait_until_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fuse

END_SECONDS = 0.5  # from the signal to the end of the process
READERS = 100
CACHED_READERS = 20  # more than the kernel lets wait at once by itself
FIRST_PAGE = 520_192  # a multiple of 4096 behind the first byte that is missing
PAGE_CACHE_SECONDS = 30.0  # the longest that such waits may hold up reads of other files
LS_SLACK_SECONDS = 0.02  # of a process start on a busy machine
SENDFILE = """
import os, socket, sys
feed, offset = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
os.posix_fadvise(feed, 0, 0, os.POSIX_FADV_RANDOM)
one, other = socket.socketpair()
os.sendfile(one.fileno(), feed, offset, 100)
"""
SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
SIGINT_HANDLER = """
import signal, sys
def end(number, frame):
    print("handled", flush=True)
    raise SystemExit(3)
signal.signal(signal.SIGINT, end)
with open(sys.argv[1], "rb") as feed:
    while feed.read(65536):
        pass
"""
NO_HANDLER = "import sys; open(sys.argv[1], 'rb').read()"


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HalfHeld]:
    """One half-held feed for all tests, none of which changes it; and an owned feed beside it."""
    with half_held(tmp_path_factory.mktemp("stalled")) as staged:
        shell(f"seq 1 1000 >> {staged.mount.path}/other")
        yield staged


def end_by(stalled: HalfHeld, process: subprocess.Popen[bytes], number: int) -> int:
    """Sends a signal to a process once it waits; returns how it ended, which must be soon."""
    wait_until_waiting(stalled.feed, process)
    start = time.monotonic()
    process.send_signal(number)
    code = process.wait(WAIT_SECONDS)
    assert time.monotonic() - start < END_SECONDS
    return code


@SIGNALS
def test_a_signal_ends_cat(stalled: HalfHeld, number: int) -> None:
    with running("cat", stalled.feed) as process:
        assert end_by(stalled, process, number) == -number


@SIGNALS
def test_a_signal_ends_a_shell_that_reads_lines(stalled: HalfHeld, number: int) -> None:
    command = f"while read l; do :; done < {stalled.feed}"
    with running("bash", "-c", command) as process:
        assert end_by(stalled, process, number) == -number


@SIGNALS
def test_a_signal_ends_a_reader_of_a_file_that_another_opened(
    stalled: HalfHeld, number: int
) -> None:
    with stalled.feed.open("rb", buffering=0) as file:
        file.seek(FIRST_MISSING)
        with running("cat", stdin=file.fileno()) as process:
            assert end_by(stalled, process, number) == -number


def test_sigint_runs_the_handler_of_a_python_reader(stalled: HalfHeld) -> None:
    with running(
        sys.executable, "-c", SIGINT_HANDLER, stalled.feed, stdout=subprocess.PIPE
    ) as process:
        assert end_by(stalled, process, signal.SIGINT) == 3
        assert process.stdout is not None
        assert process.stdout.read() == b"handled\n"


def test_sigint_ends_a_python_reader_by_keyboard_interrupt(stalled: HalfHeld) -> None:
    with running(sys.executable, "-c", NO_HANDLER, stalled.feed) as process:
        assert end_by(stalled, process, signal.SIGINT) == -signal.SIGINT
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()


def test_a_hundred_waiting_readers_slow_nobody_down(stalled: HalfHeld) -> None:
    mount, other = stalled.mount.path, stalled.mount.path / "other"
    expected = other.read_bytes()
    with ExitStack() as stack:
        readers = [stack.enter_context(running("cat", stalled.feed)) for _ in range(READERS)]
        wait_until_waiting(stalled.feed, *readers)
        calls: dict[str, Callable[[], object]] = {
            "listdir": lambda: os.listdir(mount),
            "stat": lambda: os.stat(stalled.feed),
            "statvfs": lambda: os.statvfs(mount),
            "read": other.read_bytes,
        }
        for name, call in calls.items():
            assert are_fast(call), name
        assert sorted(os.listdir(mount)) == ["other", "paul"]
        assert other.read_bytes() == expected
        assert [reader.poll() for reader in readers] == [None] * READERS


def test_readers_of_all_kinds_slow_nobody_down(stalled: HalfHeld) -> None:
    """200 waiting reads, of files and of live views, and 20 through the page cache."""
    mount, other = stalled.mount.path, stalled.mount.path / "other"
    live = mount / ".live" / "paul"
    before = seconds_of("ls", "-l", mount)
    with ExitStack() as stack:
        kinds = [stalled.feed, live]
        direct = [stack.enter_context(running("cat", kinds[n % 2])) for n in range(2 * READERS)]
        cached = [
            stack.enter_context(
                running(sys.executable, "-c", SENDFILE, stalled.feed, str(FIRST_PAGE + 4096 * n))
            )
            for n in range(CACHED_READERS)
        ]
        wait_until_waiting(stalled.feed, *direct[::2])
        wait_until(lambda: all("folio" in wchan(process) for process in cached))
        with other.open("ab", buffering=0) as appending:
            calls: dict[str, Callable[[], object]] = {
                "listdir": lambda: os.listdir(mount),
                "stat": lambda: os.stat(stalled.feed),
                "statvfs": lambda: os.statvfs(mount),
                "read": other.read_bytes,
                "append": lambda: appending.write(b"x\n"),
            }
            for name, call in calls.items():
                assert are_fast(call), name
        # Through the page cache, too, other files are read.
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", SENDFILE, other, "0"], check=True, timeout=30)
        assert time.monotonic() - started < PAGE_CACHE_SECONDS
        assert seconds_of("ls", "-l", mount) < 1.5 * before + LS_SLACK_SECONDS
        for process in direct[:6]:
            process.send_signal(signal.SIGINT)
            assert process.wait(END_SECONDS) == -signal.SIGINT
        assert [reader.poll() for reader in direct[6:] + cached] == [None] * (
            2 * READERS - 6 + CACHED_READERS
        )


def wchan(process: subprocess.Popen[bytes]) -> str:
    """What a process sleeps in, as the kernel calls it."""
    return Path(f"/proc/{process.pid}/wchan").read_text()
