"""From mounting to the end of the daemon, whichever way it comes: docs/manual.md."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from protozorfs.fs import mount_points
from protozorfs.fs.mount import MountOptions, serve
from protozorfs.fs.mount_points import MountError
from protozorfs.fs.self_test import SelfTest
from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.fuse.test_waiting_reads import is_waiting, missing, reader
from tests.memory_control import Control
from tests.memory_feeds import MemoryFeeds
from tests.mounts import (
    abort_connection,
    installed_command,
    is_listed,
    memory_command,
    mounted,
    start_mount,
    unmount,
)
from tests.users import NOBODY, admitting, has_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

STOP_SECONDS = 2.0  # docs/manual.md: the longest that ending takes
MOUNT_FAILURE = 32
SOMEBODYS_ID = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1


def run_command(*arguments: object, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command in the background form, with feeds in memory."""
    return subprocess.run(
        [*memory_command(), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        user=user,
    )


@contextmanager
def cleared(path: Path) -> Iterator[Path]:
    """A mount point from which whatever is there is taken at the end."""
    path.mkdir()
    try:
        yield path
    finally:
        while is_listed(path):
            abort_connection(path)
            assert unmount(path, "-z").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_readers_wait(staged: Staged, number: int) -> None:
    path = missing(staged)
    with reader("cat", path) as one, reader("tail", "-f", path):
        wait_until(lambda: staged.control("show", path.name)["waiting"] == 2)
        assert staged.mount.stop(number) < STOP_SECONDS
        assert staged.mount.process.returncode == 0
        assert one.wait(STOP_SECONDS) == 1
        assert one.stderr is not None
        assert b"Input/output error" in one.stderr.read()
    assert not is_listed(staged.path)


def test_a_mount_whose_self_test_asked_nothing_answers_others(
    stage: Callable[..., AbstractContextManager[Staged]],
) -> None:
    with stage(flags=("--no-self-test",)) as staged:
        assert os.listdir(staged.path) == []
        assert staged.owned().read_bytes() == b"hello\n"


def test_unmounting_ends_it(staged: Staged) -> None:
    assert unmount(staged.path).returncode == 0
    assert staged.mount.process.wait(STOP_SECONDS) == 0


def test_unmounting_is_refused_while_somebody_reads(staged: Staged) -> None:
    path = missing(staged)
    with reader("cat", path) as process:
        wait_until(lambda: is_waiting(process))
        assert unmount(staged.path).returncode != 0
        assert process.poll() is None
        staged.control("hold", path.name, count=10_000)
        assert process.wait(STOP_SECONDS) == 0


def test_a_lazy_unmount_ends_it_while_somebody_reads(staged: Staged) -> None:
    with reader("cat", missing(staged)) as process:
        wait_until(lambda: is_waiting(process))
        assert unmount(staged.path, "-z").returncode == 0
        assert staged.mount.process.wait(STOP_SECONDS) == 0
        assert process.wait(STOP_SECONDS) == 1


def test_an_aborted_connection_ends_it_and_is_unmounted(staged: Staged) -> None:
    with reader("cat", missing(staged)) as process:
        wait_until(lambda: is_waiting(process))
        abort_connection(staged.path)
        assert staged.mount.process.wait(STOP_SECONDS) == 0
        assert process.wait(STOP_SECONDS) == 1
    assert not is_listed(staged.path)


def test_after_a_kill_it_can_be_mounted_again(tmp_path: Path) -> None:
    with mounted(tmp_path, command=memory_command()) as first:
        first.process.kill()
        first.process.wait()
        assert is_listed(first.path)
        with pytest.raises(OSError, match="not connected"):
            os.statvfs(first.path)
        again = start_mount(tmp_path, command=memory_command())
        assert os.listdir(again.path) == []
        assert again.stop() < STOP_SECONDS
        assert not is_listed(again.path)


def test_a_dead_mount_stays_until_the_next_one_can_take_its_place(tmp_path: Path) -> None:
    """So that what others append meanwhile fails, and does not go into the directory below."""
    with mounted(tmp_path) as first, mounted(tmp_path, name="other") as other:
        first.process.kill()
        first.process.wait()
        command = [*installed_command(), str(other.store), str(first.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == MOUNT_FAILURE
        assert "is in use" in done.stderr
        assert is_listed(first.path)


def test_who_appends_while_a_dead_mount_is_cleared_does_not_prevent_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unmount_dead = mount_points.unmount

    def unmount_and_append(mount_point: str) -> None:
        unmount_dead(mount_point)
        (Path(mount_point) / "journal").write_text("appended in between")

    with mounted(tmp_path, command=memory_command()) as first:
        first.process.kill()
        first.process.wait()
        with monkeypatch.context() as patch:
            patch.setattr(mount_points, "unmount", unmount_and_append)
            mount_points.prepare(str(first.path))
        assert "was written there while nothing was mounted is hidden" in caplog.text
        with pytest.raises(MountError, match="not empty"):
            mount_points.prepare(str(first.path))


def test_it_goes_to_the_background_when_it_answers(tmp_path: Path) -> None:
    with cleared(tmp_path / "m") as path:
        done = run_command(tmp_path / "store", path, "-v")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"mount.protozorfs: {tmp_path}/store is mounted at {path}\n"
        (path / "feed").open("ab").close()
        assert os.listdir(path) == ["feed"]
        start = time.monotonic()
        assert unmount(path).returncode == 0
        # The daemon is nobody's child here; its control socket answers as long as it lives.
        wait_until(lambda: not _answers(tmp_path / "store" / "control"))
        assert time.monotonic() - start < STOP_SECONDS


def _answers(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def test_why_a_read_fails_is_logged_once(tmp_path: Path) -> None:
    with mounted(tmp_path) as mount:
        (mount.path / "journal").write_text("hello\n")
    (head,) = mount.store.glob("feeds/*/*/head")
    head.write_bytes(b"")
    with mounted(tmp_path) as mount:
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                (mount.path / "journal").read_bytes()
        told = [line for line in mount.said.splitlines() if "fs.guard" in line]
        assert len(told) == 1
        assert "no head of the feed is left" in told[0]


def test_paths_are_bytes(tmp_path: Path) -> None:
    with mounted(tmp_path, name=os.fsdecode(b"not UTF-8: \xff")) as mount:
        (mount.path / "feed").write_text("hello\n")
        assert (mount.path / "feed").read_text() == "hello\n"
        assert "interrupts are not available" not in mount.said


def test_what_mount_shows(tmp_path: Path) -> None:
    with mounted(tmp_path, "-o", "noexec,nodev", command=memory_command()) as mount:
        with open("/proc/mounts") as mounts:
            (line,) = [line for line in mounts if f" {mount.path} " in line]
        source, _, kind, options = line.split()[:4]
        assert (source, kind) == (str(mount.store), "fuse.protozorfs")
        assert {"noexec", "nodev"} <= set(options.split(","))


def test_a_second_mount_at_the_same_place_is_refused(staged: Staged) -> None:
    done = run_command(staged.mount.store, staged.path)
    assert done.returncode == MOUNT_FAILURE
    assert done.stderr == f"mount.protozorfs: {staged.path}: already mounted\n"


def test_bad_mount_points_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, reason in [("file", "not a directory"), ("missing", "No such file or directory")]:
        for flags in ((), ("--foreground",)):
            done = run_command(tmp_path / "store", tmp_path / name, *flags)
            assert done.returncode == MOUNT_FAILURE
            assert done.stderr == f"mount.protozorfs: {tmp_path / name}: {reason}\n"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("fault", ["crash", "break"])
@pytest.mark.parametrize("is_daemon", [False, True], ids=["foreground", "background"])
def test_an_end_that_nobody_asked_for_leaves_the_dead_mount(
    tmp_path: Path, fault: str, is_daemon: bool
) -> None:
    """A fault in the node, or in a task of the mount: nothing lands in the directory below."""
    store = tmp_path / "m.store"
    with cleared(tmp_path / "m") as path:
        if is_daemon:
            assert run_command(store, path).returncode == 0
        else:
            mount = start_mount(tmp_path, command=memory_command())
        (path / "followed").symlink_to(SOMEBODYS_ID)
        control = Control(store / "control")
        with suppress(ValueError):  # it answers no more
            control(fault, "followed")
            control("stage", "followed", blocks=["news"])  # watchers are to be woken
        control.close()
        wait_until(lambda: mount_points._is_dead(str(path)))
        expect(errno.ENOTCONN, lambda: (path / "journal").open("ab"))
        log = store / "mount.log" if is_daemon else mount.output
        sentence = "the mount failed; it is dead until it is mounted again"
        wait_until(lambda: log.exists() and sentence in log.read_text())
        assert "Traceback" in log.read_text()
        if not is_daemon:
            assert mount.process.wait(STOP_SECONDS * 5) == MOUNT_FAILURE
        assert is_listed(path)
        again = start_mount(tmp_path, command=memory_command())
        assert os.listdir(path) == []
        again.stop()
        assert not is_listed(path)


async def test_what_libfuse_refuses_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = MountOptions(
        mount_point=str(tmp_path), source="x", kernel_options=frozenset({"nonsense"})
    )
    with pytest.raises(MountError, match=r"unknown option.*nonsense") as caught:
        await serve(MemoryFeeds(), options)
    assert caught.value.exit_code == MOUNT_FAILURE
    assert capfd.readouterr().err == ""
    assert not is_listed(tmp_path)


async def test_a_start_that_is_cancelled_just_when_it_would_answer_is_unmounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has been told of the mount: it must not stay without a daemon."""
    starting = trio.CancelScope()
    run = SelfTest.run

    async def run_and_cancel(self_test: SelfTest, *arguments: Any) -> bool:
        succeeded = await run(self_test, *arguments)
        starting.cancel()
        return succeeded

    monkeypatch.setattr(SelfTest, "run", run_and_cancel)
    async with trio.open_nursery() as nursery:
        with starting:
            await nursery.start(
                serve, MemoryFeeds(), MountOptions(mount_point=str(tmp_path), source="x")
            )
    assert starting.cancelled_caught
    assert not is_listed(tmp_path)


def test_names_with_blanks_and_other_letters(tmp_path: Path) -> None:
    directory = tmp_path / "with blank, comma\\ and ü"
    directory.mkdir()
    with mounted(directory, command=memory_command()) as mount:
        assert os.listdir(mount.path) == []
        assert mount.stop() < STOP_SECONDS


def test_fake_does_nothing(tmp_path: Path) -> None:
    done = run_command(tmp_path / "store", tmp_path / "missing", "-f", "-n", "-s", "-o", "rw,what")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not has_user(NOBODY), reason="there is no other user")
def test_without_access_to_fuse_it_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "fuse").touch(0o600)
    code = (
        f"import os, sys; from tests.memory_control import main; os.setuid({NOBODY});"
        f"sys.argv[1:] = ['{tmp_path}/store', '{tmp_path}/m']; sys.exit(main())"
    )
    (tmp_path / "programs").mkdir()
    hiding = f'mount --bind {tmp_path}/fuse /dev/fuse && exec "$@"'
    script = admitting(f"{tmp_path}/programs") + f"\n{hiding}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", memory_command()[0], "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == MOUNT_FAILURE
    assert done.stderr == "mount.protozorfs: no permission to use /dev/fuse\n"


FAILING = """
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from protozorfs.cli.mounting import run
from protozorfs.errors import StoreLocked
import trio

@asynccontextmanager
async def locked(path, options, *, mount_point):
    async with trio.open_nursery():
        raise StoreLocked(str(path), 4711, "/mnt/feeds")
        yield

@asynccontextmanager
async def broken(path, options, *, mount_point):
    raise ZeroDivisionError("oops")
    yield

sys.exit(run(sys.argv[2:], {"locked": locked, "broken": broken}[sys.argv[1]]))
"""


@pytest.mark.parametrize("flags", [(), ("--foreground",)])
@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("locked", "the store {store} is in use by process 4711, mounted at /mnt/feeds"),
        ("broken", "internal error, see --debug: ZeroDivisionError: oops"),
    ],
)
def test_what_goes_wrong_below_is_one_sentence(
    tmp_path: Path, kind: str, sentence: str, flags: tuple[str, ...]
) -> None:
    store, path = tmp_path / "store", tmp_path / "m"
    path.mkdir()
    done = subprocess.run(
        [memory_command()[0], "-c", FAILING, kind, str(store), str(path), *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == MOUNT_FAILURE
    assert done.stderr == f"mount.protozorfs: {sentence.format(store=store)}\n"
