"""One process at a time: `flock` on STORE/lock, whose content says who and where mounted.

Those that only read the store share the lock with one another, and write nothing into the file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreLocked
from protozorfs.store.files import DISK_FULL, PRIVATE_FILE

if TYPE_CHECKING:
    from protozorfs.store.beneath import Beneath

LOCK_FILE = "lock"  # in a store
PROC_LOCKS = Path("/proc/locks")
MAX_LOCK_BYTES = 64 * 1024  # a mount point has at most 4 KiB; JSON may write a byte as six
# Who only looks shares the lock for microseconds, in which it cannot be taken.
MAX_LOOKERS = 50
LOOK_SECONDS = 0.002  # between two attempts

logger = logging.getLogger(__name__)


class LockHolder(NamedTuple):
    """What a lock file says of its holder; None where it says nothing."""

    pid: int | None
    mount_point: str | None


class StoreLock:
    """A held lock. The kernel drops it when the process ends, however it ends.

    The directory itself is locked as well: where somebody has removed the file, a second process
    would make another one, and take that.
    """

    def __init__(self, root: Beneath, mount_point: str | None = None) -> None:
        """Takes the lock, or raises without waiting for its holder.

        Args:
            root: the store; the file is made if it is missing.
            mount_point: told to whoever finds the store locked.

        Raises:
            StoreLocked: another process (or another `StoreLock` of this one) holds it.
            StoreRefused: the file is none of ours.
        """
        self._root = root
        self._is_directory_locked = False
        self._descriptor = root.open_file(LOCK_FILE, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            self._take(mount_point)
        except BaseException:
            self.release()
            raise

    def _take(self, mount_point: str | None) -> None:
        for _ in range(MAX_LOOKERS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = current_holder(Path(self._root.path))
                if holder is not None:
                    raise StoreLocked(self._root.path, *holder) from None
                time.sleep(LOOK_SECONDS)
            else:
                self._lock_directory()
                self.set_mount_point(mount_point)
                return
        raise StoreLocked(self._root.path, None, None, is_read=True)

    def _lock_directory(self) -> None:
        try:
            fcntl.flock(self._root.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreLocked(self._root.path, None, None) from None
        except OSError as error:  # some file systems lock no directories
            logger.debug("the directory of the store cannot be locked: %s", error)
        else:
            self._is_directory_locked = True

    def set_mount_point(self, mount_point: str | None, pid: int | None = None) -> None:
        """Writes what others are told: the mount point, and the holder's pid (default: ours)."""
        path = None if mount_point is None else _text_of_bytes(os.fsencode(mount_point))
        content = json.dumps({"pid": pid or os.getpid(), "mount_point": path}).encode()
        try:
            os.pwrite(self._descriptor, content, 0)
            os.ftruncate(self._descriptor, len(content))
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            # Btrfs needs space to write over a file. Nobody must be told of the holder before us.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def is_removed(self) -> bool:
        """Whether somebody has removed the file, as with all that is in the store."""
        return os.fstat(self._descriptor).st_nlink == 0

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it could split one lock in two."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            if self._is_directory_locked:
                fcntl.flock(self._root.descriptor, fcntl.LOCK_UN)


class SharedLock:
    """A lock that any number of readers hold at once, and nobody who writes; nothing is written."""

    def __init__(self, root: Beneath) -> None:
        """Takes the lock without waiting, as far as there is one.

        Args:
            root: the store.

        Raises:
            StoreLocked: a process that writes to the store holds it.
            StoreRefused: the file is none of ours.
        """
        self._root = root
        self._descriptors = [root.open_directory("")]
        try:
            with suppress(FileNotFoundError):  # in a copy, for one
                self._descriptors.append(root.open_file(LOCK_FILE, os.O_RDONLY))
            for descriptor in self._descriptors:
                self._take(descriptor)
        except BaseException:
            self.release()
            raise

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            path = self._root.path
            raise StoreLocked(path, *read_holder(Path(path))) from None
        except OSError as error:  # some file systems lock nothing that cannot be written
            logger.info("the store %s is read without a lock: %s", self._root.path, error)

    def is_removed(self) -> bool:
        """Whether somebody has removed the store, or the file of the lock."""
        return any(os.fstat(descriptor).st_nlink == 0 for descriptor in self._descriptors)

    def release(self) -> None:
        """Gives the lock back."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def current_holder(store: Path) -> LockHolder | None:
    """Who holds the lock now; None if nobody does. Nothing is made or changed."""
    try:
        descriptor = _open_to_look(store)
    except OSError:  # no store yet, or not ours; opening it says what is wrong
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _decode_holder(os.pread(descriptor, MAX_LOCK_BYTES, 0))
    finally:
        os.close(descriptor)
    return None


def readers(store: Path) -> list[int]:
    """The processes that only read the store, as far as this PID namespace shows them.

    Source: proc_locks(5).

    Raises:
        OSError: there is no such store.
    """
    inode = str((store / LOCK_FILE).lstat().st_ino)
    found = []
    for line in PROC_LOCKS.read_text().splitlines():
        fields = line.split()
        # A device's number there is not always that of stat(2), as on btrfs: it says nothing.
        if fields[1:2] == ["FLOCK"] and fields[3] == "READ" and fields[5].split(":")[-1] == inode:
            found.append(int(fields[4]))
    return found


def read_holder(store: Path) -> LockHolder:
    """Who held the lock last, by its file; whether it is held now, only taking it can tell.

    The store may be anybody's: what is said is told, and must not be relied on.
    """
    try:
        descriptor = _open_to_look(store)
    except OSError:
        return LockHolder(None, None)
    try:
        return _decode_holder(os.pread(descriptor, MAX_LOCK_BYTES, 0))
    finally:
        os.close(descriptor)


def _open_to_look(store: Path) -> int:
    """Opens the file if it is a regular one: neither a pipe nor a device can hold us up.

    Raises:
        OSError
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    # By its kind before it is opened: to open a device may do something by itself.
    path = store / LOCK_FILE
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    return descriptor


def _decode_holder(content: bytes) -> LockHolder:
    # Read while its holder may be writing it: whatever it holds is only told, never relied on.
    try:
        values = json.loads(content)
    except ValueError:
        return LockHolder(None, None)
    if not isinstance(values, dict):
        return LockHolder(None, None)
    pid, mount_point = values.get("pid"), values.get("mount_point")
    return LockHolder(pid if isinstance(pid, int) else None, _path_of_text(mount_point))


def _text_of_bytes(path: bytes) -> str:
    """A path as the file has it, the same in every locale."""
    return path.decode("utf-8", "surrogateescape")


def _path_of_text(text: object) -> str | None:
    """A path as this process has it on its command line."""
    if not isinstance(text, str):
        return None
    try:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # nothing that we write
        return None
