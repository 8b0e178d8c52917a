"""A full disk: appends are refused and nothing is lost; fetching pauses, and goes on by itself."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    are_same,
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    number,
    wait_size,
    wait_until,
    wait_whole,
    xattr,
)
from tests.node_peer import node_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuse

MEBIBYTE = 1 << 20
DISK_BYTES = 100 * MEBIBYTE
RESERVE_BYTES = DISK_BYTES // 10  # of so small a disk
WINDOW_BYTES = 5 * MEBIBYTE  # what was asked before the pause still comes
BLOCK_BYTES = 64 * 1024
SETTLE_SECONDS = 0.5  # in which something that was asked before would come
PAUSE_SECONDS = 3.0  # long enough to see whether it rests


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A tmpfs of 100 MiB; ends with the mount namespace of the tests at the latest."""
    if os.geteuid():
        pytest.skip("only root, if of a namespace of its own, may mount a tmpfs")
    path.mkdir()
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=True, timeout=10)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True, timeout=10)


def has_settled(feed: Path) -> bool:
    """True if nothing of the feed comes for a while."""
    held = number(feed, "local")
    time.sleep(SETTLE_SECONDS)
    return number(feed, "local") == held


def free_bytes(path: Path) -> int:
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def write_ballast(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


def fill(path: Path) -> None:
    """Takes every byte that is left."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(BLOCK_BYTES))


def append_until_full(feed: Path, copy: Path) -> int:
    """Appends blocks, and what was taken to a copy elsewhere; returns how many blocks."""
    chance = random.Random(0)
    count = 0
    with feed.open("ab", buffering=0) as file, copy.open("wb") as source:
        while True:
            block = chance.randbytes(BLOCK_BYTES)
            try:
                written = file.write(block)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return count
            assert written == len(block)
            source.write(block)
            count += 1


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.interop
def test_append_until_full_and_on_when_there_is_space_again(tmp_path: Path) -> None:
    copy, ballast = tmp_path / "copy", tmp_path / "disk" / "ballast"
    port = free_port()
    with small_disk(tmp_path / "disk") as disk:
        write_ballast(ballast, 50 * MEBIBYTE)
        with mounted_at(disk, "m", port) as mount:
            feed = mount.path / "journal"
            count = append_until_full(feed, copy)
            assert count > 500
            assert free_bytes(disk) < 2 * BLOCK_BYTES
            with feed.open("ab", buffering=0) as file:
                for _ in range(3):
                    with pytest.raises(OSError, match="No space left"):
                        file.write(bytes(BLOCK_BYTES))
            assert are_same(feed, copy)
            assert number(feed, "length") == count
        with mounted_at(disk, "m", port) as mount:  # it starts on a full disk, too
            assert are_same(feed, copy)
            ballast.unlink()
            with feed.open("ab", buffering=0) as file, copy.open("ab") as source:
                for index in range(100):
                    line = b"line %d\n" % index
                    file.write(line)
                    source.write(line)
                os.fsync(file.fileno())
            assert are_same(feed, copy)
            feed_id = id_of(feed)
            with node_reader(feed_id, connect=[at(port)], length=count + 100) as node:
                assert node.wait() == 0
                assert node.received() == copy.read_bytes()


def test_fetching_pauses_and_goes_on_and_leaves_room_for_appends(tmp_path: Path) -> None:
    port, count = free_port(), 800
    with small_disk(tmp_path / "disk") as disk, mounted_at(tmp_path, "owner", port) as owner:
        ballast = disk / "ballast"
        write_ballast(ballast, 60 * MEBIBYTE)
        source = owner.path / "journal"
        with source.open("ab", buffering=0) as file:
            for index in range(count):
                file.write(random.Random(index).randbytes(BLOCK_BYTES))
        with mounted_at(disk, "m", free_port(), at(port)) as mount:
            feed = follow(id_of(source), mount.path / "paul")
            wait_size(feed, count * BLOCK_BYTES)
            wait_until(lambda: xattr(feed, "state") == "paused")
            wait_until(lambda: has_settled(feed))
            assert RESERVE_BYTES - WINDOW_BYTES < free_bytes(disk) <= RESERVE_BYTES
            held, spent = number(feed, "local"), cpu_seconds(mount.process.pid)
            time.sleep(PAUSE_SECONDS)
            assert number(feed, "local") == held
            assert cpu_seconds(mount.process.pid) - spent < 0.1 * PAUSE_SECONDS, "it rests"
            with (mount.path / "mine").open("ab", buffering=0) as mine:
                for _ in range(32):
                    mine.write(bytes(BLOCK_BYTES))
            why = (mount.path / ".protozorfs" / "feeds" / "paul" / "why").read_text()
            assert "the disk is nearly full" in why
            ballast.unlink()
            wait_whole(feed, count * BLOCK_BYTES)
            assert xattr(feed, "state") == "current"
            assert are_same(feed, source)


def test_feeds_are_removed_from_a_disk_without_a_byte_left(tmp_path: Path) -> None:
    port = free_port()
    with small_disk(tmp_path / "disk") as disk, mounted_at(tmp_path, "owner", port) as owner:
        source = owner.path / "journal"
        source.write_bytes(bytes(MEBIBYTE))
        with mounted_at(disk, "m", free_port(), at(port)) as mount:
            paul, mine = follow(id_of(source), mount.path / "paul"), mount.path / "mine"
            wait_whole(paul, MEBIBYTE)
            mine.write_bytes(bytes(MEBIBYTE))
            for feed in (paul, mine):
                fill(disk / "ballast")
                assert free_bytes(disk) == 0
                if feed == paul:
                    feed.unlink()
                else:
                    os.setxattr(feed, "protozorfs.delete_key", xattr(feed, "id").encode())
                assert not feed.exists()
                assert free_bytes(disk) > MEBIBYTE // 2
            with (mount.path / "new").open("ab", buffering=0) as file:
                file.write(b"there is room again\n")
            assert os.listdir(mount.path) == ["new"]
