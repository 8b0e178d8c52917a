"""Mounts for tests, none of which can hang: a watchdog aborts the connection.

with mounted(tmp_path, "-o", "nodht") as mount:
    (mount.path / "journal").open("ab").write(b"hello\n")
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.fs.mount_points import mounted_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

START_SECONDS = 20.0  # the machine may be busy
STOP_SECONDS = 10.0
WATCHDOG_SECONDS = 60.0  # well below the limit of a whole test
CONNECTIONS = Path("/sys/fs/fuse/connections")
_UNMOUNT_SECONDS = 10


class MountFailedError(AssertionError):
    """The command ended, or did not answer; the message holds what it said."""


def installed_command() -> list[str]:
    """The `mount.protozorfs` of this environment."""
    path = Path(sys.executable).with_name("mount.protozorfs")
    found = str(path) if path.exists() else shutil.which("mount.protozorfs")
    assert found is not None, "mount.protozorfs is not installed"
    return [found]


def memory_command(*flags: str) -> list[str]:
    """A mount of feeds in memory that a test can stage; see `memory_control`."""
    return [sys.executable, "-m", "tests.memory_control", *flags]


@dataclass
class Mount:
    """A mount of a process in the foreground.

    Attributes:
        path: the mount point.
        store: the store's directory.
        process: the daemon.
        output: the file with all that it said.
    """

    path: Path
    store: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        """Everything that the daemon said so far."""
        return self.output.read_text(errors="replace")

    def abort(self) -> None:
        """Ends every wait of every process in this mount, whatever the daemon does."""
        abort_connection(self.path)
        if self.process.poll() is None:
            self.process.kill()

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Sends a signal; returns after how many seconds the daemon had ended."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)
        return time.monotonic() - start


def is_listed(path: Path) -> bool:
    """True if something is mounted there."""
    return device_of(path) is not None


def device_of(path: Path) -> str | None:
    """The minor device number of the mount at a path, which names its FUSE connection."""
    entry = mounted_at(str(path))
    return None if entry is None else entry.device.partition(":")[2]


def mount_fusectl() -> None:
    """Makes /sys/fs/fuse/connections usable where it is not; only root can."""
    if not any(CONNECTIONS.iterdir()) and os.geteuid() == 0 and not os.path.ismount(CONNECTIONS):
        subprocess.run(
            ["mount", "-t", "fusectl", "fusectl", str(CONNECTIONS)], check=False, timeout=10
        )


def abort_connection(path: Path) -> None:
    """Aborts the connection of the mount at a path, if there is one."""
    minor = device_of(path)
    if minor is not None and (CONNECTIONS / minor / "abort").exists():
        (CONNECTIONS / minor / "abort").write_text("1")


def unmount(path: Path, *flags: str) -> subprocess.CompletedProcess[bytes]:
    """`fusermount3 -u`."""
    command = ["fusermount3", "-u", *flags, str(path)]
    return subprocess.run(command, capture_output=True, timeout=_UNMOUNT_SECONDS, check=False)


def start_mount(
    directory: Path,
    *arguments: str,
    command: Sequence[str] | None = None,
    name: str = "m",
    patience_seconds: float = START_SECONDS,
) -> Mount:
    """Mounts DIRECTORY/NAME.store at DIRECTORY/NAME and returns when it answers.

    Raises:
        MountFailedError
    """
    mount_fusectl()
    path, store = directory / name, directory / f"{name}.store"
    path.mkdir(exist_ok=True) if not is_listed(path) else None
    output = directory / f"{name}.output"
    with output.open("ab") as file:
        said_before = file.tell()
        process = subprocess.Popen(
            [
                *(command or installed_command()),
                *(str(store), str(path), "--foreground", "-v"),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=Path(__file__).parents[1],
        )
    mount = Mount(path, store, process, output)
    deadline = time.monotonic() + patience_seconds
    while " is mounted at " not in mount.said[said_before:]:
        if process.poll() is not None or time.monotonic() > deadline:
            code = process.poll()  # None: it did not answer in time
            mount.abort()
            process.wait()
            unmount(path, "-z")
            raise MountFailedError(f"exit code {code}: {mount.said}")
        time.sleep(0.02)
    return mount


@contextmanager
def mounted(
    directory: Path,
    *arguments: str,
    command: Sequence[str] | None = None,
    name: str = "m",
    watchdog_seconds: float = WATCHDOG_SECONDS,
) -> Iterator[Mount]:
    """A mount for the length of the block, of the installed `mount.protozorfs` by default.

    At the end, or after `watchdog_seconds`, nothing of it is left: neither process nor mount nor
    anybody who waits in it.

    Raises:
        AssertionError: the watchdog had to act, or the daemon logged an error with a trace.
    """
    mount = start_mount(directory, *arguments, command=command, name=name)
    watchdog = _start_watchdog(mount, watchdog_seconds)
    try:
        yield mount
    finally:
        has_bitten = watchdog.poll() is not None
        if not has_bitten:
            os.killpg(watchdog.pid, signal.SIGKILL)
            watchdog.wait()
        _end(mount)
    assert not has_bitten, f"the mount hung:\n{mount.said}"
    assert "Traceback" not in mount.said, mount.said


def _start_watchdog(mount: Mount, seconds: float) -> subprocess.Popen[bytes]:
    """A process that aborts the mount after a while, whatever becomes of this one.

    A thread would not do: a page fault in a mapped file waits with the interpreter's lock held.
    """
    abort = CONNECTIONS / str(device_of(mount.path)) / "abort"
    script = 'sleep "$1"; echo 1 > "$2"; kill -KILL "$3"'
    return subprocess.Popen(
        ["sh", "-c", script, "watchdog", str(seconds), str(abort), str(mount.process.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(mount: Mount) -> None:
    if mount.process.poll() is None:
        try:
            mount.stop()
        except subprocess.TimeoutExpired:
            mount.abort()
            mount.process.wait()
    if is_listed(mount.path):
        unmount(mount.path, "-z")
