"""One process at a time: `flock` on STORE/lock, whose content says who and where mounted."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreLocked
from protozorfs.store.files import DISK_FULL, PRIVATE_FILE

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILE = "lock"  # in a store
MAX_LOCK_BYTES = 64 * 1024  # a mount point has at most 4 KiB; JSON may write a byte as six
# Who only looks shares the lock for microseconds, in which it cannot be taken.
MAX_LOOKERS = 50
LOOK_SECONDS = 0.002  # between two attempts


class LockHolder(NamedTuple):
    """What a lock file says of its holder; None where it says nothing."""

    pid: int | None
    mount_point: str | None


class StoreLock:
    """A held lock. The kernel drops it when the process ends, however it ends."""

    def __init__(self, path: Path, mount_point: str | None = None) -> None:
        """Takes the lock, or raises without waiting for its holder.

        Args:
            path: the lock file; made if missing.
            mount_point: told to whoever finds the store locked.

        Raises:
            StoreLocked: another process (or another `StoreLock` of this one) holds it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            self._take(path, mount_point)
        except BaseException:
            self.release()
            raise

    def _take(self, path: Path, mount_point: str | None) -> None:
        for _ in range(MAX_LOOKERS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = current_holder(path)
                if holder is not None:
                    raise StoreLocked(str(path.parent), *holder) from None
                time.sleep(LOOK_SECONDS)
            else:
                self.set_mount_point(mount_point)
                return
        raise StoreLocked(str(path.parent), *read_holder(path))

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

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it could split one lock in two."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def current_holder(path: Path) -> LockHolder | None:
    """Who holds the lock now; None if nobody does. Nothing is made or changed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no store yet, or not ours; opening it says what is wrong
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _decode_holder(os.pread(descriptor, MAX_LOCK_BYTES, 0))
    finally:
        os.close(descriptor)
    return None


def read_holder(path: Path) -> LockHolder:
    """Who held the lock last, by its file; whether it is held now, only taking it can tell."""
    try:
        return _decode_holder(path.read_bytes()[:MAX_LOCK_BYTES])
    except FileNotFoundError:
        return LockHolder(None, None)


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
