"""`Files` in memory: for tests of what must survive a kill, a power cut, a full or failing disk.

The model of a disk: every file and directory has a *current* state, which its users see, and a
*synced* state with the changes that were made since. `kill` loses nothing but the open files. A
power cut (`power_cut`) keeps the synced state and any part of the later changes: each 512-byte
sector of each write on its own, so writes are lost, torn and reordered. A directory keeps a prefix
of its changes, as journalling file systems do.

Every changing call counts as one operation; `fail_at` makes the n-th one fail.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreFull
from protozorfs.store.files import STAT_BLOCK_BYTES, FreeSpace, replace_by_rename
from protozorfs.store.place import Stamp, Whereabouts

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

SECTOR_BYTES = 512  # what a disk writes whole or not at all
_TOTAL_BYTES = 1 << 40
_numbers = itertools.count(1)  # of inodes, none of them given twice


class Stopped(Exception):
    """The simulated machine stopped; no file call works until `kill` or `power_cut`."""


class _Write(NamedTuple):
    offset: int
    data: bytes


class _Truncate(NamedTuple):
    size: int


class _Disk:
    """Counts operations and decides which of them fails."""

    def __init__(self) -> None:
        self.operations = 0
        self.fail_at: int | None = None
        self.failure: str = "stop"
        self.is_stopped = False
        self.generation = 0  # raised by a kill: files opened before are dead

    def operation(self) -> None:
        """Counts one changing call; raises if it is the one that is to fail."""
        self.check_running()
        number, self.operations = self.operations, self.operations + 1
        if number != self.fail_at:
            return
        if self.failure == "stop":
            self.is_stopped = True
            raise Stopped
        if self.failure == "full":
            raise StoreFull("no space left for the store")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def check_running(self) -> None:
        if self.is_stopped:
            raise Stopped


class _Inode:
    def __init__(self) -> None:
        self.current = bytearray()
        self.synced = bytearray()
        self.pending: list[_Write | _Truncate] = []
        self.holes: set[int] = set()  # sectors that take no space
        self.number = next(_numbers)
        self.changed_ns = self.modified_ns = time.time_ns()

    def grow_to(self, size: int) -> None:
        """What lies between the end and `size` takes no space when the file becomes longer."""
        self.holes.update(range(-(-len(self.current) // SECTOR_BYTES), -(-size // SECTOR_BYTES)))

    def change(self, change: _Write | _Truncate) -> None:
        _apply(self.current, change)
        self.pending.append(change)
        self.changed_ns = self.modified_ns = time.time_ns()

    def sync(self) -> None:
        # Not a copy of the current state: what a failed sync threw away stays thrown away.
        for change in self.pending:
            _apply(self.synced, change)
        self.pending.clear()

    def cut(self, choice: random.Random) -> None:
        survives = choice.choice((0.0, 0.5, 0.9, 1.0))
        for change in self.pending:
            for part in _sectors(change):
                if choice.random() < survives:
                    _apply(self.synced, part)
        self.pending.clear()
        self.current = bytearray(self.synced)


def _apply(content: bytearray, change: _Write | _Truncate) -> None:
    if isinstance(change, _Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    if not change.data:
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _sectors(change: _Write | _Truncate) -> list[_Write | _Truncate]:
    if isinstance(change, _Truncate):
        return [change]
    parts: list[_Write | _Truncate] = []
    at, data = change
    while data:
        size = SECTOR_BYTES - at % SECTOR_BYTES
        parts.append(_Write(at, data[:size]))
        at, data = at + size, data[size:]
    return parts


class _Directory:
    def __init__(self) -> None:
        self.current: dict[str, _Inode | _Directory] = {}
        self.synced: dict[str, _Inode | _Directory] = {}
        self.history: list[dict[str, _Inode | _Directory]] = []  # states since the last sync

    def changed(self) -> None:
        self.history.append(dict(self.current))

    def sync(self) -> None:
        self.synced = dict(self.current)
        self.history.clear()

    def cut(self, choice: random.Random) -> None:
        self.current = dict(choice.choice([self.synced, *self.history]))
        self.sync()
        for entry in self.current.values():
            entry.cut(choice)


class MemoryFile:
    """A `File` of `MemoryFiles`."""

    def __init__(self, disk: _Disk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._generation = disk.generation
        self._is_closed = False

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._open_inode().current[offset : offset + size])

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        inode = self._open_inode()
        content = bytes(data)
        try:
            self._disk.operation()
        except (StoreFull, OSError):
            inode.change(_Write(offset, content[: len(content) // 2]))
            raise
        if content:
            inode.grow_to(offset)
            inode.holes.difference_update(
                range(offset // SECTOR_BYTES, -(-(offset + len(content)) // SECTOR_BYTES))
            )
        inode.change(_Write(offset, content))

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        self.pwrite(b"".join(parts), offset)

    def truncate(self, size: int) -> None:
        inode = self._open_inode()
        self._disk.operation()
        inode.grow_to(size)
        inode.holes = {sector for sector in inode.holes if sector * SECTOR_BYTES < size}
        inode.change(_Truncate(size))

    def size(self) -> int:
        return len(self._open_inode().current)

    def allocated_bytes(self) -> int:
        inode = self._open_inode()
        sectors = -(-len(inode.current) // SECTOR_BYTES)
        return (sectors - len(inode.holes)) * STAT_BLOCK_BYTES

    def modified_ns(self) -> int:
        return self._open_inode().modified_ns

    def set_modified(self, time_ns: int) -> None:
        inode = self._open_inode()
        inode.modified_ns, inode.changed_ns = time_ns, time.time_ns()

    def fdatasync(self) -> None:
        inode = self._open_inode()
        try:
            self._disk.operation()
        except OSError:
            inode.pending.clear()  # Linux marks the pages clean: they are never written again
            raise
        inode.sync()

    def punch_hole(self, offset: int, size: int) -> None:
        inode = self._open_inode()
        self._disk.operation()
        inside = min(size, len(inode.current) - offset)
        if inside > 0:
            inode.change(_Write(offset, bytes(inside)))
            sectors = -(-len(inode.current) // SECTOR_BYTES)
            first, end = -(-offset // SECTOR_BYTES), (offset + size) // SECTOR_BYTES
            inode.holes.update(range(first, min(end, sectors)))

    def close(self) -> None:
        self._is_closed = True

    def _open_inode(self) -> _Inode:
        self._disk.check_running()
        if self._is_closed or self._generation != self._disk.generation:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode


class MemoryFiles:
    """A tree of files in memory."""

    def __init__(self) -> None:
        self._disk = _Disk()
        self._root = _Directory()

    @property
    def operations(self) -> int:
        """How many changing calls were made so far."""
        return self._disk.operations

    def fail_at(self, operation: int | None, failure: str = "stop") -> None:
        """Makes the changing call with that number (from 0) fail: "stop", "full" or "io"."""
        self._disk.fail_at = operation
        self._disk.failure = failure

    def kill(self) -> None:
        """The process died: its files are closed, everything that it wrote is there."""
        self._disk.is_stopped = False
        self._disk.fail_at = None
        self._disk.generation += 1

    def power_cut(self, choice: random.Random) -> None:
        """The machine died: what was not synced is there, or not, or in part."""
        self.kill()
        self._root.cut(choice)

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        directory, name = self._place(path)
        entry = directory.current.get(name)
        if entry is None and create:
            self._disk.operation()
            entry = directory.current[name] = _Inode()
            directory.changed()
        if entry is None:
            raise _error(errno.ENOENT, path)
        if isinstance(entry, _Directory):
            raise _error(errno.EISDIR, path)
        return MemoryFile(self._disk, entry)

    def mkdir(self, path: str) -> None:
        directory, name = self._place(path)
        entry = directory.current.get(name)
        if isinstance(entry, _Inode):
            raise _error(errno.EEXIST, path)
        if entry is None:
            self._disk.operation()
            directory.current[name] = _Directory()
            directory.changed()

    def remove(self, path: str) -> None:
        directory, name = self._place(path)
        if not isinstance(directory.current.get(name), _Inode):
            raise _error(errno.ENOENT, path)
        self._disk.operation()
        del directory.current[name]
        directory.changed()

    def rmdir(self, path: str) -> None:
        directory, name = self._place(path)
        entry = directory.current.get(name)
        if not isinstance(entry, _Directory):
            raise _error(errno.ENOENT, path)
        if entry.current:
            raise _error(errno.ENOTEMPTY, path)
        self._disk.operation()
        del directory.current[name]
        directory.changed()

    def rename(self, old: str, new: str) -> None:
        directory, old_name = self._place(old)
        target, new_name = self._place(new)
        if target is not directory:
            raise _error(errno.EXDEV, new)
        if old_name not in directory.current:
            raise _error(errno.ENOENT, old)
        self._disk.operation()
        directory.current[new_name] = directory.current.pop(old_name)
        directory.changed()

    def listdir(self, path: str) -> list[str]:
        return sorted(self._directory(path).current)

    def exists(self, path: str) -> bool:
        try:
            directory, name = self._place(path)
        except FileNotFoundError:
            return False
        return name == "" or name in directory.current

    def sync_dir(self, path: str) -> None:
        directory = self._directory(path)
        self._disk.operation()
        directory.sync()

    def replace(self, path: str, data: bytes) -> None:
        replace_by_rename(self, path, data)

    def read(self, path: str) -> bytes:
        file = self.open(path)
        return file.pread(file.size(), 0)

    def stamp(self, path: str) -> Stamp:
        directory, name = self._place(path)
        inode = directory.current.get(name)
        if not isinstance(inode, _Inode):
            raise _error(errno.ENOENT, path)
        return Stamp(inode.number, 0, inode.changed_ns, inode.modified_ns, len(inode.current))

    def whereabouts(self) -> Whereabouts:
        return Whereabouts(machine="memory", volume=None)

    def free_space(self) -> FreeSpace:
        return FreeSpace(_TOTAL_BYTES, _TOTAL_BYTES)

    def _place(self, path: str) -> tuple[_Directory, str]:
        self._disk.check_running()
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name

    def _directory(self, path: str) -> _Directory:
        self._disk.check_running()
        at = self._root
        for name in path.split("/") if path else ():
            entry = at.current.get(name)
            if not isinstance(entry, _Directory):
                raise _error(errno.ENOENT, path)
            at = entry
        return at


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
