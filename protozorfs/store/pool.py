"""Open files under one limit.

Ten thousand feeds with four files each would need more descriptors than a process may have, and a
feed at rest needs none. A `PooledFile` opens its file when it is used, and loses it again when
others need a place or it is not used any more.

Only one thread may use a pool. A thread that syncs gets files that were pinned for it: a pinned
file is not closed. A thread that makes a feed has a pool of its own, which joins this one after.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from protozorfs import descriptors
from protozorfs.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.store.files import File, Files

NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class FilePool:
    """At most `limit` open files; the ones not used for long are closed (second chance)."""

    def __init__(self, files: Files, limit: int = descriptors.MAX_FEED_FILES) -> None:
        self.files = files
        self.limit = limit
        self._open: dict[PooledFile, None] = {}  # in the order in which they are looked at
        self._distrusted: set[str] = set()
        self._durable: set[str] = set()

    @property
    def open_count(self) -> int:
        """How many files are open now."""
        return len(self._open)

    def file(self, path: str, closed: Callable[[], None] | None = None) -> PooledFile:
        """A file of the pool; nothing is opened yet.

        A missing one reads as empty, and is made by the first write. `closed` is called whenever
        its descriptor was given back: what is kept in memory of it has not been needed either.
        """
        return PooledFile(self, path, closed)

    def distrust(self, directory: str) -> None:
        """A sync of something in that directory failed.

        The system forgets what it failed to write, and calls it clean: until the end of this run no
        later success would prove anything.
        """
        self._distrusted.add(directory)

    def is_distrusted(self, directory: str) -> bool:
        """Whether a sync of something in that directory failed in this run."""
        return directory in self._distrusted

    def note_durable(self, directory: str) -> None:
        """It was synced in this run that there is such a directory, which will stay."""
        self._durable.add(directory)

    def is_durable(self, directory: str) -> bool:
        """Whether that was noted."""
        return directory in self._durable

    def apart(self) -> FilePool:
        """A pool of the same files for another thread to use, until `join`."""
        pool = FilePool(self.files, self.limit)
        pool._distrusted, pool._durable = self._distrusted, self._durable
        return pool

    def join(self, pool: FilePool) -> None:
        """Ends `apart`: all files of that pool, open or not, are under this one's limit now."""
        self._open.update(pool._open)
        pool._open = self._open
        self.make_room()

    def close_unused(self) -> None:
        """Closes what was not used since the last call: called now and then, nothing stays open."""
        for file in list(self._open):
            if not file.is_pinned and not file.take_used():
                file.close()

    def close(self) -> None:
        """Closes all of its files; none may be pinned. They can be used again."""
        for file in list(self._open):
            file.close()

    def make_room(self) -> None:
        """Closes files until one more may be opened. Pinned ones may exceed the limit."""
        # After one round nobody was used since; then only pins are left.
        chances = 2 * len(self._open)
        while len(self._open) >= self.limit and chances:
            chances -= 1
            candidate = next(iter(self._open))
            del self._open[candidate]
            if candidate.is_pinned or candidate.take_used():
                self._open[candidate] = None
            else:
                candidate.close()

    def open(self, path: str, *, create: bool) -> File:
        """Opens a file, even where others have taken the last descriptor of the process.

        Raises:
            OSError: no file of the pool can make room for it either.
        """
        while True:
            try:
                return self.files.open(path, create=create)
            except OSError as error:
                if error.errno not in NO_DESCRIPTOR or not self._close_one():
                    raise

    def _close_one(self) -> bool:
        for file in self._open:
            if not file.is_pinned:
                file.close()
                return True
        return False

    def add(self, file: PooledFile) -> None:
        """Counts a file that was opened."""
        self._open[file] = None

    def discard(self, file: PooledFile) -> None:
        """Counts a file as closed."""
        self._open.pop(file, None)


class PooledFile:
    """A `File` that is opened when it is used, again after a `close` that gave its place back."""

    __slots__ = ("_closed", "_file", "_path", "_pins", "_pool", "_used")

    def __init__(self, pool: FilePool, path: str, closed: Callable[[], None] | None = None) -> None:
        self._pool = pool
        self._path = path
        self._closed = closed
        self._file: File | None = None
        self._used = False
        self._pins = 0

    @property
    def is_pinned(self) -> bool:
        """Whether it must stay open."""
        return self._pins > 0

    @property
    def path(self) -> str:
        """Its path in the pool's files."""
        return self._path

    def take_used(self) -> bool:
        """Whether it was used since the last call."""
        used, self._used = self._used, False
        return used

    def pin(self) -> File:
        """The open file, which stays open until `unpin`: for use in another thread."""
        file = self._opened()
        self._pins += 1
        return file

    def unpin(self) -> None:
        """Ends one `pin`."""
        if not self._pins:
            raise LocalProtocolError("the file is not pinned")
        self._pins -= 1

    def pread(self, size: int, offset: int) -> bytes:
        self._used = True
        file = self._file or self._found()
        return b"" if file is None else file.pread(size, offset)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        self._used = True
        (self._file or self._opened()).pwrite(data, offset)

    def pwritev(self, parts: Sequence[bytes], offset: int) -> None:
        self._used = True
        (self._file or self._opened()).pwritev(parts, offset)

    def truncate(self, size: int) -> None:
        self._opened().truncate(size)

    def size(self) -> int:
        file = self._found()
        return 0 if file is None else file.size()

    def is_there(self, size: int) -> bool:
        file = self._file or self._found()
        return file is not None and file.is_there(size)

    def allocated_bytes(self) -> int:
        file = self._found()
        return 0 if file is None else file.allocated_bytes()

    def modified_ns(self) -> int:
        file = self._found()
        return 0 if file is None else file.modified_ns()

    def set_modified(self, time_ns: int) -> None:
        file = self._found()
        if file is not None:
            file.set_modified(time_ns)

    def fdatasync(self) -> None:
        self._opened().fdatasync()

    def punch_hole(self, offset: int, size: int) -> None:
        self._opened().punch_hole(offset, size)

    def close(self) -> None:
        """Closes the file, if it is open and not pinned."""
        if self._file is None or self._pins:
            return
        file, self._file = self._file, None
        self._pool.discard(self)
        file.close()
        if self._closed is not None:
            self._closed()

    def _found(self) -> File | None:
        try:
            return self._opened(create=False)
        except FileNotFoundError:
            return None

    def _opened(self, *, create: bool = True) -> File:
        self._used = True
        if self._file is None:
            file = self._pool.open(self._path, create=create)
            self._pool.make_room()
            self._file = file
            self._pool.add(self)
            self._used = False  # a file used once must not outlive one that is used all the time
        return self._file
