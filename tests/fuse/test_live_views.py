"""`.live/NAME`: the stream that never ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.durations import are_fast
from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.fuse.test_waiting_reads import DEATH_SECONDS, is_waiting, reader
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

WHILE_READ = 'while read -r line; do echo "got $line"; done < "$1"; echo ended'


def live(path: Path, suffix: str = "") -> Path:
    """The live view of a feed's file."""
    return path.parent / ".live" / (path.name + suffix)


def test_a_read_waits_at_the_end_for_the_next_block(shared: Staged) -> None:
    path = shared.owned(b"one\n")
    with reader("cat", live(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        for line in (b"two\n", b"three\n"):
            wait_until(lambda: is_waiting(process))
            with path.open("ab") as file:
                file.write(line)
            assert process.stdout.readline() == line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_reader_at_the_end(shared: Staged, number: int) -> None:
    path = shared.owned(b"one\n")
    with reader("cat", live(path)) as process:
        wait_until(lambda: is_waiting(process))
        process.send_signal(number)
        assert process.wait(DEATH_SECONDS) == -number
    wait_until(lambda: shared.control("show", path.name)["handles"] == 0)


def test_the_fallback_ends_readers_at_the_end_too(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage(flags=("--watch-proc",)) as staged:
        path = staged.owned(b"one\n")
        with reader("cat", live(path)) as process, reader("cat", live(path, "@0")) as bystander:
            wait_until(lambda: staged.control("show", path.name)["waiting"] == 2)
            process.terminate()
            assert process.wait(DEATH_SECONDS) == -signal.SIGTERM
            assert bystander.poll() is None


def test_while_read_works_and_can_be_killed(shared: Staged) -> None:
    path = shared.owned(b"one\ntwo\n")
    with reader("bash", "-c", WHILE_READ, "sh", live(path)) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"got one\n"
        assert shell.stdout.readline() == b"got two\n"
        wait_until(lambda: is_waiting(shell))
        shared.control("stage", path.name, blocks=["three\n"])
        assert shell.stdout.readline() == b"got three\n"
        wait_until(lambda: is_waiting(shell))
        shell.terminate()
        assert shell.wait(DEATH_SECONDS) == -signal.SIGTERM
        assert shell.stdout.read() == b""


def test_missing_bytes_are_waited_for(shared: Staged) -> None:
    path = shared.followed(200_000, 70_000)
    data = pattern_bytes(200_000)
    with live(path).open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 100_001, 0) == data[:70_000]
        timer = threading.Timer(0.1, shared.control, ("hold", path.name), {"count": 200_000})
        timer.start()
        assert os.pread(file.fileno(), 200_000, 70_000) == data[70_000:]
        timer.join()


def test_nonblocking_reads_never_wait(shared: Staged) -> None:
    path = shared.followed(10_000, 5_000)
    descriptor = os.open(live(path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert os.read(descriptor, 100_000) == pattern_bytes(10_000)[:5_000]
        expect(errno.EAGAIN, lambda: os.read(descriptor, 10))
        shared.control("hold", path.name, count=10_000)
        assert len(os.read(descriptor, 100_000)) == 5_000
        expect(errno.EAGAIN, lambda: os.read(descriptor, 10))
    finally:
        os.close(descriptor)


def test_a_view_from_a_block_on(shared: Staged) -> None:
    path = shared.owned(b"")
    for line in (b"zero\n", b"one\n", b"two\n"):
        with path.open("ab") as file:
            file.write(line)
    assert live(path, "@1").stat().st_size == len(b"one\ntwo\n")
    with live(path, "@1").open("rb", buffering=0) as file:
        assert file.read(100) == b"one\ntwo\n"
    with reader("cat", live(path, "@4")) as process:
        wait_until(lambda: is_waiting(process))
        shared.control("stage", path.name, blocks=["three\n", "four\n"])
        assert process.stdout is not None
        assert process.stdout.readline() == b"four\n"


def test_a_view_waits_for_the_position_of_its_block(shared: Staged) -> None:
    path = shared.followed(0, 0)
    shared.control("stage", path.name, blocks=["zero\n", "one\n"])
    shared.control("set", path.name, hides_blocks=True)
    nonblocking = os.open(live(path, "@1"), os.O_RDONLY | os.O_NONBLOCK)
    expect(errno.EAGAIN, lambda: os.read(nonblocking, 10))
    with reader("cat", live(path, "@1")) as process:
        wait_until(lambda: is_waiting(process))
        shared.control("set", path.name, hides_blocks=False)
        shared.control("hold", path.name, count=9)
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
    assert os.read(nonblocking, 10) == b"one\n"
    os.close(nonblocking)


def test_live_from_end(stage: Callable[..., AbstractContextManager[Staged]]) -> None:
    with stage("-o", "live_from=end") as staged:
        path = staged.owned(b"old\n")
        with reader("cat", live(path)) as process:
            wait_until(lambda: staged.control("show", path.name)["waiting"] == 1)
            staged.control("stage", path.name, blocks=["new\n"])
            assert process.stdout is not None
            assert process.stdout.readline() == b"new\n"
        with live(path, "@0").open("rb", buffering=0) as file:
            assert file.read(100) == b"old\nnew\n"


def test_a_name_with_an_at_sign_is_a_name_first(shared: Staged) -> None:
    path = shared.owned(b"plain\n")
    named = shared.path / f"{path.name}@1"
    named.write_bytes(b"")
    with named.open("ab") as file:
        file.write(b"with a sign\n")
    with live(named).open("rb", buffering=0) as file:
        assert file.read(100) == b"with a sign\n"
    with live(named, "@0").open("rb", buffering=0) as file:
        assert file.read(100) == b"with a sign\n"


def test_ordinary_tools_read_what_there_is(shared: Staged) -> None:
    path = shared.owned(b"one\ntwo\nthree\n")
    for command in ("head -n 2", "head -c 8", "sed -u 2q"):
        done = subprocess.run(
            ["bash", "-c", f"{command} < {live(path)}"], stdout=subprocess.PIPE, timeout=10
        )
        assert done.stdout == b"one\ntwo\n", command
    done = subprocess.run(["tail", "-n", "1", live(path)], stdout=subprocess.PIPE, timeout=10)
    assert done.stdout == b"three\n"


def test_the_directory_is_reached_but_not_seen(shared: Staged) -> None:
    path = shared.owned(b"one\n")
    assert not {".live", ".protozorfs"} & set(os.listdir(shared.path))
    assert path.name in os.listdir(shared.path / ".live")
    assert live(path).stat().st_mode & 0o777 == 0o444
    assert os.getxattr(live(path), "protozorfs.id") == os.getxattr(path, "protozorfs.id")
    assert live(path).stat().st_ino != path.stat().st_ino
    with live(path.parent / os.getxattr(path, "protozorfs.id").decode()).open("rb") as file:
        assert file.readline() == b"one\n"
    expect(errno.ENOENT, live(shared.path / "nothing").stat)
    expect(errno.ENOENT, live(path, "@x").stat)


def test_nothing_can_be_changed_there(shared: Staged) -> None:
    path = shared.owned(b"one\n")
    view = live(path)
    expect(errno.EACCES, lambda: view.open("ab"))
    expect(errno.EACCES, lambda: view.open("wb"))
    expect(errno.EPERM, lambda: (view.parent / "new").open("ab"))
    expect(errno.EPERM, view.unlink)
    expect(errno.EPERM, lambda: path.rename(view.parent / "new"))
    expect(errno.EPERM, lambda: view.rename(shared.path / "new"))
    expect(errno.EPERM, lambda: view.parent.rename(shared.path / "new"))
    expect(errno.EPERM, view.parent.rmdir)
    expect(errno.EPERM, lambda: (view.parent / "dir").mkdir())
    expect(errno.EPERM, lambda: (view.parent / "link").symlink_to("0" * 64))
    expect(errno.EACCES, lambda: os.truncate(view, 4))
    assert path.read_bytes() == b"one\n"


def test_two_hundred_waiting_live_readers_slow_nobody_down(shared: Staged) -> None:
    path, other = shared.owned(b"one\n"), shared.owned()
    script = (
        "import os, sys, threading\n"
        "def read():\n"
        "    fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "    assert os.pread(fd, 100, 4) == b'two\\n'\n"
        "threads = [threading.Thread(target=read) for _ in range(200)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    with reader(sys.executable, "-c", script, live(path)) as process:
        wait_until(lambda: shared.control("show", path.name)["waiting"] == 200)
        calls: list[Callable[[], object]] = [
            lambda: os.listdir(shared.path),
            lambda: os.statvfs(shared.path),
            path.stat,
            other.read_bytes,
        ]
        for call in calls:
            assert are_fast(call)
        shared.control("stage", path.name, blocks=["two\n"])
        assert process.wait(DEATH_SECONDS * 5) == 0
