"""What the end-to-end tests are staged with: mounts on loopback, processes, conditions.

Everything waits for a condition, with a deadline.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.types import Address, FeedId
from tests.mounts import Mount, installed_command, mounted
from tests.node_peer import LOOPBACK
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.namespaces import Host

WAIT_SECONDS = long_or_short(600.0, 30.0)  # an upper bound for a slow machine, not a delay
LOOK_SECONDS = 0.005
# That one mount may be used, by all tests of a module at most; the limits of a test are above that.
MOUNT_SECONDS = long_or_short(3000.0, 150.0)
PORTS = range(20_000, 32_000)  # below those that the kernel gives to who dials
# Where the kernel lets a process sleep for an answer of FUSE: of a direct read (the second on newer
# kernels), of a read through the page cache, and in mmap() for pages that another one waits for.
FUSE_WAITS = ("request_wait_answer", "fuse", "folio_wait_bit_common", "__folio_lock")


def free_port() -> int:
    """A TCP port of loopback that nobody listens on, for who must know it before it is used."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def options(port: int, *peers: Address, more: Sequence[str] = ()) -> str:
    """Mount options of a node on loopback that listens on a port and dials the peers."""
    always = ["nodht", "nolan", "noportmap", f"bind={LOOPBACK}", f"port={port}"]
    return ",".join([*always, *(f"peer={peer}" for peer in peers), *more])


@contextmanager
def mounted_at(
    directory: Path, name: str, port: int, *peers: Address, more: Sequence[str] = ()
) -> Iterator[Mount]:
    """A mount of the installed command on loopback; see `tests.mounts.mounted`."""
    settings = options(port, *peers, more=more)
    with mounted(directory, "-o", settings, name=name, watchdog_seconds=MOUNT_SECONDS) as mount:
        yield mount


@contextmanager
def owner_and_reader(directory: Path, *, more: Sequence[str] = ()) -> Iterator[tuple[Mount, Mount]]:
    """Two mounts; the second dials the first, and has `more` options."""
    port = free_port()
    with (
        mounted_at(directory, "owner", port) as owner,
        mounted_at(directory, "reader", free_port(), at(port), more=more) as reader,
    ):
        yield owner, reader


@contextmanager
def mounted_on(host: Host, directory: Path, name: str, settings: str) -> Iterator[Mount]:
    """A mount whose daemon is on a host; its files are those of all."""
    command = host.command(*installed_command())
    with mounted(
        *(directory, "-o", settings), command=command, name=name, watchdog_seconds=MOUNT_SECONDS
    ) as mount:
        yield mount


def at(port: int) -> Address:
    """The address of a port on loopback."""
    return Address(LOOPBACK, port)


def wait_until(condition: Callable[[], bool], timeout_seconds: float = WAIT_SECONDS) -> None:
    """Returns when it is true; looks often."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(LOOK_SECONDS)


def xattr(feed: Path, name: str) -> str:
    """The value of `protozorfs.NAME` of a feed's file."""
    return os.getxattr(feed, f"protozorfs.{name}").decode()


def number(feed: Path, name: str) -> int:
    """The value of a `protozorfs.NAME` that is a number."""
    return int(xattr(feed, name))


def id_of(feed: Path) -> FeedId:
    """The ID of a feed's file."""
    return FeedId(bytes.fromhex(xattr(feed, "id")))


def follow(feed_id: FeedId, path: Path) -> Path:
    """Follows a feed as the file at `path`, as `ln -s` does; returns `path`."""
    path.symlink_to(feed_id.hex())
    return path


def wait_size(feed: Path, size: int) -> None:
    """Waits until that many bytes of the feed are known."""
    wait_until(lambda: feed.stat().st_size >= size)


def wait_whole(feed: Path, size: int) -> None:
    """Waits until that many bytes of the feed are here."""
    wait_until(lambda: number(feed, "local") >= size)


def shell(command: str, timeout_seconds: float = WAIT_SECONDS) -> str:
    """Runs a shell command that must succeed and say nothing on standard error."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=timeout_seconds
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def are_same(one: Path, other: Path) -> bool:
    """What `cmp` says of two files, one of which may be waiting for its bytes."""
    return subprocess.run(["cmp", one, other], timeout=WAIT_SECONDS).returncode == 0


def _sleeps(process: subprocess.Popen[bytes]) -> str | None:
    """How often a process that sleeps for an answer of FUSE has gone to sleep; None if it runs."""
    directory = Path(f"/proc/{process.pid}")
    place = (directory / "wchan").read_text()
    if not any(wait in place for wait in FUSE_WAITS):
        return None
    lines = (directory / "status").read_text().splitlines()
    return next(line for line in lines if line.startswith("voluntary_ctxt_switches"))


def waits_for(process: subprocess.Popen[bytes], feed: Path) -> bool:
    """True while a process that has a feed's file open sleeps for an answer that takes longer.

    What the mount can answer at once it has answered before what it is asked after it: a process
    that sleeps on through that waits for bytes that are not here.
    """
    before = _sleeps(process)
    for _ in range(3):
        os.statvfs(feed.parent)
    if before is None or _sleeps(process) != before:
        return False
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(os.readlink(link) == str(feed) for link in links)


def wait_until_waiting(feed: Path, *processes: subprocess.Popen[bytes]) -> None:
    """Returns when every one of the processes sleeps for bytes of the feed."""
    wait_until(lambda: all(waits_for(process, feed) for process in processes))


@contextmanager
def running(
    *command: str | Path, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is killed at the end.

    It starts with default signal dispositions: a test run in the background ignores SIGINT, and
    what it starts would do so, too.
    """
    process = subprocess.Popen(
        ["env", "--default-signal", *command],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
