"""Where tailers are tried: over the feeds of a mount, and over files on disk."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.e2e.stage import at, follow, free_port, id_of, mounted_at, wait_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
MOUNT_SECONDS = 10.0  # for mount(8) of a tmpfs
# In this order, in which they were not made: a number that is counted up goes to another feed.
LOOKED_UP = ("paul", "own", "his", "mine")


class World(Protocol):
    """Files that grow, and what happens to them."""

    path: Path

    def make(self, name: str, lines: Iterable[str]) -> None:
        """A new file with these lines."""

    def append(self, name: str, lines: Iterable[str]) -> None:
        """Lines at the end of a file."""

    def rename(self, name: str, new_name: str) -> None:
        """Another name for a file."""

    def drop_caches(self) -> None:
        """Has the kernel forget every file that nobody has open."""

    def remount(self) -> None:
        """The files are taken away, and come again."""


class Disk:
    """Files on disk, for which nothing but the rename changes anything."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self.path.mkdir()

    def make(self, name: str, lines: Iterable[str]) -> None:
        write(self.path / name, lines)

    append = make

    def rename(self, name: str, new_name: str) -> None:
        (self.path / name).rename(self.path / new_name)

    def drop_caches(self) -> None:
        pass

    def remount(self) -> None:
        pass


class Feeds:
    """A mount in which `paul` is a followed feed, whose owner has another mount."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._port = free_port()
        self._owner = stack.enter_context(mounted_at(directory, "owner", self._port)).path
        self._mounting = stack.enter_context(ExitStack())
        self._sources: dict[str, Path] = {}
        self._mount()

    def _mount(self) -> None:
        mount = mounted_at(self._directory, "m", free_port(), at(self._port))
        self.path = self._mounting.enter_context(mount).path

    def make(self, name: str, lines: Iterable[str]) -> None:
        if name != "paul":
            self.append(name, lines)
            return
        source = self._owner / f"feed-{len(os.listdir(self._owner))}"
        write(source, lines)
        self._sources[name] = source
        wait_whole(follow(id_of(source), self.path / name), source.stat().st_size)

    def append(self, name: str, lines: Iterable[str]) -> None:
        source = self._sources.get(name, self.path / name)
        write(source, lines)
        wait_whole(self.path / name, source.stat().st_size)

    def rename(self, name: str, new_name: str) -> None:
        (self.path / name).rename(self.path / new_name)
        if name in self._sources:
            self._sources[new_name] = self._sources.pop(name)

    def drop_caches(self) -> None:
        """Nothing but another order of lookups where only the system's root may drop them."""
        if can_drop_caches():
            os.sync()
            DROP_CACHES.write_text("2")
        self._look()

    def remount(self) -> None:
        """Unmounts and mounts again, until the device number is another."""
        before = self.path.stat().st_dev
        while self.path.stat().st_dev == before:
            self._mounting.close()
            self._take_device_number()
            self._mount()
        self._look()

    def _take_device_number(self) -> None:
        """Has a mount of something else take the lowest number that is free."""
        taker = self._directory / "taker"
        taker.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "none", taker)
        self._stack.callback(run, "umount", taker)

    def _look(self) -> None:
        for name in LOOKED_UP:
            (self.path / name).exists()


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=MOUNT_SECONDS)


def can_drop_caches() -> bool:
    return os.access(DROP_CACHES, os.W_OK)


def write(path: Path, lines: Iterable[str]) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
