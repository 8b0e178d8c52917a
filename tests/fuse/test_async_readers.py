"""Readers by the kernel's AIO and io_uring, which do not wait in read(2), end as others do."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.memory_control import pattern_bytes
from tests.mounts import unmount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SOURCE = Path(__file__).with_name("async_reader.c")
INTERFACES = ("aio", "uring", "uring-worker")
IS_UNAVAILABLE = 2  # exit codes of async_reader
HAS_FAILED = 3
SIZE, HELD = 200_000, 50_000
OFFSET, COUNT = 40_000, 20_000  # what is read: the first half is here
DEATH_SECONDS = 2.0  # it takes 3 ms; the machine may be busy


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader, compiled."""
    path = tmp_path_factory.mktemp("async") / "async_reader"
    subprocess.run(["gcc", "-O1", "-o", path, SOURCE], check=True, timeout=60)
    return path


@contextmanager
def reader(program: Path, interface: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that reads; skips where the kernel does not offer the interface."""
    tried = subprocess.run(
        [program, interface, "/proc/self/maps", "0", "1"], capture_output=True, check=False
    )
    if tried.returncode == IS_UNAVAILABLE:
        pytest.skip(f"the kernel does not offer this here: {tried.stderr.decode().strip()}")
    command = [str(program), interface, str(path), str(OFFSET), str(COUNT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_waiting(staged: Staged, path: Path) -> None:
    wait_until(lambda: staged.control("show", path.name)["waiting"] == 1)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_read_waits_and_is_whole(program: Path, shared: Staged, interface: str) -> None:
    path = shared.followed(SIZE, HELD)
    with reader(program, interface, path) as process:
        wait_until_waiting(shared, path)
        shared.control("hold", path.name, count=SIZE)
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, b"")
        assert output == pattern_bytes(SIZE)[OFFSET : OFFSET + COUNT]


@pytest.mark.parametrize("interface", INTERFACES)
def test_sigkill_ends_the_process_and_its_wait(
    program: Path, staged: Staged, interface: str
) -> None:
    path = staged.followed(SIZE, HELD)
    with reader(program, interface, path) as process:
        wait_until_waiting(staged, path)
        process.kill()
        process.wait(DEATH_SECONDS)
        wait_until(lambda: staged.control("show", path.name)["waiting"] == 0)
    wait_until(lambda: staged.control("show", path.name)["handles"] == 0)
    done = unmount(staged.path)
    assert (done.returncode, done.stderr) == (0, b""), "nothing is left that keeps the mount busy"


# A worker thread of io_uring's has no handlers: its read goes on, as that of any other thread does.
@pytest.mark.parametrize("interface", ["aio", "uring"])
def test_a_handled_signal_ends_the_read_with_eintr(
    program: Path, shared: Staged, interface: str
) -> None:
    path = shared.followed(SIZE, HELD)
    with reader(program, interface, path) as process:
        wait_until_waiting(shared, path)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (HAS_FAILED, b"", b"EINTR\n")


def test_the_kernel_was_told_not_to_read_behind_the_back_of_the_caller(
    program: Path, shared: Staged
) -> None:
    path = shared.followed(SIZE, HELD)
    with reader(program, "aio", path) as process:
        wait_until_waiting(shared, path)
        place = Path(f"/proc/{process.pid}/wchan")
        wait_until(lambda: place.read_text() == "request_wait_answer")
