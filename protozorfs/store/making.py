"""The directory of a store: made if it is missing, and taken away again if nothing came of it."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import UsageError
from protozorfs.store.beneath import Beneath
from protozorfs.store.files import PRIVATE_DIRECTORY
from protozorfs.store.lock import LOCK_FILE
from protozorfs.store.trust import is_open_to_others, open_way
from protozorfs.store.unwritable import check_writable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FEEDS = "feeds"
LOG_FILE = "mount.log"
OLD_LOG_FILE = f"{LOG_FILE}.1"
_OF_EVERY_STORE = frozenset({"format", FEEDS})
# Through a file ".new".
_WRITTEN = (
    *("format", "names", "names.copy", "node_key", "node_key.copy", "node_key_place"),
    *("inodes", "dht", "stale.db"),
)
# All that there may be of a store into which nothing was put.
_EMPTY_STORE = frozenset(
    {
        *(LOCK_FILE, "spare"),
        *(name + suffix for name in _WRITTEN for suffix in ("", ".new")),
    }
)

logger = logging.getLogger(__name__)


class StoreDirectory:
    """A directory that is, or becomes, a store.

    Attributes:
        root: the directory, held open until `close`.
    """

    def __init__(self, path: Path) -> None:
        """Makes the directory if it is missing, and gives it to its user alone; both durably.

        Raises:
            StoreRefused: it, or a directory above it, is in the hands of somebody else.
            UsageError: it cannot be made or written to, or holds something else than a store.
        """
        self._path = path
        self._made: list[Path] = []  # the innermost first
        self._names_before: list[str] = []
        try:
            self.root = Beneath(self._opened(), str(path))
            try:
                self._prepare()
            except BaseException:
                self.root.close()
                raise
        except BaseException:
            self._remove_directories()
            raise

    def _opened(self) -> int:
        path = self._path
        try:
            return open_way(path, lambda made: self._made.insert(0, made))
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{path} is not a directory") from None
        except PermissionError:
            raise UsageError(f"no permission to use {path} as a store") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be a store: {error.strerror}") from error

    def _prepare(self) -> None:
        path = self._path
        try:
            names = os.listdir(self.root.descriptor)
        except OSError as error:
            raise UsageError(f"{path} cannot be a store: {error.strerror}") from error
        if names and not self._is_store(names):
            raise UsageError(f"{path} holds something else: a store needs a directory of its own")
        check_writable(self.root)
        for name in _EMPTY_STORE | {LOG_FILE, OLD_LOG_FILE}:
            self.root.check_file(name)  # not to find out later, when it is to be written
        self._names_before = names
        self._mode = os.fstat(self.root.descriptor).st_mode & 0o7777
        if self._mode & 0o077:  # it was there before us, or its parents' rules widened it
            self._close_to_others()

    def _is_store(self, names: Collection[str]) -> bool:
        """Whether the names are those of a store; if its lock is missing, the format tells."""
        if LOCK_FILE in names:
            return True
        if not _OF_EVERY_STORE.issubset(names):
            return False
        logger.warning("the store's file %s is missing, and made anew", self._path / LOCK_FILE)
        return True

    def _close_to_others(self) -> None:
        """Gives the directory to its user alone.

        Raises:
            UsageError: its file system refuses that, and others can come in.
        """
        reason = "its file system keeps no modes"
        try:
            os.fchmod(self.root.descriptor, PRIVATE_DIRECTORY)
        except OSError as error:
            reason = str(error.strerror)
        mode = os.fstat(self.root.descriptor).st_mode
        if mode & 0o077 and is_open_to_others(self._path):
            raise UsageError(
                f"{self._path} is open to other users, and that cannot be changed ({reason}):"
                " use a directory that others cannot reach, or mount its file system with umask=077"
            )

    def made_lock(self) -> None:
        """The lock was taken: makes its name durable, if it is new."""
        if LOCK_FILE not in self._names_before:
            os.fsync(self.root.descriptor)

    def close(self) -> None:
        """Lets go of the directory."""
        self.root.close()

    def undo(self, *, has_lock: bool) -> None:
        """Leaves nothing of a store that was made here and holds no feed; else does nothing.

        Without the lock somebody else may have made it meanwhile: then no file but that of the
        lock is touched, and only where it is the only one.
        """
        if self._names_before:
            return
        mine = _EMPTY_STORE if has_lock else {LOCK_FILE}
        with suppress(OSError):
            root = self.root.descriptor
            names = set(os.listdir(root)) - {FEEDS}
            if names <= mine and self._remove_feeds():
                for name in sorted(names, key=lambda name: name == LOCK_FILE):
                    os.unlink(name, dir_fd=root)
                if not self._made:
                    os.fchmod(root, self._mode)
                self._remove_directories()

    def _remove_feeds(self) -> bool:
        """Whether there was no feed; every directory is only removed if it is empty."""
        try:
            feeds = self.root.open_directory(FEEDS)
            try:
                for bucket in os.listdir(feeds):
                    os.rmdir(bucket, dir_fd=feeds)
            finally:
                os.close(feeds)
            os.rmdir(FEEDS, dir_fd=self.root.descriptor)
        except FileNotFoundError:
            return True  # it was not made yet
        except OSError:
            return False
        return True

    def _remove_directories(self) -> None:
        with suppress(OSError):  # somebody else uses one
            for directory in self._made:
                if os.path.lexists(directory):
                    os.rmdir(directory)
