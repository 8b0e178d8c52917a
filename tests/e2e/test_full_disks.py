"""Disks of several file systems without a byte left, and read-only ones, under a whole mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import xattr
from tests.file_systems import file_system, fill
from tests.mounts import mounted, unmount
from tests.sizes import long_or_short
from tests.unit.store.test_read_only import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = pytest.mark.fuse

KINDS = ("tmpfs", "ext4", *long_or_short(("xfs", "btrfs"), ()))
READ_ONLY_KINDS = long_or_short(KINDS, ("ext4",))
ALONE = "bind=127.0.0.1,nodht,nolan,noportmap"
STRANGER = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
IDLE_SECONDS = long_or_short(65.0, 0.5)  # longer than the interval of the store's upkeep
EMPTY = tuple(f"empty{number}" for number in range(4))


class Feeds:
    """Feeds of a mount, and what every append that returned has put into them."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def append(self, mount: Mount, name: str, data: bytes) -> bool:
        """Whether it was taken; if not, the disk was full."""
        try:
            with (mount.path / name).open("ab", buffering=0) as file:
                if data:
                    file.write(data)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False
        self.held[name] = self.held.get(name, b"") + data
        return True

    def rename(self, mount: Mount, old: str, new: str) -> None:
        """Renames, or does nothing for want of space."""
        with suppress(OSError):
            (mount.path / old).rename(mount.path / new)
            self.held[new] = self.held.pop(old)

    def remove(self, mount: Mount, name: str) -> None:
        feed = mount.path / name
        if self.held.pop(name):
            os.setxattr(feed, "protozorfs.delete_key", xattr(feed, "id").encode())
        else:
            feed.unlink()

    def check(self, mount: Mount) -> None:
        """All of them are there and right."""
        assert sorted(os.listdir(mount.path)) == sorted([*self.held, "paul"])
        for name, data in self.held.items():
            assert (mount.path / name).stat().st_size == len(data)
            assert (mount.path / name).read_bytes() == data


@contextmanager
def mounted_store(place: Path, *options: str) -> Iterator[Mount]:
    """A mount of the store on the disk of a place."""
    with mounted(place, "-o", ",".join((ALONE, *options)), watchdog_seconds=300.0) as mount:
        yield mount


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory whose `m.store` is on a small disk, mounted at `disk`."""
    with file_system(request.param, tmp_path / "disk") as disk:
        (disk / "store").mkdir(mode=0o700)
        (tmp_path / "m.store").symlink_to(disk / "store")
        yield tmp_path


def kill(mount: Mount) -> None:
    mount.process.send_signal(signal.SIGKILL)
    mount.process.wait()
    unmount(mount.path, "-z")


def test_on_a_full_disk_all_is_read_and_removed_and_goes_on_with_room(place: Path) -> None:
    feeds, ballast = Feeds(), place / "disk" / "ballast"
    with mounted_store(place) as mount:
        for number in range(3):
            assert feeds.append(mount, "journal", b"line %d\n" % number)
        for name in ("big", "other"):
            assert feeds.append(mount, name, os.urandom(200_000))
        for name in EMPTY:
            assert feeds.append(mount, name, b"")
        (mount.path / "paul").symlink_to(STRANGER)
        fill(ballast)
        assert not feeds.append(mount, "big", os.urandom(1 << 20))
        feeds.append(mount, "journal", b"this may still fit\n")
        feeds.rename(mount, "other", "another")
        feeds.check(mount)
        time.sleep(IDLE_SECONDS)
        kill(mount)
    for _ in range(2):  # what the first start could not write, the second finds again
        with mounted_store(place) as mount:
            feeds.check(mount)
            assert not feeds.append(mount, "big", os.urandom(1 << 20))
            feeds.check(mount)
            kill(mount)
    with mounted_store(place, "ro") as mount:
        feeds.check(mount)
    with mounted_store(place) as mount:
        for name in (*EMPTY, *(name for name in feeds.held if "other" in name)):
            fill(ballast)
            feeds.remove(mount, name)
            feeds.check(mount)
        fill(ballast)
        time.sleep(IDLE_SECONDS)
        feeds.check(mount)
        ballast.unlink()
        os.sync()
        for name in ("journal", "big", "new"):
            assert feeds.append(mount, name, os.urandom(100_000))
            with (mount.path / name).open("ab") as file:
                os.fsync(file.fileno())
        feeds.check(mount)
        kill(mount)
    with mounted_store(place) as mount:
        feeds.check(mount)
        assert feeds.append(mount, "journal", b"on\n")
        assert "appends are refused" not in why(mount, "journal")


def why(mount: Mount, name: str) -> str:
    return (mount.path / ".protozorfs" / "feeds" / name / "why").read_text()


@pytest.mark.parametrize("place", READ_ONLY_KINDS, indirect=True)
def test_on_a_read_only_disk_all_is_read_and_nothing_written(place: Path) -> None:
    feeds, disk = Feeds(), place / "disk"
    with mounted_store(place) as mount:
        for name in ("journal", "big"):
            assert feeds.append(mount, name, os.urandom(200_000))
        (mount.path / "paul").symlink_to(STRANGER)
        kill(mount)
    before = snapshot(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, timeout=60)
    with mounted_store(place, "ro") as mount:
        feeds.check(mount)
        for name in ("journal", "new"):
            with pytest.raises(OSError, match="Read-only file system"):
                feeds.append(mount, name, b"more")
    assert snapshot(disk / "store") == before
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True, timeout=60)
    with mounted_store(place) as mount:
        feeds.check(mount)
        assert feeds.append(mount, "journal", b"more")
