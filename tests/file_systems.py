"""Small file systems for tests: tmpfs, and those of disks, each in a file by a loop device."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEBIBYTE = 1 << 20
# About the least that mkfs takes. Source: mkfs.xfs(8), mkfs.btrfs(8).
LEAST_BYTES = {
    "tmpfs": 8 * MEBIBYTE,
    "ext4": 16 * MEBIBYTE,
    "xfs": 320 * MEBIBYTE,
    "btrfs": 130 * MEBIBYTE,
}
_COMMAND_SECONDS = 60


@contextmanager
def file_system(kind: str, path: Path) -> Iterator[Path]:
    """A file system of that kind, mounted at `path`, which is made.

    It ends with the mount namespace of the tests at the latest. Skips the test, with the reason,
    where this machine has none.
    """
    if os.geteuid() or not os.access("/dev/loop-control", os.W_OK):
        pytest.skip(f"only root of a machine with loop devices can mount {kind}")
    path.mkdir()
    size = LEAST_BYTES[kind]
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    else:
        image = path.with_name(f"{path.name}.{kind}")
        make = shutil.which(f"mkfs.{kind}", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if make is None:
            pytest.skip(f"there is no mkfs.{kind} here")
        image.touch()
        os.truncate(image, size)
        _run(make, "-q", image)
        command = ["mount", "-o", "loop", str(image), str(path)]
    try:
        _run(*command)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{kind} cannot be mounted here: {error.stderr!r}")
    try:
        yield path
    finally:
        _run("umount", "-l", path)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_COMMAND_SECONDS)


def fill(path: Path) -> None:
    """Takes every byte that is left on the file system of a file, and whatever comes free."""
    with path.open("ab", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            while _write(file.fileno(), os.urandom(size)):
                pass
        try:
            os.fsync(file.fileno())
        except OSError:
            return  # as full as can be


def _write(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0
