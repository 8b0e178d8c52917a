"""The file port: everything that the project does with the files of a store.

Paths are relative to the root of the port, with "/" between their parts. There are two
implementations with one test suite: `RealFiles` here, and `MemoryFiles` (memory_files.py), which
can lose what was not synced. Only this package calls the operating system's file functions.

All calls block. Disk-full errors (ENOSPC, EDQUOT, EFBIG) become `StoreFull`; other `OSError`s pass.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from protozorfs.errors import StoreFull
from protozorfs.store.beneath import Beneath
from protozorfs.store.place import stamp_of, whereabouts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from protozorfs.store.place import Stamp, Whereabouts

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
STAT_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block is
MAX_VECTOR_PARTS = 1024  # IOV_MAX of Linux
# Joining costs a copy into fresh memory (60 us for 64 KiB), a vector some time per part.
MIN_VECTOR_PART_BYTES = 4096
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: more than a file can hold
_KEEP_SIZE_AND_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)


class FreeSpace(NamedTuple):
    """Bytes of the file system that a store is on: free for an unprivileged user, and in all."""

    free_bytes: int
    total_bytes: int


class File(Protocol):
    """An open file. Offsets and sizes are bytes; two threads may use one file at once."""

    def pread(self, size: int, offset: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end of the file."""

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Writes all of `data`. After an error any part of it may have been written."""

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        """As `pwrite`, of all parts one after another."""

    def truncate(self, size: int) -> None:
        """Cuts, or grows with zeros."""

    def size(self) -> int:
        """The file's length."""

    def is_there(self, size: int) -> bool:
        """Whether the file still has a name, and at least `size` bytes.

        Nobody else takes a name or bytes from it while it is in use, unless the store is deleted,
        or an older state restored over it.
        """

    def allocated_bytes(self) -> int:
        """What the file takes on the disk; holes take nothing."""

    def modified_ns(self) -> int:
        """When it was last written to; nanoseconds since 1970."""

    def set_modified(self, time_ns: int) -> None:
        """Has `modified_ns` say that, until the next write."""

    def fdatasync(self) -> None:
        """Returns when data and size survive a power cut."""

    def punch_hole(self, offset: int, size: int) -> None:
        """Gives that range back to the disk; it reads as zeros. The size stays.

        It may reach beyond the end: the last page comes free only if all of it is in the range.
        """

    def close(self) -> None:
        """Closes without syncing. Closing twice is allowed."""


class Files(Protocol):
    """A tree of files."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Opens for reading and writing; `create` makes a missing one, readable by us alone.

        Raises:
            FileNotFoundError: it is missing and `create` is not set.
        """

    def mkdir(self, path: str) -> None:
        """Makes one directory, for us alone. One that exists is left as it is."""

    def remove(self, path: str) -> None:
        """Removes a file. Raises FileNotFoundError."""

    def rmdir(self, path: str) -> None:
        """Removes an empty directory."""

    def rename(self, old: str, new: str) -> None:
        """Renames atomically within a directory, replacing a file `new`."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted. Raises FileNotFoundError."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of that path."""

    def sync_dir(self, path: str) -> None:
        """Returns when the directory's names survive a power cut."""

    def sync_all(self) -> None:
        """Returns when the file system is durable as a whole, and what was freed is free."""

    def replace(self, path: str, data: bytes) -> None:
        """Makes `path` hold exactly `data`, atomically and safe from a power cut."""

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError."""

    def stamp(self, path: str) -> Stamp:
        """What the file system itself says of a file. Raises FileNotFoundError."""

    def whereabouts(self) -> Whereabouts:
        """On what machine and volume the tree is."""

    def free_space(self) -> FreeSpace:
        """What is left on the file system."""


def parent_of(path: str) -> str:
    """The directory that `path` is in; "" is the root."""
    return path.rpartition("/")[0]


@contextmanager
def _disk_full_is_store_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _converted(error) from error


def _converted(error: OSError) -> Exception:
    if error.errno in DISK_FULL:
        return StoreFull("no space left for the store")
    return error


class RealFile:
    """A `File` of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if not data or len(data) == size:
            return data
        return self._pread_rest(data, size, offset)

    def _pread_rest(self, data: bytes, size: int, offset: int) -> bytes:
        # One pread returns at most 2 GiB, and may be cut short by a signal.
        parts = [data]
        got = len(data)
        while got < size:
            data = os.pread(self._descriptor, size - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        # The usual case is one call; this is on the path of every append, hence no context manager.
        try:
            written = os.pwrite(self._descriptor, data, offset)
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise _converted(error) from error

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        total = sum(map(len, parts))
        if len(parts) == 1 or total < len(parts) * MIN_VECTOR_PART_BYTES:
            self.pwrite(b"".join(parts), offset)
            return
        for first in range(0, len(parts), MAX_VECTOR_PARTS):
            some = parts[first : first + MAX_VECTOR_PARTS]
            try:
                written = os.pwritev(self._descriptor, some, offset)
            except OSError as error:
                raise _converted(error) from error
            size = sum(map(len, some))
            if written < size:
                self.pwrite(b"".join(some)[written:], offset + written)
            offset += size

    def truncate(self, size: int) -> None:
        with _disk_full_is_store_full():
            os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def is_there(self, size: int) -> bool:
        status = os.fstat(self._descriptor)
        return status.st_nlink > 0 and status.st_size >= size

    def allocated_bytes(self) -> int:
        return os.fstat(self._descriptor).st_blocks * STAT_BLOCK_BYTES

    def modified_ns(self) -> int:
        return os.fstat(self._descriptor).st_mtime_ns

    def set_modified(self, time_ns: int) -> None:
        with _disk_full_is_store_full():
            os.utime(self._descriptor, ns=(time_ns, time_ns))

    def fdatasync(self) -> None:
        with _disk_full_is_store_full():  # delayed allocation finds a full disk only here
            os.fdatasync(self._descriptor)

    def punch_hole(self, offset: int, size: int) -> None:
        failed = _libc.fallocate(
            self._descriptor,
            _KEEP_SIZE_AND_PUNCH,
            ctypes.c_int64(offset),
            ctypes.c_int64(size),
        )
        if not failed:
            return
        number = ctypes.get_errno()
        if number != errno.EOPNOTSUPP:
            raise OSError(number, os.strerror(number))
        # A file system without holes: zeros at least hide the data.
        self._write_zeros(offset, max(0, min(size, self.size() - offset)))

    def _write_zeros(self, offset: int, size: int) -> None:
        chunk = bytes(min(size, 1 << 20))
        for start in range(offset, offset + size, 1 << 20):
            self.pwrite(chunk[: offset + size - start], start)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RealFiles:
    """The `Files` below one directory of the operating system; see `beneath` for how."""

    def __init__(self, root: Path | Beneath, *, is_read_only: bool = False) -> None:
        """`root` must exist. Of a path, a descriptor stays open as long as the process.

        `is_read_only`: files are opened for reading only.
        """
        if not isinstance(root, Beneath):
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            root = Beneath(descriptor, str(root))
        self._root = root
        self._access = os.O_RDONLY if is_read_only else os.O_RDWR

    def open(self, path: str, *, create: bool = False) -> RealFile:
        with _disk_full_is_store_full():
            if create:
                flags = self._access | os.O_CREAT
                return RealFile(self._root.open_file(path, flags, PRIVATE_FILE))
            return RealFile(self._root.open_file(path, self._access))

    def mkdir(self, path: str) -> None:
        with _disk_full_is_store_full(), self._root.parent(path) as (directory, name):
            try:
                os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=directory)
            except FileExistsError:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    raise

    def remove(self, path: str) -> None:
        # Where nothing is written over, as on btrfs, a full disk refuses this, too.
        with _disk_full_is_store_full(), self._root.parent(path) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def rmdir(self, path: str) -> None:
        with _disk_full_is_store_full(), self._root.parent(path) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def rename(self, old: str, new: str) -> None:
        with _disk_full_is_store_full(), self._root.parent(old) as (directory, name):
            os.rename(name, new.rpartition("/")[2], src_dir_fd=directory, dst_dir_fd=directory)

    def listdir(self, path: str) -> list[str]:
        descriptor = self._root.open_directory(path)
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def exists(self, path: str) -> bool:
        try:  # to know that is no danger, wherever a link on the way leads
            os.stat(path or ".", dir_fd=self._root.descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def sync_dir(self, path: str) -> None:
        descriptor = self._root.open_directory(path)
        try:
            with _disk_full_is_store_full():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_all(self) -> None:
        if _libc.syncfs(self._root.descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def replace(self, path: str, data: bytes) -> None:
        replace_by_rename(self, path, data)

    def read(self, path: str) -> bytes:
        with open(self._root.open_file(path, os.O_RDONLY), "rb", buffering=0) as file:
            return file.readall()

    def stamp(self, path: str) -> Stamp:
        with self._root.parent(path) as (directory, name):
            return stamp_of(name, directory)

    def whereabouts(self) -> Whereabouts:
        return whereabouts_of(self._root.descriptor)

    def free_space(self) -> FreeSpace:
        status = os.statvfs(self._root.descriptor)
        return FreeSpace(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def replace_by_rename(files: Files, path: str, data: bytes) -> None:
    """`Files.replace` by a second file: written, synced, renamed, directory synced."""
    write_new(files, path, data)
    files.sync_dir(parent_of(path))


def write_new(files: Files, path: str, data: bytes) -> None:
    """The same without the last step, for a file of a directory that is synced later.

    Under its name a file is whole from the first moment, but a power cut may take it away.
    """
    temporary = f"{path}.new"
    file = files.open(temporary, create=True)
    try:
        file.truncate(0)  # one of an earlier, interrupted attempt may be longer
        file.pwrite(data, 0)
        file.fdatasync()
    finally:
        file.close()
    files.rename(temporary, path)
