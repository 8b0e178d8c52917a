"""The daemon is killed while readers wait: they end at once, and mounting again just works."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.e2e.half_held import half_held
from tests.e2e.stage import FUSE_WAITS, free_port, options, running, wait_until
from tests.errnos import expect
from tests.mounts import is_listed, start_mount, unmount
from tests.sizes import long_or_short

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = [pytest.mark.fuse, pytest.mark.crash, pytest.mark.slow]

ROUNDS = long_or_short(100, 10)
END_SECONDS = 5.0  # for readers to end after their daemon was killed: at once, on an idle machine
ENDING = {errno.ENOTCONN, errno.ECONNABORTED}


def is_stuck(process: subprocess.Popen[bytes]) -> bool:
    """True while a process waits for an answer of a mount."""
    with open(f"/proc/{process.pid}/wchan") as place:
        where = place.read()
    return any(wait in where for wait in FUSE_WAITS)


def kill_with_readers(mount: Mount, feed: Path) -> None:
    """Kills the daemon under readers of every kind."""
    live = feed.parent / ".live" / feed.name
    commands = [
        ("cat", feed),
        ("cp", feed, os.devnull),  # cp copies within the kernel where it can
        ("tail", "-c", "+1", "-f", feed),
        ("cat", live),
        ("python3", "-c", "import shutil, sys; shutil.copyfile(*sys.argv[1:])", feed, os.devnull),
    ]
    with ExitStack() as stack:
        readers = [stack.enter_context(running(*command)) for command in commands]
        wait_until(lambda: all(is_stuck(reader) for reader in readers))
        start = time.monotonic()
        mount.process.send_signal(signal.SIGKILL)
        for reader in readers:
            assert reader.wait(END_SECONDS) != 0
            assert reader.stderr is not None
            said = reader.stderr.read().decode()
            assert any(os.strerror(code) in said for code in ENDING), said
        assert time.monotonic() - start < END_SECONDS
    mount.process.wait()
    expect(errno.ENOTCONN, lambda: os.statvfs(mount.path))


def test_readers_end_and_the_next_mount_needs_no_help(tmp_path: Path) -> None:
    with half_held(tmp_path) as staged, ExitStack() as stack:
        mount = staged.mount
        stack.callback(lambda: is_listed(mount.path) and unmount(mount.path, "-z"))
        for count in range(ROUNDS):
            kill_with_readers(mount, staged.feed)
            mount = start_mount(
                tmp_path, "-o", options(free_port(), more=["sparse"]), name="reader"
            )
            stack.callback(mount.process.kill)
            with (mount.path / "journal").open("ab") as journal:
                journal.write(b"%d\n" % count)
            assert (mount.path / "journal").read_bytes().splitlines()[-1] == b"%d" % count
        assert mount.stop() < 2.0
        assert not is_listed(mount.path)
        assert "Traceback" not in mount.said
