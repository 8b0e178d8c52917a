"""Readers of bytes whose peer has gone: signals end them at once, and they slow nobody down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.half_held import FIRST_MISSING, HalfHeld, half_held
from tests.e2e.stage import WAIT_SECONDS, running, shell, wait_until_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fuse

END_SECONDS = 0.5  # from the signal to the end of the process
P99_SECONDS = 0.05  # of a system call while readers wait
READERS = 100
CALLS = 300
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
            assert p99(call) < P99_SECONDS, name
        assert sorted(os.listdir(mount)) == ["other", "paul"]
        assert other.read_bytes() == expected
        assert [reader.poll() for reader in readers] == [None] * READERS


def p99(call: Callable[[], object]) -> float:
    """The 99th percentile of the duration of a call, in seconds."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[CALLS * 99 // 100]
