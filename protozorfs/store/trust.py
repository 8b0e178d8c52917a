"""The way to a store: every directory on it is looked at before anything below it is touched.

A store is only as safe as the directories above it. Who may rename what is in one of them can put
another directory in the store's place, at any moment, with files and keys of their choice. So, as
sshd(8) does for the keys of a user (StrictModes), the way is walked from the root directory on,
step by step by descriptors, and refused where somebody else could lead it elsewhere:

- Each directory belongs to the effective user or to root. In a user namespace the number that
  stands for all users outside of it counts as root: there the machine's root is one of them.
- Nobody else may write there. A group may, if all of its members that are known are the effective
  user or root: many systems give each user a group of their own, and directories that it may write.
- In a directory with the sticky bit, as /tmp, others may write: what is in it is safe from them if
  it belongs to one of the two.
- A symbolic link counts as what is in its directory.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.errors import StoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINKS = 40  # on one way, as the kernel has it
_OVERFLOW_UID = Path("/proc/sys/kernel/overflowuid")
_OVERFLOW_GID = Path("/proc/sys/kernel/overflowgid")
_UID_MAP = Path("/proc/self/uid_map")
_ALL_USERS = [0, 0, 4294967295]  # of the map of the machine's own namespace
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENT_MODE = 0o755  # of directories that are made on the way; less by the umask


def open_way(path: Path, made: Callable[[Path], None] | None = None, mode: int = 0o700) -> int:
    """A descriptor of a directory, for reading, whose way from the root is safe.

    Args:
        path: the directory. Itself it must belong to the effective user.
        made: told of each directory that was made, top down; None: nothing is made.
        mode: of the last one, if it is made.

    Raises:
        StoreRefused: somebody else could put another directory in its place, or it is theirs.
        OSError: as `os.open` of the path.
    """
    with _Way(made, mode) as way:
        way.walk(os.path.join(os.getcwd(), path))
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=way.at)
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            os.close(descriptor)
            raise StoreRefused(way.path, f"it belongs to {user_name(owner)}")
        return descriptor


def check_way(path: Path) -> None:
    """Returns if `open_way` would open that directory. Raises as it does."""
    os.close(open_way(path))


@dataclass
class _Way:
    """The directories from the root to where the walk is."""

    made: Callable[[Path], None] | None
    mode: int
    _opened: list[int] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)

    def __enter__(self) -> _Way:
        self._opened = [os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._opened:
            os.close(descriptor)

    @property
    def at(self) -> int:
        return self._opened[-1]

    @property
    def path(self) -> str:
        return "/" + "/".join(self._names)

    def walk(self, path: str) -> None:
        pending = list(reversed(path.split("/")))
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._leave()
                continue
            target = self._enter(name, is_last=not any(pending))
            if target is not None:
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    while len(self._opened) > 1:
                        self._leave()
                pending += reversed(target.split("/"))

    def _enter(self, name: str, *, is_last: bool) -> str | None:
        """Goes into a directory; of a link, returns where it leads, and stays."""
        check_directory(self.path, os.fstat(self.at))
        entry = self._open(name, is_last=is_last)
        try:
            status = os.fstat(entry)
            check_entry(self.path, name, os.fstat(self.at), status)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink("", dir_fd=entry)
                os.close(entry)
                return target
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        except BaseException:
            with suppress(OSError):
                os.close(entry)
            raise
        self._opened.append(entry)
        self._names.append(name)
        return None

    def _leave(self) -> None:
        if len(self._opened) > 1:
            os.close(self._opened.pop())
            self._names.pop()

    def _open(self, name: str, *, is_last: bool) -> int:
        try:
            return os.open(name, _STEP, dir_fd=self.at)
        except FileNotFoundError:
            if self.made is None:
                raise
        with suppress(FileExistsError):  # somebody makes the same
            os.mkdir(name, self.mode if is_last else _PARENT_MODE, dir_fd=self.at)
            self.made(Path(self.path, name))
            sync_directory(self.at)
        return os.open(name, _STEP, dir_fd=self.at)


def sync_directory(directory: int) -> None:
    """Returns when the names in a directory survive a power cut.

    Args:
        directory: a descriptor, which may be one of O_PATH.
    """
    try:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except PermissionError:  # others' directories need not be readable to be written
        os.sync()
        return
    try:
        os.fsync(readable)
    finally:
        os.close(readable)


def is_open_to_others(path: Path) -> bool:
    """Whether all directories above it let other users pass."""
    above = path.resolve().parents
    return all(os.stat(each).st_mode & (stat.S_IXGRP | stat.S_IXOTH) for each in above)


def check_directory(path: str, status: os.stat_result) -> None:
    """Returns if nobody else owns a directory. Raises StoreRefused."""
    if not _is_trusted(status.st_uid):
        raise StoreRefused(
            path, f"it belongs to {user_name(status.st_uid)}, who could put another store there"
        )


def check_entry(path: str, name: str, directory: os.stat_result, entry: os.stat_result) -> None:
    """Returns if nobody else can put something in the place of an entry of a directory.

    Raises:
        StoreRefused
    """
    who = _other_writers(path, directory)
    if who is None:
        return
    if not directory.st_mode & stat.S_ISVTX:
        raise StoreRefused(path, f"{who} may write there, and could put another store there")
    if not _is_trusted(entry.st_uid):
        raise StoreRefused(os.path.join(path, name), f"it belongs to {user_name(entry.st_uid)}")


def _other_writers(path: str, status: os.stat_result) -> str | None:
    """Who else may write in a directory, if anybody."""
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if not status.st_mode & stat.S_IWGRP:
        return None
    if _has_acl(path):
        return "somebody in its access list"
    members = group_members(status.st_gid)
    if members is None:
        return "a group outside of this user namespace"
    others = sorted(members - {"root", _name_of_user(os.geteuid())})
    return None if not others else f"user {others[0]}, as a member of its group,"


def _has_acl(path: str) -> bool:
    """Whether the bits of the group stand for more than the group."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def group_members(gid: int) -> set[str] | None:
    """The users that are known to be in a group; None where nothing of it can be known."""
    if gid == _overflow(_OVERFLOW_GID):
        return None
    members = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == gid}
    with suppress(KeyError):  # a number without a name has nobody
        members.update(grp.getgrgid(gid).gr_mem)
    return members


def _is_trusted(uid: int) -> bool:
    return uid in (0, os.geteuid(), _overflow(_OVERFLOW_UID))


@cache
def _overflow(file: Path) -> int | None:
    """The number that stands for users (or groups) outside of this user namespace, if it is one."""
    try:
        mapping = [[int(word) for word in line.split()] for line in _lines(_UID_MAP)]
        return None if mapping == [_ALL_USERS] else int(file.read_text())
    except OSError:  # without /proc: trust nobody more
        return None


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def user_name(uid: int) -> str:
    """A user as messages have it."""
    return f"user {_name_of_user(uid)}"


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
