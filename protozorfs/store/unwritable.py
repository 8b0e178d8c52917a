"""Stores that are only read: since their user wants it so, or since they cannot be written to."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from protozorfs.errors import UsageError
from protozorfs.store.beneath import Beneath
from protozorfs.store.lock import LOCK_FILE
from protozorfs.store.trust import open_way

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_FILE = "format"
_DENIED = (errno.EROFS, errno.EPERM, errno.EACCES)  # of a disk, or of files with `chattr +i`
_OF_EVERY_STORE = frozenset({LOCK_FILE, FORMAT_FILE})  # a copy may lack one


class StoreToRead:
    """The directory of a store that is there: none is made to be read.

    Attributes:
        root: the directory, held open until `close`.
    """

    def __init__(self, path: Path) -> None:
        """Raises:
        StoreRefused: it, or a directory above it, is in the hands of somebody else.
        UsageError: there is no store.
        """
        try:
            self.root = Beneath(open_way(path), str(path))
        except OSError as error:
            raise UsageError(f"{path} is no store: {error.strerror}") from error
        if not _OF_EVERY_STORE.intersection(os.listdir(self.root.descriptor)):
            self.root.close()
            raise UsageError(f"{path} is no store, and a mount with -o ro makes none")

    def made_lock(self) -> None:
        """Nothing is made."""

    def undo(self, *, has_lock: bool) -> None:
        """Nothing was made."""

    def close(self) -> None:
        """Lets go of the directory."""
        self.root.close()


def is_store(path: Path) -> bool:
    """Whether there is a store, whoever it belongs to."""
    return any(os.path.lexists(path / name) for name in _OF_EVERY_STORE)


def check_writable(root: Beneath) -> None:
    """Returns unless the store is on a file system that is mounted read-only.

    Raises:
        UsageError: it is.
    """
    if os.fstatvfs(root.descriptor).f_flag & os.ST_RDONLY:
        raise _unwritable(root.path, "its file system is read-only")


def check_not_denied(path: Path, error: BaseException) -> None:
    """Returns unless it is the error of a file of the store that could not be opened for writing.

    Raises:
        UsageError: it is.
    """
    if isinstance(error, OSError) and error.errno in _DENIED:
        raise _unwritable(path, f"its file {LOCK_FILE} says: {error.strerror}") from error


def _unwritable(path: Path | str, reason: str) -> UsageError:
    return UsageError(
        f"{path} cannot be written to, since {reason}; to read it, mount it with -o ro"
    )
