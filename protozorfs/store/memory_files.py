"""`Files` in memory: for tests of what must survive a kill, a power cut, a full or failing disk.

What a power cut leaves is in `memory_disk`. `kill` loses nothing but the open files. Both may come
in any sequence: what a killed run left unsynced is still lost by a later power cut.

Every changing call counts as one operation, every other call as one look; `fail_at` makes an
operation fail, `fail_look_at` a look. What fails, and what survives, follows from seeds alone.
"""

from __future__ import annotations

import errno
import os
import random
import time
from typing import TYPE_CHECKING

from protozorfs.crypto import blake2b_256
from protozorfs.errors import StoreFull
from protozorfs.store.files import (
    DISK_FULL,
    STAT_BLOCK_BYTES,
    FreeSpace,
    replace_by_rename,
)
from protozorfs.store.memory_disk import (
    SECTOR_BYTES,
    CutModel,
    Directory,
    Inode,
    Move,
    Truncate,
    Write,
    cut_tree,
    draw_model,
)
from protozorfs.store.place import Stamp, Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    CarryOut = Callable[[str, str, Callable[[], None]], None]

_TOTAL_BYTES = 1 << 40
_FAILURES = {"full": errno.ENOSPC, "io": errno.EIO}  # what `fail_at` has short names for


class Stopped(Exception):
    """The simulated machine stopped; no file call works until `kill` or `power_cut`."""


class _Disk:
    """Counts calls and decides which of them fails."""

    def __init__(self) -> None:
        self.operations = 0
        self.looks = 0
        self.failures = 0  # calls that were refused
        self.moves = 0  # changes of directories
        self.committed = 0  # as many of them were made before the last sync
        self.inodes = 0
        self.fail_at: int | None = None
        self.fail_look_at: int | None = None
        self.failure: str | int = "stop"
        self.look_failure = errno.EIO
        self.is_lasting = False
        self.also: Collection[int] = ()
        self.is_stopped = False
        self.has_lost_names = False
        self.generation = 0  # raised by a kill: files opened before are dead
        self.choice = random.Random(0)  # what failed writes and syncs do all the same
        self.watcher: Callable[[int], None] | None = None
        self.carry_out: CarryOut | None = None

    def clone(self) -> _Disk:
        other = _Disk()
        other.operations, other.looks = self.operations, self.looks
        other.moves, other.committed, other.inodes = self.moves, self.committed, self.inodes
        other.choice.setstate(self.choice.getstate())
        other.has_lost_names = self.has_lost_names
        return other

    def operation(
        self,
        kind: str,
        path: str,
        effect: Callable[[], None],
        failed: Callable[[], None] | None = None,
    ) -> None:
        """Counts one changing call and carries it out, or fails it.

        Args:
            kind: what it is, for `carry_out`.
            path: of what, for the same.
            effect: carries it out.
            failed: what is done of it when it fails.

        Raises:
            Stopped, StoreFull, OSError: it was the one that is to fail.
        """
        self.check_running()
        number, self.operations = self.operations, self.operations + 1
        if self.watcher is not None:
            self.watcher(number)
        if self._is_to_fail(number):
            self._fail(failed)
        elif self.carry_out is None:
            effect()
        else:
            self.carry_out(kind, path, effect)

    def _is_to_fail(self, number: int) -> bool:
        if self.fail_at is None:
            return False
        if number in self.also:
            return True
        return number == self.fail_at or (self.is_lasting and number > self.fail_at)

    def _fail(self, failed: Callable[[], None] | None) -> None:
        if self.failure == "stop":
            self.is_stopped = True
            raise Stopped
        self.failures += 1
        if failed is not None:
            failed()
        raise _failed(self._error)

    @property
    def is_full(self) -> bool:
        """Whether what fails does so for want of space."""
        return self._error in DISK_FULL

    @property
    def _error(self) -> str | int:
        return _FAILURES.get(str(self.failure), self.failure)

    def look(self) -> None:
        """Counts one call that changes nothing; raises if it is the one that is to fail."""
        self.check_running()
        number, self.looks = self.looks, self.looks + 1
        if number == self.fail_look_at:
            self.failures += 1
            raise _failed(self.look_failure)

    def check_running(self) -> None:
        if self.is_stopped:
            raise Stopped

    def new_number(self) -> int:
        self.inodes += 1
        return self.inodes

    def new_move(self, old: str | None, new: str | None, entry: Inode | Directory | None) -> Move:
        self.moves += 1
        return Move(self.moves - 1, old, new, entry)


def _part_of(data: bytes, offset: int, choice: random.Random) -> bytes:
    """What a write that fails has written: its first bytes, whole sectors of a write of such.

    File systems take space by blocks, of 512 bytes at least, and XFS writes the ones before that
    for which there is none. Only a limit of a file's size (EFBIG) is one of bytes.
    """
    if offset % SECTOR_BYTES or len(data) % SECTOR_BYTES:
        return data[: choice.randint(0, len(data) // 2)]
    sectors = max(1, len(data) // SECTOR_BYTES)
    return data[: choice.randrange(sectors) * SECTOR_BYTES]


def _failed(number: str | int) -> Exception:
    """The error of a failing call, as `RealFiles` raises it."""
    assert isinstance(number, int), f"no failure of that name: {number}"
    if number in DISK_FULL:
        return StoreFull("no space left for the store")
    return OSError(number, os.strerror(number))


class MemoryFile:
    """A `File` of `MemoryFiles`."""

    def __init__(self, disk: _Disk, path: str, inode: Inode, directory: Directory) -> None:
        self._disk = disk
        self._path = path  # under which it was opened
        self._inode = inode
        self._directory = directory
        self._generation = disk.generation
        self._is_closed = False

    def pread(self, size: int, offset: int) -> bytes:
        inode = self._open_inode()
        self._disk.look()
        return bytes(inode.current[offset : offset + size])

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        inode = self._open_inode()
        content = bytes(data)

        def write() -> None:
            if content:
                inode.grow_to(offset)
                inode.holes.difference_update(
                    range(offset // SECTOR_BYTES, -(-(offset + len(content)) // SECTOR_BYTES))
                )
            self._change(Write(offset, content))

        def write_part() -> None:
            part = _part_of(content, offset, self._disk.choice)
            if part:
                self._change(Write(offset, part))

        self._disk.operation("write", self._path, write, write_part)

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        self.pwrite(b"".join(parts), offset)

    def truncate(self, size: int) -> None:
        inode = self._open_inode()

        def cut() -> None:
            inode.grow_to(size)
            inode.holes = {sector for sector in inode.holes if sector * SECTOR_BYTES < size}
            self._change(Truncate(size))

        self._disk.operation("truncate", self._path, cut)

    def size(self) -> int:
        inode = self._open_inode()
        self._disk.look()
        return len(inode.current)

    def is_there(self, size: int) -> bool:
        inode = self._open_inode()
        has_name = any(entry is inode for entry in self._directory.current.values())
        return has_name and len(inode.current) >= size

    def allocated_bytes(self) -> int:
        inode = self._open_inode()
        self._disk.look()
        sectors = -(-len(inode.current) // SECTOR_BYTES)
        return (sectors - len(inode.holes)) * STAT_BLOCK_BYTES

    def modified_ns(self) -> int:
        inode = self._open_inode()
        self._disk.look()
        return inode.modified_ns

    def set_modified(self, time_ns: int) -> None:
        inode = self._open_inode()
        inode.modified_ns, inode.changed_ns = time_ns, time.time_ns()

    def fdatasync(self) -> None:
        inode = self._open_inode()

        def sync() -> None:
            inode.sync()
            self._disk.committed = self._disk.moves

        self._disk.operation("sync", self._path, sync, lambda: inode.fail_sync(self._disk.choice))

    def punch_hole(self, offset: int, size: int) -> None:
        inode = self._open_inode()

        def punch() -> None:
            inside = min(size, len(inode.current) - offset)
            if inside > 0:
                self._change(Write(offset, bytes(inside)))
                sectors = -(-len(inode.current) // SECTOR_BYTES)
                first, end = -(-offset // SECTOR_BYTES), (offset + size) // SECTOR_BYTES
                inode.holes.update(range(first, min(end, sectors)))

        self._disk.operation("punch", self._path, punch)

    def close(self) -> None:
        self._is_closed = True

    def _change(self, change: Write | Truncate) -> None:
        self._inode.change(change)
        self._inode.modified_ns = self._inode.changed_ns = time.time_ns()

    def _open_inode(self) -> Inode:
        self._disk.check_running()
        if self._is_closed or self._generation != self._disk.generation:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode


class MemoryFiles:
    """A tree of files in memory."""

    def __init__(self, seed: int = 0) -> None:
        """`seed`: of what failed writes and syncs do all the same."""
        self._disk = _Disk()
        self._disk.choice.seed(seed)
        self._root = Directory(0)

    @property
    def operations(self) -> int:
        """How many changing calls were made so far."""
        return self._disk.operations

    @property
    def looks(self) -> int:
        """How many other calls were made so far; `exists` and `free_space` do not count."""
        return self._disk.looks

    @property
    def failures(self) -> int:
        """How many calls were refused so far, whatever became of that."""
        return self._disk.failures

    def fail_at(
        self,
        operation: int | None,
        failure: str | int = "stop",
        *,
        is_lasting: bool = False,
        also: Collection[int] = (),
    ) -> None:
        """Makes the changing call with that number (from 0) fail; None: no call any more.

        Args:
            operation: the number.
            failure: "stop" stops the machine before the call, "full" and "io" are errors of the
                disk, and so is every errno.
            is_lasting: the calls after it fail, too.
            also: more calls that fail.
        """
        self._disk.also = also
        self._disk.fail_at = operation
        self._disk.failure = failure
        self._disk.is_lasting = is_lasting

    def fail_look_at(self, look: int | None, number: int = errno.EIO) -> None:
        """Makes the call with that number (from 0) of those that change nothing fail."""
        self._disk.fail_look_at = look
        self._disk.look_failure = number

    def watch(self, watcher: Callable[[int], None] | None) -> None:
        """Calls `watcher` before each operation, with its number; None: nobody."""
        self._disk.watcher = watcher

    def carry_out_by(self, carry_out: CarryOut | None) -> None:
        """Has operations carried out by `carry_out`; None: as ever.

        It is given their kind, their path and their effect. The kinds are write, truncate, punch,
        sync, create, mkdir, remove, rmdir, rename (its path is the new one), sync_dir.
        """
        self._disk.carry_out = carry_out

    def kill(self) -> None:
        """The process died: its files are closed, everything that it wrote is there."""
        self._disk.is_stopped = False
        self._disk.fail_at = None
        self._disk.fail_look_at = None
        self._disk.generation += 1

    def power_cut(self, choice: random.Random, model: CutModel | None = None) -> None:
        """The machine died: what was not synced is there, or not, or in part.

        Args:
            choice: draws what survives.
            model: how; drawn, too, by default.
        """
        self.kill()
        cut_tree(self._root, choice, model or draw_model(choice), self._disk.committed)
        self._disk.has_lost_names = False

    def clone(self) -> MemoryFiles:
        """A disk of the same content, synced and not, at rest: as after a kill."""
        other = MemoryFiles()
        other._disk = self._disk.clone()
        other._root = self._root.clone({})
        return other

    def digest(self) -> bytes:
        """32 bytes that tell apart what users see: all names and contents."""
        return _digest(self._root)

    @property
    def has_lost_names(self) -> bool:
        """A sync of a directory has failed: real file systems take no more writes after that."""
        return self._disk.has_lost_names

    def has_unsynced(self, path: str) -> bool:
        """Whether a sync of the file or directory would make something durable."""
        entry: Inode | Directory
        try:
            entry = self._directory(path)
        except FileNotFoundError:
            directory, name = self._place(path)
            entry = directory.current[name]
        return bool(entry.pending)

    def is_torn(self, path: str) -> bool:
        """Whether a file was made whole beside its name, and is not what was put in its place."""
        directory, name = self._place(path)
        inode = directory.current[name]
        assert isinstance(inode, Inode)
        return inode.named is not None and inode.named != inode.current

    def flip_bit(self, path: str, bit: int) -> None:
        """Flips one bit of a file at rest, in the cache and on the disk; `bit` counts from 0."""
        directory, name = self._place(path)
        inode = directory.current[name]
        assert isinstance(inode, Inode)
        inode.named = None
        for content in (inode.current, inode.durable):
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        directory, name = self._place(path)
        self._disk.look()
        if create and name not in directory.current:
            inode = Inode(self._disk.new_number())
            self._move("create", path, directory, None, name, inode)
        entry = directory.current.get(name)
        if entry is None:
            raise _error(errno.ENOENT, path)
        if isinstance(entry, Directory):
            raise _error(errno.EISDIR, path)
        return MemoryFile(self._disk, path, entry, directory)

    def mkdir(self, path: str) -> None:
        directory, name = self._place(path)
        entry = directory.current.get(name)
        if isinstance(entry, Inode):
            raise _error(errno.EEXIST, path)
        if entry is None:
            self._move("mkdir", path, directory, None, name, Directory(self._disk.new_number()))

    def remove(self, path: str) -> None:
        directory, name = self._place(path)
        if not isinstance(directory.current.get(name), Inode):
            raise _error(errno.ENOENT, path)
        self._move("remove", path, directory, name, None, None)

    def rmdir(self, path: str) -> None:
        directory, name = self._place(path)
        entry = directory.current.get(name)
        if not isinstance(entry, Directory):
            raise _error(errno.ENOENT, path)
        if entry.current:
            raise _error(errno.ENOTEMPTY, path)
        self._move("rmdir", path, directory, name, None, None)

    def rename(self, old: str, new: str) -> None:
        directory, old_name = self._place(old)
        target, new_name = self._place(new)
        if target is not directory:
            raise _error(errno.EXDEV, new)
        if old_name not in directory.current:
            raise _error(errno.ENOENT, old)
        self._move("rename", new, directory, old_name, new_name, directory.current[old_name])

    def listdir(self, path: str) -> list[str]:
        directory = self._directory(path)
        self._disk.look()
        return sorted(directory.current)

    def exists(self, path: str) -> bool:
        try:
            directory, name = self._place(path)
        except FileNotFoundError:
            return False
        return name == "" or name in directory.current

    def sync_dir(self, path: str) -> None:
        directory = self._directory(path)

        def sync() -> None:
            directory.sync()
            self._disk.committed = self._disk.moves

        def fail() -> None:
            if directory.fail_sync(self._disk.choice, is_full=self._disk.is_full):
                self._disk.has_lost_names = True

        self._disk.operation("sync_dir", path, sync, fail)

    def sync_all(self) -> None:
        """What was freed is free at once; nothing is relied on to be durable by this."""

    def replace(self, path: str, data: bytes) -> None:
        replace_by_rename(self, path, data)

    def read(self, path: str) -> bytes:
        file = self.open(path)
        return file.pread(file.size(), 0)

    def stamp(self, path: str) -> Stamp:
        directory, name = self._place(path)
        self._disk.look()
        inode = directory.current.get(name)
        if not isinstance(inode, Inode):
            raise _error(errno.ENOENT, path)
        return Stamp(inode.number, 0, inode.changed_ns, inode.modified_ns, len(inode.current))

    def whereabouts(self) -> Whereabouts:
        return Whereabouts(machine="memory", volume=None)

    def free_space(self) -> FreeSpace:
        return FreeSpace(_TOTAL_BYTES, _TOTAL_BYTES)

    def _move(
        self,
        kind: str,
        path: str,
        directory: Directory,
        old: str | None,
        new: str | None,
        entry: Inode | Directory | None,
    ) -> None:
        def move() -> None:
            directory.change(self._disk.new_move(old, new, entry))

        self._disk.operation(kind, path, move)

    def _place(self, path: str) -> tuple[Directory, str]:
        self._disk.check_running()
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name

    def _directory(self, path: str) -> Directory:
        self._disk.check_running()
        at = self._root
        for name in path.split("/") if path else ():
            entry = at.current.get(name)
            if not isinstance(entry, Directory):
                raise _error(errno.ENOENT, path)
            at = entry
        return at


def _digest(directory: Directory) -> bytes:
    parts = []
    for name, entry in sorted(directory.current.items()):
        content = (
            _digest(entry) if isinstance(entry, Directory) else blake2b_256(bytes(entry.current))
        )
        parts.append(blake2b_256(name.encode()) + content)
    return blake2b_256(b"".join(parts))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
