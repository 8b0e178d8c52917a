"""The files of a store that is only looked at: nothing is made, changed, followed or waited for."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from protozorfs.store.files import STAT_BLOCK_BYTES, RealFile, RealFiles

if TYPE_CHECKING:
    from protozorfs.store.beneath import Beneath
    from protozorfs.store.files import FreeSpace
    from protozorfs.store.place import Stamp, Whereabouts

MAX_READ_BYTES = 1 << 30  # of a file that is read as a whole; none of ours comes near it


class EntryKind(Enum):
    """What a directory has under a name."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"


class Entry(NamedTuple):
    """One of them, links not followed. `mode`: its permissions."""

    kind: EntryKind
    mode: int
    user_id: int
    size: int
    allocated_bytes: int


class ReadOnlyFiles:
    """`Files` below one directory. Whatever would change something is EROFS."""

    def __init__(self, root: Beneath) -> None:
        self._root = root
        self._files = RealFiles(root)

    def entry(self, path: str) -> Entry:
        """What there is under a path. Raises FileNotFoundError."""
        with self._root.parent(path) as (directory, name):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = EntryKind.OTHER
        if stat.S_ISREG(found.st_mode):
            kind = EntryKind.FILE
        elif stat.S_ISDIR(found.st_mode):
            kind = EntryKind.DIRECTORY
        return Entry(
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_size,
            found.st_blocks * STAT_BLOCK_BYTES,
        )

    def open(self, path: str, *, create: bool = False) -> RealFile:
        if create and not self.exists(path):
            _refuse(path)
        return RealFile(self._root.open_file(path, os.O_RDONLY))

    def mkdir(self, path: str) -> None:
        if not self.exists(path):
            _refuse(path)

    def remove(self, path: str) -> None:
        _refuse(path)

    def rmdir(self, path: str) -> None:
        _refuse(path)

    def rename(self, old: str, new: str) -> None:
        _refuse(old)

    def listdir(self, path: str) -> list[str]:
        return self._files.listdir(path)

    def exists(self, path: str) -> bool:
        return self._files.exists(path)

    def sync_dir(self, path: str) -> None:
        _refuse(path)

    def sync_all(self) -> None:
        _refuse("")

    def replace(self, path: str, data: bytes) -> None:
        _refuse(path)

    def read(self, path: str) -> bytes:
        with closing(self.open(path)) as file:
            return file.pread(min(file.size(), MAX_READ_BYTES), 0)

    def stamp(self, path: str) -> Stamp:
        return self._files.stamp(path)

    def whereabouts(self) -> Whereabouts:
        return self._files.whereabouts()

    def free_space(self) -> FreeSpace:
        return self._files.free_space()


def _refuse(path: str) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
