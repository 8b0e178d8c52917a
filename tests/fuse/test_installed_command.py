"""The installed `mount.protozorfs` on a real store, without a network beyond loopback."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import wait_until
from tests.errnos import expect
from tests.mounts import installed_command, is_listed, mounted, unmount

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

OPTIONS = ("--debug=cli,fs", "-o", "bind=127.0.0.1,nodht,nolan,noportmap")


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    with mounted(tmp_path, *OPTIONS) as mount:
        journal = os.open(mount.path / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for count in range(100):
            os.write(journal, b"line %d\n" % count)
        mount.process.kill()
        mount.process.wait()
        expect(errno.ENOTCONN, lambda: os.close(journal))
    with mounted(tmp_path, *OPTIONS) as mount:
        lines = (mount.path / "journal").read_bytes().splitlines()
        assert lines == [b"line %d" % count for count in range(100)]
        assert os.getxattr(mount.path / "journal", "protozorfs.length") == b"100"


def test_in_the_background_and_a_locked_store(tmp_path: Path) -> None:
    path, other, store = tmp_path / "m", tmp_path / "n", tmp_path / "store"
    path.mkdir()
    other.mkdir()

    def command(where: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*installed_command(), str(store), str(where), *OPTIONS],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    try:
        done = command(path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        (path / "journal").open("ab").close()
        assert os.listdir(path) == ["journal"]
        locked = command(other)
        assert locked.returncode == 32
        assert locked.stderr.startswith(f"mount.protozorfs: the store {store} is in use by process")
        assert locked.stderr.endswith(f", mounted at {path}\n")
        assert len(locked.stderr.splitlines()) == 1
        assert not is_listed(other)
        assert unmount(path).returncode == 0
        # The lock goes with the daemon, within a moment.
        wait_until(lambda: command(other).returncode == 0)
        assert os.listdir(other) == ["journal"]
    finally:
        for left in (path, other):
            if is_listed(left):
                unmount(left, "-z")
