"""What `umount.protozorfs` does: unmounts, and waits until the daemon has closed its store.

After a plain `umount` the daemon may still be closing the store for a moment, so that a script that
mounts it again, or copies it, comes too early.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs.cli.options import DEFAULT_STORE, USAGE_EXIT_CODE, default_store
from protozorfs.cli.text import complain, printable_text
from protozorfs.errors import UsageError
from protozorfs.fs import mount_points
from protozorfs.fs.mount_points import FILE_SYSTEM_TYPE, MountEntry, MountError
from protozorfs.store.lock import read_holder, readers

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "umount.protozorfs"
HELP = f"""\
usage: {PROGRAM} MOUNTPOINT [-f] [-l] [-n] [-r] [-v]

Unmounts, and returns when the daemon has closed its store.

  -f  although files are open, and whether or not the daemon answers
  -l  although files are open (lazily)
  -n, -r  accepted          -v  say what was done
"""
_END_SECONDS = 5.0  # the daemon ends within 2 s of its mount
_UNMOUNT_SECONDS = 30.0
_FUSE_CONNECTIONS = Path("/sys/fs/fuse/connections")


def run(arguments: Sequence[str]) -> int:
    """Does what the arguments say; returns the exit code, as umount(8) has them."""
    if "-h" in arguments or "--help" in arguments:
        print(HELP, end="")
        return 0
    if "-V" in arguments or "--version" in arguments:
        print(f"{PROGRAM} {version('protozorfs')}")
        return 0
    try:
        path, flags = _parse(arguments)
        _unmount(path, flags)
    except UsageError as error:
        complain(PROGRAM, str(error))
        return error.exit_code
    if "v" in flags:
        print(f"{PROGRAM}: {printable_text(path)} is unmounted")
    return 0


def _parse(arguments: Sequence[str]) -> tuple[str, str]:
    """The mount point and the letters of all flags. umount(8) gives `-t TYPE` and `-N SPACE`."""
    paths: list[str] = []
    flags = ""
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-t", "-N"):
            next(rest, None)
        elif argument.startswith("-") and set(argument[1:]) <= set("flnrv"):
            flags += argument[1:]
        elif argument.startswith("-"):
            raise UsageError(f"unknown flag {argument}; see --help", USAGE_EXIT_CODE)
        else:
            paths.append(argument)
    if len(paths) != 1 or not paths[0]:
        raise UsageError("expected one MOUNTPOINT; see --help", USAGE_EXIT_CODE)
    return _real_path(paths[0]), flags


def _real_path(path: str) -> str:
    """The path without links; a mount there is not looked into, since its daemon may hang."""
    above, name = os.path.split(os.path.abspath(path))
    real = os.path.join(os.path.realpath(above), name)
    return real if mount_points.mounted_at(real) is not None else os.path.realpath(path)


def _unmount(path: str, flags: str) -> None:
    entry = mount_points.mounted_at(path)
    if entry is None or entry.kind != FILE_SYSTEM_TYPE:
        raise MountError(f"{path}: no mount of protozorfs")
    daemon = _daemon_of(entry)
    try:
        if "f" in flags:
            _abort(entry)
        _take_away(path, is_lazy="l" in flags or "f" in flags)
        if daemon is not None and not select.select([daemon], [], [], _END_SECONDS)[0]:
            raise MountError(f"{path}: unmounted, but its daemon has not ended")
    finally:
        if daemon is not None:
            os.close(daemon)


def _daemon_of(entry: MountEntry) -> int | None:
    """A descriptor that becomes readable when the daemon ends; None if it is not known or gone."""
    try:
        store = _store_of(entry)
        holder = read_holder(store)
        candidates = readers(store)  # with `ro`, which leaves the file as it was
        if holder.pid is not None and holder.mount_point == entry.path:
            candidates.append(holder.pid)
        daemons = [pid for pid in candidates if _is_daemon(pid)]
        # None: `fsname=` was given, or it is somebody else's default store.
        return os.pidfd_open(daemons[0]) if len(daemons) == 1 else None
    except (OSError, UsageError):  # a store of another user, or a daemon that is gone
        return None


def _is_daemon(pid: int) -> bool:
    """Whether it is one, not a process to which the number of one that is gone was given."""
    try:
        return bool(mount_points.fuse_descriptors(pid))
    except OSError:
        return False


def _store_of(entry: MountEntry) -> Path:
    """The store of a mount, by its source; see `options` for what that is."""
    if entry.source == DEFAULT_STORE:
        return default_store()
    return Path(mount_points.source_of_ascii(entry.source))


def _abort(entry: MountEntry) -> None:
    """Ends the connection: every wait in the mount fails, even of a daemon that hangs."""
    minor = entry.device.partition(":")[2]
    try:
        (_FUSE_CONNECTIONS / minor / "abort").write_text("1")
    except OSError as error:
        raise MountError(f"{entry.path}: its connection cannot be ended: {error}") from error


def _take_away(path: str, *, is_lazy: bool) -> None:
    lazily = ["-z"] if is_lazy else []
    try:
        done = subprocess.run(
            ["fusermount3", "-u", *lazily, "--", path],
            input=b"",
            capture_output=True,
            timeout=_UNMOUNT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise MountError(f"{path}: there is no fusermount3 to unmount it") from None
    except OSError as error:
        raise MountError(f"{path}: fusermount3 cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise MountError(f"{path}: unmounting takes too long") from None
    # An aborted daemon unmounts by itself, perhaps before us.
    if done.returncode != 0 and mount_points.mounted_at(path) is not None:
        said = os.fsdecode(done.stderr).strip().replace(path, printable_text(path)).split("\n")
        reason = said[-1].removeprefix("fusermount3: ") or "fusermount3 failed"
        if os.strerror(errno.EBUSY) in reason:
            reason += "; files are open in it, and -l unmounts it all the same"
        elif "not found in" in reason:  # fusermount3 looks for mounts of who calls it
            reason = f"{path}: the mount of another user"
        raise MountError(reason)
