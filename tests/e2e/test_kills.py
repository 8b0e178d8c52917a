"""The daemon is killed at random while a shell appends: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    WAIT_SECONDS,
    are_same,
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    number,
    options,
    wait_size,
    wait_until,
    xattr,
)
from tests.mounts import is_listed, start_mount, unmount
from tests.node_peer import node_reader
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.interop, pytest.mark.crash, pytest.mark.slow]

KILLS = long_or_short(50, 10)
MAX_APPENDING_SECONDS = 0.4  # from the first acknowledged line of a run to the kill
# Appends numbered lines, each by an open and a write of its own; says a number when its line is in.
APPEND = 'n=$1; while echo "line $n" >> "$2"; do echo "$n"; n=$((n + 1)); done 2> /dev/null'


@contextmanager
def appending(feed: Path, first: int, acknowledged: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that appends from line number `first` on until that fails."""
    with acknowledged.open("wb") as file:
        command = ["bash", "-c", APPEND, "append", str(first), str(feed)]
        process = subprocess.Popen(command, stdout=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def lines(count: int) -> bytes:
    return b"".join(b"line %d\n" % index for index in range(count))


def kill_while_appending(
    directory: Path, settings: str, *, followed: Path, first: int, seconds: float
) -> int:
    """One run of the daemon, whose feed another mount follows; returns the lines acknowledged."""
    acknowledged = directory / "acknowledged"
    mount = start_mount(directory, "-o", settings)
    feed = mount.path / "journal"
    try:
        content = feed.read_bytes() if feed.exists() else b""
        assert content == lines(first)
        with appending(feed, first, acknowledged) as shell:
            wait_until(lambda: acknowledged.stat().st_size > 0)
            if not followed.exists():
                follow(id_of(feed), followed)
            time.sleep(seconds)
            mount.process.send_signal(signal.SIGKILL)
            shell.wait(WAIT_SECONDS)
    finally:
        mount.process.kill()
        mount.process.wait()
    assert "Traceback" not in mount.said
    numbers = [int(line) for line in acknowledged.read_text().split()]
    assert numbers == list(range(first, first + len(numbers)))
    return first + len(numbers)


def lines_after_restart(directory: Path, settings: str, acknowledged: int) -> int:
    """Mounts again, over the dead mount; returns how many lines there are, which must be right.

    The line that was being written when the daemon was killed may be there, or not.
    """
    mount = start_mount(directory, "-o", settings)
    try:
        feed = mount.path / "journal"
        content = feed.read_bytes()
        count = content.count(b"\n")
        assert acknowledged <= count <= acknowledged + 1
        assert content == lines(count)
        assert number(feed, "length") == count
        assert xattr(feed, "state") == "owned"
        return count
    finally:
        mount.process.send_signal(signal.SIGKILL)
        mount.process.wait()


def test_no_acknowledged_line_is_lost_by_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    port, count = free_port(), 0
    settings = options(port)
    with ExitStack() as stack:
        follower = stack.enter_context(mounted_at(tmp_path, "follower", free_port(), at(port)))
        stack.callback(lambda: is_listed(tmp_path / "m") and unmount(tmp_path / "m", "-z"))
        followed = follower.path / "journal"
        for _ in range(KILLS):
            seconds = chance.uniform(0, MAX_APPENDING_SECONDS)
            acknowledged = kill_while_appending(
                tmp_path, settings, followed=followed, first=count, seconds=seconds
            )
            assert acknowledged > count
            count = lines_after_restart(tmp_path, settings, acknowledged)
        with mounted_at(tmp_path, "m", port) as mount:
            feed = mount.path / "journal"
            with node_reader(id_of(feed), connect=[at(port)], length=count) as reader:
                figures = reader.figures(WAIT_SECONDS)
                assert reader.received() == lines(count)
                assert figures["sizes"] == [len(b"line %d\n" % index) for index in range(count)]
                assert (figures["invalid"], figures["conflict"]) == (0, False)
                assert reader.wait() == 0
            wait_size(followed, len(lines(count)))
            assert are_same(feed, followed)
            assert xattr(followed, "state") == "current"
