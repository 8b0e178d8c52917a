"""Reads of bytes that are known but not here: they wait, and everything can end them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.durations import are_fast
from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

READERS = 100
DEATH_SECONDS = 2.0  # it takes 2 ms; the machine may be busy

HANDLES_SIGNAL = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    os.read(fd, 100)
except InterruptedError:
    print("interrupted")
"""


@contextmanager
def reader(*command: str | Path, **options: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that will wait; it is killed at the end."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def is_waiting(process: subprocess.Popen[bytes]) -> bool:
    """True once the process sleeps in the kernel for an answer of FUSE."""
    with open(f"/proc/{process.pid}/wchan") as file:
        return file.read() == "request_wait_answer"


def missing(staged: Staged) -> Path:
    """A feed of which 5000 of 10 000 bytes are here."""
    return staged.followed(10_000, 5_000)


def test_what_is_here_is_read_at_once_and_anything_else_whole(shared: Staged) -> None:
    path = missing(shared)
    data = pattern_bytes(10_000)
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor() as threads:
        assert os.pread(file.fileno(), 5_000, 0) == data[:5_000]
        assert os.pread(file.fileno(), 100, 4_900) == data[4_900:5_000]
        rest = threads.submit(os.pread, file.fileno(), 10_001, 4_999)
        for count in (7_000, 9_999):
            wait_until(lambda: shared.control("show", path.name)["waiting"] == 1)
            shared.control("hold", path.name, count=count)
            assert not rest.done()
        shared.control("hold", path.name, count=10_000)
        assert rest.result(DEATH_SECONDS) == data[4_999:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_cat(shared: Staged, number: int) -> None:
    with reader("cat", missing(shared)) as process:
        wait_until(lambda: is_waiting(process))
        start = time.monotonic()
        process.send_signal(number)
        assert process.wait(DEATH_SECONDS) == -number
        assert time.monotonic() - start < DEATH_SECONDS


def test_a_signal_ends_tail(shared: Staged) -> None:
    with reader("tail", "-c", "5", missing(shared)) as process:
        wait_until(lambda: is_waiting(process))
        process.terminate()
        assert process.wait(DEATH_SECONDS) == -signal.SIGTERM


def test_a_handled_signal_ends_the_read_with_eintr(shared: Staged) -> None:
    path = shared.followed(10_000, 0)
    with reader(sys.executable, "-c", HANDLES_SIGNAL, path) as process:
        wait_until(lambda: is_waiting(process))
        process.terminate()
        assert process.stdout is not None
        assert process.stdout.readline() == b"handled\n"
        # Python retries after its handler, so the program waits again and then gets its data.
        wait_until(lambda: is_waiting(process))
        shared.control("hold", path.name, count=10_000)
        assert process.wait(DEATH_SECONDS) == 0


def test_a_signal_reaches_a_reader_of_an_inherited_descriptor(shared: Staged) -> None:
    path = missing(shared)
    with path.open("rb", buffering=0) as file:
        file.seek(5_000)
        # One after the other: two would wait for the file position that they share, not for us.
        for _ in range(2):
            with reader("cat", stdin=file.fileno()) as process:
                wait_until(lambda: is_waiting(process))
                process.terminate()
                assert process.wait(DEATH_SECONDS) == -signal.SIGTERM


def test_ctrl_c_ends_a_pipeline(shared: Staged) -> None:
    path = missing(shared)
    with reader("bash", "-c", f"cat {path} | grep x", process_group=0) as shell:
        wait_until(lambda: shared.control("show", path.name)["handles"] == 1)
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(DEATH_SECONDS)


def test_timeout_ends_a_reader(shared: Staged) -> None:
    done = subprocess.run(
        ["timeout", "0.2", "cat", missing(shared)], capture_output=True, timeout=10, check=False
    )
    assert done.returncode == 124


def test_the_fallback_ends_readers_too(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage(flags=("--watch-proc",)) as staged:
        path, other = missing(staged), missing(staged)
        with reader("cat", path) as process, reader("cat", other) as bystander:
            wait_until(lambda: is_waiting(process) and is_waiting(bystander))
            process.terminate()
            assert process.wait(DEATH_SECONDS) == -signal.SIGTERM
            assert bystander.poll() is None
            staged.control("hold", other.name, count=10_000)
            assert bystander.wait(DEATH_SECONDS) == 0


def test_many_waiting_readers_slow_nobody_down(shared: Staged) -> None:
    path, other = missing(shared), shared.owned()
    readers = [
        subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(READERS)
    ]
    try:
        wait_until(lambda: all(is_waiting(process) for process in readers))
        calls: dict[str, Callable[[], object]] = {
            "listdir": lambda: os.listdir(shared.path),
            "stat": lambda: os.stat(path),
            "statvfs": lambda: os.statvfs(shared.path),
            "read": other.read_bytes,
        }
        for name, call in calls.items():
            assert are_fast(call), name
        for process in readers[: READERS // 2]:
            process.kill()
        for process in readers[: READERS // 2]:
            process.wait(DEATH_SECONDS)
        shared.control("hold", path.name, count=10_000)
        for process in readers[READERS // 2 :]:
            assert process.wait(DEATH_SECONDS) == 0
    finally:
        for process in readers:
            process.kill()
            process.wait(10)


def test_read_timeout(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    with stage("-o", "read_timeout=0.3") as staged:
        path = staged.followed(10_000, 0)
        start = time.monotonic()
        expect(errno.ETIMEDOUT, path.read_bytes)
        assert 0.25 < time.monotonic() - start < 5


def test_local_never_waits(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    with stage("-o", "local") as staged:
        path = missing(staged)
        with path.open("rb", buffering=0) as file:
            assert len(os.pread(file.fileno(), 5_000, 0)) == 5_000
            expect(errno.ENODATA, lambda: os.pread(file.fileno(), 100, 4_950))
            expect(errno.ENODATA, lambda: os.pread(file.fileno(), 100, 5_000))
        expect(errno.ENODATA, path.read_bytes)
        unknown = staged.followed(0, 0)
        staged.control("search", unknown.name)
        expect(errno.ENODATA, unknown.read_bytes)


def test_tail_follows(shared: Staged) -> None:
    path = shared.owned(b"one\n")
    with reader("tail", "-f", "-s", "0.05", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        shared.control("stage", path.name, blocks=["two\n"])
        assert process.stdout.readline() == b"two\n"
        process.terminate()
        assert process.wait(DEATH_SECONDS) == -signal.SIGTERM
