"""Files whose changes are kept in memory: what a recovery would do, tried without doing it.

The files below are never changed. What is written that is there already costs nothing, so that a
recovery, which writes again what it has verified, does not bring whole feeds into memory.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs.store.files import parent_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.store.files import File, Files, FreeSpace
    from protozorfs.store.place import Stamp, Whereabouts

PAGE_BYTES = 4096
_ZEROS = bytes(PAGE_BYTES)


class _Content:
    """What one file holds: pages that were changed, above the first bytes of a file below."""

    def __init__(self, base: str | None, size: int) -> None:
        self.base = base
        self.base_bytes = size  # of the file below, as far as it was never cut off
        self.size = size
        self.pages: dict[int, bytes] = {}
        self.modified_ns: int | None = None


class OverlayFile:
    """A `File` of an overlay; see `store.files`."""

    def __init__(self, content: _Content, base: File | None) -> None:
        self._content = content
        self._base = base

    def pread(self, size: int, offset: int) -> bytes:
        content = self._content
        size = max(0, min(size, content.size - offset))
        below = max(0, min(size, content.base_bytes - offset))
        data = self._base.pread(below, offset) if self._base is not None and below else b""
        if not content.pages:
            return data.ljust(size, b"\0")
        found = bytearray(data.ljust(size, b"\0"))
        for number in _pages_of(offset, size):
            page = content.pages.get(number)
            if page is not None:
                start, end = (
                    max(0, number * PAGE_BYTES - offset),
                    (number + 1) * PAGE_BYTES - offset,
                )
                skipped = offset + start - number * PAGE_BYTES
                end = min(end, size)
                found[start:end] = page[skipped : skipped + end - start]
        return bytes(found)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        content = self._content
        is_there = self.pread(len(data), offset) == data
        content.size = max(content.size, offset + len(data))
        if is_there:
            return
        for number in _pages_of(offset, len(data)):
            first = number * PAGE_BYTES
            start, end = max(first, offset), min(first + PAGE_BYTES, offset + len(data))
            page = bytearray(self.pread(PAGE_BYTES, first).ljust(PAGE_BYTES, b"\0"))
            page[start - first : end - first] = data[start - offset : end - offset]
            content.pages[number] = bytes(page)

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        self.pwrite(b"".join(parts), offset)

    def truncate(self, size: int) -> None:
        content = self._content
        if size < content.size:
            for number in [number for number in content.pages if (number + 1) * PAGE_BYTES > size]:
                kept = content.pages.pop(number)[: max(0, size - number * PAGE_BYTES)]
                if kept:
                    content.pages[number] = kept.ljust(PAGE_BYTES, b"\0")
            content.base_bytes = min(content.base_bytes, size)
        content.size = size

    def size(self) -> int:
        return self._content.size

    def allocated_bytes(self) -> int:
        return self._base.allocated_bytes() if self._base is not None else self._content.size

    def modified_ns(self) -> int:
        if self._content.modified_ns is not None:
            return self._content.modified_ns
        return self._base.modified_ns() if self._base is not None else 0

    def set_modified(self, time_ns: int) -> None:
        self._content.modified_ns = time_ns

    def fdatasync(self) -> None:
        """Nothing survives anyway."""

    def punch_hole(self, offset: int, size: int) -> None:
        end = min(offset + size, self._content.size)
        for number in _pages_of(offset, max(0, end - offset)):
            first = number * PAGE_BYTES
            start, stop = max(first, offset), min(first + PAGE_BYTES, end)
            self.pwrite(_ZEROS[: stop - start], start)

    def close(self) -> None:
        if self._base is not None:
            self._base.close()


class OverlayFiles:
    """The `Files` below, with changes that nobody else sees and that end with this object."""

    def __init__(self, below: Files) -> None:
        self._below = below
        self._contents: dict[str, _Content | None] = {}  # None: it was removed
        self._directories: set[str] = set()

    def open(self, path: str, *, create: bool = False) -> OverlayFile:
        if path not in self._contents:
            try:
                base = self._below.open(path)
            except FileNotFoundError:
                if not create:
                    raise
                return OverlayFile(self._new(path), None)
            content = self._contents[path] = _Content(path, base.size())
            return OverlayFile(content, base)
        found = self._contents[path]
        if found is not None:
            return OverlayFile(found, None if found.base is None else self._below.open(found.base))
        if not create:
            raise FileNotFoundError(path)
        return OverlayFile(self._new(path), None)

    def _new(self, path: str) -> _Content:
        content = self._contents[path] = _Content(None, 0)
        return content

    def mkdir(self, path: str) -> None:
        self._directories.add(path)

    def remove(self, path: str) -> None:
        if not self.exists(path):
            raise FileNotFoundError(path)
        self._contents[path] = None

    def rmdir(self, path: str) -> None:
        self._directories.discard(path)

    def rename(self, old: str, new: str) -> None:
        self.open(old).close()  # it is known from now on
        self._contents[new] = self._contents[old]
        self._contents[old] = None

    def listdir(self, path: str) -> list[str]:
        names = set()
        try:
            names.update(self._below.listdir(path))
        except FileNotFoundError:
            if path not in self._directories:
                raise
        for changed, content in self._contents.items():
            if parent_of(changed) == path:
                name = changed.rpartition("/")[2]
                names.discard(name)
                if content is not None:
                    names.add(name)
        return sorted(names)

    def exists(self, path: str) -> bool:
        if path in self._contents:
            return self._contents[path] is not None
        return path in self._directories or self._below.exists(path)

    def sync_dir(self, path: str) -> None:
        """Nothing survives anyway."""

    def replace(self, path: str, data: bytes) -> None:
        self._new(path)
        self.open(path).pwrite(data, 0)

    def read(self, path: str) -> bytes:
        with closing(self.open(path)) as file:
            return file.pread(file.size(), 0)

    def stamp(self, path: str) -> Stamp:
        content = self._contents.get(path)
        if content is not None and content.base is None:
            raise FileNotFoundError(path)  # a file that is in memory has no place
        return self._below.stamp(path if content is None else content.base or path)

    def whereabouts(self) -> Whereabouts:
        return self._below.whereabouts()

    def free_space(self) -> FreeSpace:
        return self._below.free_space()


def _pages_of(offset: int, size: int) -> range:
    """The numbers of the pages in which a range has bytes."""
    return range(offset // PAGE_BYTES, -(-(offset + size) // PAGE_BYTES) if size else 0)
