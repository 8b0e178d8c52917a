"""Mount points as the system sees them: checks before mounting, dead mounts, is ours still there.

Every error is a `MountError`, one sentence for the user.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from protozorfs.errors import UsageError

MOUNT_FAILURE = 32  # exit code. Source: mount(8)
FILE_SYSTEM_TYPE = "fuse.protozorfs"
FUSE_DEVICE = "/dev/fuse"
_MOUNTINFO = "/proc/self/mountinfo"
_UNMOUNT_SECONDS = 5.0  # a lazy unmount does not wait for anything; this is for a sick system
_READ_BYTES = 64 * 1024
_MAX_DEAD_MOUNTS = 16  # on top of each other; a sick system must not keep us here
NOT_EMPTY = "{}: not empty; what is in there would be hidden"
_OCTAL = re.compile(rb"\\([0-7]{3})")
_HAS_TO_BE_OCTAL = re.compile(rb"[^ -~]|\\(?=[0-7]{3})")

log = logging.getLogger(__name__)


class MountError(UsageError):
    """Mounting is not possible; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, MOUNT_FAILURE)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo: device number as "major:minor", path, file system type, source.

    Path and source are as `os.fsdecode` makes them, so that they compare with those of a command
    line.
    """

    device: str
    path: str
    kind: str
    source: str = ""


def parse_mountinfo(content: bytes) -> list[MountEntry]:
    """The entries, later mounts last. Source: proc_pid_mountinfo(5).

    Names are bytes, and all but blank, tab, newline, "#" and backslash stand for themselves: what
    ends a line in other texts ends none here.
    """
    entries = []
    for line in content.split(b"\n"):
        fields, separator, rest = line.partition(b" - ")
        parts = fields.split(b" ")
        if separator and len(parts) > 4:
            kind, source = (*rest.split(b" "), b"")[:2]
            texts = (parts[2], _unescaped(parts[4]), kind, _unescaped(source))
            entries.append(MountEntry(*map(os.fsdecode, texts)))
    return entries


def _unescaped(text: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), text)


def ascii_source(source: str) -> str:
    """What stands for a source where only ASCII can be told: other bytes as octal escapes."""
    escaped = _HAS_TO_BE_OCTAL.sub(lambda match: b"\\%03o" % match[0][0], os.fsencode(source))
    return escaped.decode("ascii")


def source_of_ascii(text: str) -> str:
    """The source for which `ascii_source` made that text."""
    return os.fsdecode(_unescaped(os.fsencode(text)))


def _mounts() -> list[MountEntry]:
    with open(_MOUNTINFO, "rb") as file:
        return parse_mountinfo(file.read())


def mounted_at(mount_point: str) -> MountEntry | None:
    """What is mounted there, the topmost; None for nothing."""
    found = [entry for entry in _mounts() if entry.path == mount_point]
    return found[-1] if found else None


def check_apart(mount_point: str, store: Path) -> None:
    """Checks that a store and its mount point are not within each other.

    The mount would hide its own store, and the daemon would wait for itself.

    Raises:
        MountError
    """
    real = os.path.realpath(store)
    if mount_point in (real, *map(str, Path(real).parents)):
        raise MountError(f"{mount_point}: the store {store} is in there, and would be hidden")
    if real in map(str, Path(mount_point).parents):
        raise MountError(f"{mount_point}: this is inside the store {store}")


def prepare(mount_point: str) -> None:
    """Checks a mount point, after clearing the mounts there whose daemons are dead.

    To be called right before mounting: in between, what others append goes into files of the
    directory itself. A busy appender meets even the moment that is left. Who then refused to mount,
    since the directory is not empty, would send all that follows there, too.

    Raises:
        MountError: as `check`, or a dead mount cannot be cleared.
    """
    cleared = 0
    while _is_dead(mount_point):
        if cleared == _MAX_DEAD_MOUNTS:
            raise MountError(f"{mount_point}: a dead mount is there and cannot be taken away")
        unmount(mount_point)
        cleared += 1
    _check_directory(mount_point)
    if not _is_empty(mount_point):
        if not cleared:
            raise MountError(NOT_EMPTY.format(mount_point))
        log.warning("%s: what was written there while nothing was mounted is hidden", mount_point)


def check(mount_point: str) -> None:
    """Checks a mount point, but not what a dead mount hides.

    Raises:
        MountError: missing, no directory, not empty, in use by a mount of ours that lives, or no
            FUSE.
    """
    _check_device()
    if not _is_dead(mount_point):
        _check_directory(mount_point)
        if not _is_empty(mount_point):
            raise MountError(NOT_EMPTY.format(mount_point))


def _check_directory(mount_point: str) -> None:
    entry = mounted_at(mount_point)
    if entry is not None and entry.kind == FILE_SYSTEM_TYPE:
        raise MountError(f"{mount_point}: already mounted")
    try:
        is_directory = stat.S_ISDIR(os.stat(mount_point).st_mode)
    except OSError as error:
        raise MountError(f"{mount_point}: {error.strerror}") from error
    if not is_directory:
        raise MountError(f"{mount_point}: not a directory")


def _is_empty(mount_point: str) -> bool:
    try:
        with os.scandir(mount_point) as entries:
            return next(entries, None) is None
    except OSError as error:
        raise MountError(f"{mount_point}: {error.strerror}") from error


def _is_dead(mount_point: str) -> bool:
    try:
        os.statvfs(mount_point)  # unlike stat it asks the daemon even if the answer is cached
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            return True
        raise MountError(f"{mount_point}: {error.strerror}") from error
    return False


def _check_device() -> None:
    try:
        descriptor = os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MountError(f"there is no {FUSE_DEVICE}: this system has no FUSE") from None
    except PermissionError:
        raise MountError(f"no permission to use {FUSE_DEVICE}") from None
    except OSError as error:
        raise MountError(f"{FUSE_DEVICE}: {error.strerror}") from error
    os.close(descriptor)


def unmount(mount_point: str) -> None:
    """Takes a mount away whoever uses it, as `fusermount3 -u -z` does; root without it, too."""
    commands = [["fusermount3", "-u", "-z", "--", mount_point]]
    if os.geteuid() == 0:
        commands.append(["umount", "-l", "--", mount_point])
    for command in commands:
        try:
            done = subprocess.run(
                command,
                input=b"",  # pipes, since a container may have no /dev/null
                capture_output=True,
                timeout=_UNMOUNT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue  # the caller looks at what is mounted then
        if done.returncode == 0:
            return


class MountWatch:
    """Tells when a mount of ours is gone: unmounted (lazily, too) or its connection aborted."""

    def __init__(self, mount_point: str, fuse_descriptor: int) -> None:
        entry = mounted_at(mount_point)
        if entry is None:
            raise MountError(f"{mount_point}: the mount vanished at once")
        self._device = entry.device
        self._connection = select.poll()
        self._connection.register(fuse_descriptor, 0)  # POLLERR is always told
        self._mountinfo = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._has_changed = False  # since the last look
        self._changes = select.poll()
        self._changes.register(self._mountinfo, select.POLLPRI)

    @property
    def device(self) -> int:
        """The mount's device number, as `stat` has it."""
        major, minor = self._device.split(":")
        return os.makedev(int(major), int(minor))

    def is_gone(self) -> bool:
        """Two cheap system calls, unless mounts changed since the last look."""
        if self._connection.poll(0):
            return True
        self._has_changed = self._has_changed or bool(self._changes.poll(0))
        if not self._has_changed:
            return False
        try:
            is_listed = self.is_listed()
        except OSError as error:  # a look that fails says nothing: the next one will
            log.warning("the mounts cannot be looked at: %s", error)
            return False
        self._has_changed = False
        return not is_listed

    def is_listed(self) -> bool:
        """True while the mount is in this process's list of mounts, at whatever path.

        Needs no further descriptor: there may be none.
        """
        content = b""
        while part := os.pread(self._mountinfo, _READ_BYTES, len(content)):
            content += part
        return any(entry.device == self._device for entry in parse_mountinfo(content))

    def close(self) -> None:
        """Frees the descriptor."""
        os.close(self._mountinfo)


def fuse_descriptors(pid: int | str = "self") -> set[int]:
    """The descriptors of a process, by default of this one, that are connections to FUSE.

    Raises:
        OSError: the process is gone, or is not ours to look at.
    """
    directory = f"/proc/{pid}/fd"
    found = set()
    for name in os.listdir(directory):
        try:
            if os.readlink(f"{directory}/{name}") == FUSE_DEVICE:
                found.add(int(name))
        except FileNotFoundError:
            continue  # the one that listed the directory
    return found
