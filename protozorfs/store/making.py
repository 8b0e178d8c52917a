"""The directory of a store: made if it is missing, and taken away again if nothing came of it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs.errors import UsageError
from protozorfs.store.files import PRIVATE_DIRECTORY
from protozorfs.store.lock import LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path

FEEDS = "feeds"
# Through a file ".new".
_WRITTEN = (
    *("format", "names", "names.copy", "node_key", "node_key_place"),
    *("inodes", "dht", "stale.db"),
)
# All that there may be of a store into which nothing was put.
_EMPTY_STORE = frozenset(
    {
        *(LOCK_FILE, "spare"),
        *(name + suffix for name in _WRITTEN for suffix in ("", ".new")),
    }
)


class StoreDirectory:
    """A directory that is, or becomes, a store."""

    def __init__(self, path: Path) -> None:
        """Makes the directory if it is missing, and gives it to its user alone.

        Raises:
            UsageError: it cannot be made, or holds something else than a store.
        """
        self._path = path
        self._made = [each for each in (path, *path.parents) if not os.path.lexists(each)]
        self._names_before: list[str] | None = None
        try:
            self._prepare()
        except BaseException:
            self._remove_directories()
            raise

    def _prepare(self) -> None:
        path = self._path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
            names = os.listdir(path)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{path} is not a directory") from None
        except PermissionError:
            raise UsageError(f"no permission to use {path} as a store") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be a store: {error.strerror}") from error
        if names and LOCK_FILE not in names:
            raise UsageError(f"{path} holds something else: a store needs a directory of its own")
        self._names_before = names
        self._mode = path.stat().st_mode & 0o7777
        if self._mode & 0o077:  # it was there before us, or its parents' rules widened it
            path.chmod(PRIVATE_DIRECTORY)

    def undo(self, *, has_lock: bool) -> None:
        """Leaves nothing of a store that was made here and holds no feed; else does nothing.

        Without the lock somebody else may have made it meanwhile: then no file but that of the
        lock is touched, and only where it is the only one.
        """
        if self._names_before:
            return
        mine = _EMPTY_STORE if has_lock else {LOCK_FILE}
        with suppress(OSError):
            names = set(os.listdir(self._path)) - {FEEDS}
            if names <= mine and self._remove_feeds():
                for name in sorted(names, key=lambda name: name == LOCK_FILE):
                    os.unlink(self._path / name)
                if self._path not in self._made:
                    self._path.chmod(self._mode)
                self._remove_directories()

    def _remove_feeds(self) -> bool:
        """Whether there was no feed; every directory is only removed if it is empty."""
        feeds = self._path / FEEDS
        try:
            for bucket in os.listdir(feeds):
                os.rmdir(feeds / bucket)
            os.rmdir(feeds)
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
