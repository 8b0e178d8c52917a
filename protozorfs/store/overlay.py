"""`Files` that read what is below, and keep every change in memory: for a store opened read-only.

So whatever a run does to the files of a store when it opens one works as ever (an old format is
brought up to date, feeds are recovered), and nothing of it reaches the disk. What was changed is
kept in pages, up to a limit; what is written as it stands below takes none. Nothing here is
durable: syncs return at once, and nobody may be told that what they cover is safe.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from protozorfs.errors import StoreFull
from protozorfs.store.files import FreeSpace, parent_of, replace_by_rename
from protozorfs.store.place import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protozorfs.store.files import File, Files
    from protozorfs.store.place import Whereabouts

PAGE_BYTES = 4096
MAX_CHANGED_BYTES = 64 * 1024 * 1024  # as much memory as a store that is only read may take
NAME_BYTES = 512  # what a name that was changed counts, so that they have a limit, too


class _Room:
    """How many bytes of changes are kept; all files of an overlay share it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Raises StoreFull: there is not that much left."""
        if self.used + size > self.limit:
            raise StoreFull("a store that is only read keeps no more changes in memory")
        self.used += size


class _Inode:
    """A file: what of it is as below, and the pages that are not.

    Attributes:
        base: its path below; None: nothing of it is there.
        base_bytes: up to this offset, what is in no page is as below; beyond it there are zeros.
        size: in bytes.
        modified_ns: when it was changed here last; None: never.
    """

    def __init__(self, room: _Room, base: str | None, size: int) -> None:
        self.base = base
        self.base_bytes = self.size = size
        self.modified_ns: int | None = None
        self._pages: dict[int, bytearray] = {}
        self._room = room

    @property
    def is_changed(self) -> bool:
        """Whether it is another file than the one below."""
        return self.modified_ns is not None

    def read(self, below: File | None, size: int, offset: int) -> bytes:
        """At most `size` bytes; `below` is the file `base`."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        parts = []
        at = offset
        while at < end:
            page = self._pages.get(at // PAGE_BYTES)
            upto = min(end, (at // PAGE_BYTES + 1) * PAGE_BYTES)
            if page is None:
                while upto < end and upto // PAGE_BYTES not in self._pages:
                    upto = min(end, upto + PAGE_BYTES)
                parts.append(self._as_below(below, upto - at, at))
            else:
                start = at % PAGE_BYTES
                parts.append(bytes(page[start : start + upto - at]))
            at = upto
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, below: File | None, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Writes all of `data`.

        Raises:
            StoreFull: nothing was written.
        """
        view = memoryview(data)
        changed = [
            (at, part)
            for at, part in _pieces(view, offset)
            if at + len(part) > self.size or self.read(below, len(part), at) != part
        ]
        new = {at // PAGE_BYTES for at, _ in changed} - self._pages.keys()
        self._room.take(len(new) * PAGE_BYTES)
        for number in new:
            self._pages[number] = bytearray(
                self._as_below(below, PAGE_BYTES, number * PAGE_BYTES).ljust(PAGE_BYTES, b"\0")
            )
        for at, part in changed:
            start = at % PAGE_BYTES
            self._pages[at // PAGE_BYTES][start : start + len(part)] = part
        if view:
            self.size = max(self.size, offset + len(view))
            self.touch()

    def truncate(self, size: int) -> None:
        """Cuts, or grows with zeros."""
        for number in [one for one in self._pages if one * PAGE_BYTES >= size]:
            del self._pages[number]
            self._room.used -= PAGE_BYTES
        last = self._pages.get(size // PAGE_BYTES)
        if last is not None:
            last[size % PAGE_BYTES :] = bytes(PAGE_BYTES - size % PAGE_BYTES)
        self.base_bytes = min(self.base_bytes, size)
        self.size = size
        self.touch()

    def touch(self) -> None:
        """It was changed now."""
        self.modified_ns = time.time_ns()

    def punch(self, below: File | None, offset: int, size: int) -> None:
        """Makes that range zeros; whole pages of it take no memory, unless they hide what is below.

        Raises:
            StoreFull: nothing was changed.
        """
        self.write(below, bytes(max(0, min(size, self.size - offset))), offset)
        for number in range(-(-offset // PAGE_BYTES), (offset + size) // PAGE_BYTES):
            if number * PAGE_BYTES >= self.base_bytes and number in self._pages:
                del self._pages[number]
                self._room.used -= PAGE_BYTES

    def gone(self) -> None:
        """The file has no name any more: what it takes does not count."""
        self._room.used -= self.page_bytes
        self._room = _Room(self._room.limit)

    @property
    def page_bytes(self) -> int:
        """How much memory it takes."""
        return len(self._pages) * PAGE_BYTES

    def _as_below(self, below: File | None, size: int, offset: int) -> bytes:
        inside = min(size, self.base_bytes - offset)
        found = below.pread(inside, offset) if below is not None and inside > 0 else b""
        return found.ljust(size, b"\0")


def _pieces(view: memoryview, offset: int) -> Iterator[tuple[int, memoryview]]:
    """What of a write goes into each page, with its offset in the file."""
    at = 0
    while at < len(view):
        size = PAGE_BYTES - (offset + at) % PAGE_BYTES
        yield offset + at, view[at : at + size]
        at += size


class OverlayFile:
    """A `File` of an overlay."""

    def __init__(self, files: OverlayFiles, path: str, inode: _Inode, below: File | None) -> None:
        self._files = files
        self._path = path
        self._inode = inode
        self._below = below
        self._is_closed = False

    def pread(self, size: int, offset: int) -> bytes:
        return self._inode.read(self._opened_below(), size, offset)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        was_changed = self._inode.is_changed
        self._inode.write(self._opened_below(), data, offset)
        self._changed(was_changed)

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        self.pwrite(b"".join(parts), offset)

    def truncate(self, size: int) -> None:
        self._opened_below()
        was_changed = self._inode.is_changed
        self._inode.truncate(size)
        self._changed(was_changed)

    def size(self) -> int:
        self._opened_below()
        return self._inode.size

    def is_there(self, size: int) -> bool:
        below = self._opened_below()
        if not self._files.has(self._inode) or self._inode.size < size:
            return False
        return self._inode.is_changed or below is None or below.is_there(size)

    def allocated_bytes(self) -> int:
        below = self._opened_below()
        return self._inode.page_bytes + (0 if below is None else below.allocated_bytes())

    def modified_ns(self) -> int:
        below = self._opened_below()
        if self._inode.modified_ns is None and below is not None:
            return below.modified_ns()
        return self._inode.modified_ns or 0

    def set_modified(self, time_ns: int) -> None:
        self._opened_below()
        was_changed = self._inode.is_changed
        self._inode.modified_ns = time_ns
        self._changed(was_changed)

    def fdatasync(self) -> None:
        self._opened_below()

    def punch_hole(self, offset: int, size: int) -> None:
        was_changed = self._inode.is_changed
        self._inode.punch(self._opened_below(), offset, size)
        self._changed(was_changed)

    def close(self) -> None:
        self._is_closed = True
        if self._below is not None:
            self._below.close()

    def _changed(self, was_changed: bool) -> None:
        if not was_changed and self._inode.is_changed:
            self._files.keep(self._path, self._inode)

    def _opened_below(self) -> File | None:
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._below


class OverlayFiles:
    """A tree of files that is as another one below, but for the changes made here."""

    def __init__(self, below: Files, max_bytes: int = MAX_CHANGED_BYTES) -> None:
        """`below` is only read."""
        self._below = below
        self._room = _Room(max_bytes)
        self._open: WeakValueDictionary[str, _Inode] = WeakValueDictionary()
        # What is not as below: a file, True for a directory, None for what is gone.
        self._changes: dict[str, _Inode | bool | None] = {}

    def open(self, path: str, *, create: bool = False) -> OverlayFile:
        inode = self._inode(path)
        if inode is None:
            if not create:
                raise _error(errno.ENOENT, path)
            self._check_directory(parent_of(path))
            inode = _Inode(self._room, None, 0)
            inode.touch()
            self._set(path, inode)
        base = None if inode.base is None else self._below.open(inode.base)
        return OverlayFile(self, path, inode, base)

    def mkdir(self, path: str) -> None:
        if self._is_file(path):
            raise _error(errno.EEXIST, path)
        if not self.exists(path):
            self._check_directory(parent_of(path))
            self._set(path, True)

    def remove(self, path: str) -> None:
        inode = self._inode(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        self._set(path, None)

    def rmdir(self, path: str) -> None:
        if not self.exists(path) or self._is_file(path):
            raise _error(errno.ENOENT, path)
        if self.listdir(path):
            raise _error(errno.ENOTEMPTY, path)
        self._set(path, None)

    def rename(self, old: str, new: str) -> None:
        if parent_of(old) != parent_of(new):
            raise _error(errno.EXDEV, new)
        inode = self._inode(old)
        if inode is None:  # nothing renames a directory
            raise _error(errno.ENOENT, old)
        self._inode(new)  # raises if it is a directory
        if old == new:
            return
        self._set(new, inode)
        if self._changes.get(old) is inode:
            self._changes[old] = None
        else:
            self._set(old, None)

    def listdir(self, path: str) -> list[str]:
        self._check_directory(path)
        prefix = f"{path}/" if path else ""
        is_below = self._changes.get(path) is not True
        names = set(self._below.listdir(path)) if is_below else set()
        for changed, change in self._changes.items():
            if changed.startswith(prefix) and "/" not in changed[len(prefix) :]:
                if change is None:
                    names.discard(changed[len(prefix) :])
                else:
                    names.add(changed[len(prefix) :])
        return sorted(names)

    def exists(self, path: str) -> bool:
        if path in self._changes:
            return self._changes[path] is not None
        return not self._is_in_made_directory(path) and self._below.exists(path)

    def sync_dir(self, path: str) -> None:
        self._check_directory(path)

    def sync_all(self) -> None:
        """Nothing is ever durable."""

    def replace(self, path: str, data: bytes) -> None:
        replace_by_rename(self, path, data)

    def read(self, path: str) -> bytes:
        if path not in self._changes and not self._is_in_made_directory(path):
            return self._below.read(path)
        file = self.open(path)
        try:
            return file.pread(file.size(), 0)
        finally:
            file.close()

    def stamp(self, path: str) -> Stamp:
        inode = self._inode(path)
        if inode is None:
            raise _error(errno.ENOENT, path)
        below = Stamp(0, 0, 0, 0, 0) if inode.base is None else self._below.stamp(inode.base)
        if inode.modified_ns is None:
            return below
        return below._replace(
            changed_ns=inode.modified_ns, modified_ns=inode.modified_ns, size=inode.size
        )

    def whereabouts(self) -> Whereabouts:
        return self._below.whereabouts()

    def free_space(self) -> FreeSpace:
        return FreeSpace(self._room.limit - self._room.used, self._room.limit)

    def keep(self, path: str, inode: _Inode) -> None:
        """A file that was as below is so no more."""
        if self._open.get(path) is inode:
            self._set(path, inode)

    def has(self, inode: _Inode) -> bool:
        """Whether a file still has a name."""
        return any(each is inode for each in (*self._changes.values(), *self._open.values()))

    def _inode(self, path: str) -> _Inode | None:
        """The file of a path; None if there is none."""
        if path in self._changes:
            change = self._changes[path]
            if change is True:
                raise _error(errno.EISDIR, path)
            return change or None
        inode = self._open.get(path)
        if inode is None and not self._is_in_made_directory(path):
            try:
                file = self._below.open(path)
            except FileNotFoundError:
                return None
            inode = self._open[path] = _Inode(self._room, path, file.size())
            file.close()
        return inode

    def _is_file(self, path: str) -> bool:
        try:
            return self._inode(path) is not None
        except IsADirectoryError:
            return False

    def _is_in_made_directory(self, path: str) -> bool:
        """Whether a directory above was made, or removed, here: then nothing below counts."""
        while path:
            path = parent_of(path)
            if path in self._changes:
                return True
        return False

    def _check_directory(self, path: str) -> None:
        if path and not (self.exists(path) and not self._is_file(path)):
            raise _error(errno.ENOENT, path)

    def _set(self, path: str, change: _Inode | bool | None) -> None:
        before = self._changes.get(path)
        if path not in self._changes:
            self._room.take(NAME_BYTES)
        self._changes[path] = change
        if change is not self._open.get(path):
            self._open.pop(path, None)
        if isinstance(before, _Inode) and before is not change:
            before.gone()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
