"""What a program can do to one file, by name: each operation gives a value or the name of an errno.

    python -m tests.fuse.hands DIRECTORY UID

acts on the file `f` of a directory, as a user, in a process of its own. Its lines are JSON:
`[operation, argument...]` as of `Hands`, each answered by the outcome. Two such processes, given
the same operations, tell two files apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import stat
import struct
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from tests.fuse import raw_calls

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 1 << 20
_FIONREAD, _FS_IOC_GETFLAGS, _FICLONE = 0x541B, 0x80086601, 0x40049409
_XATTR = b"1"


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def outcome(act: Callable[[], Any]) -> Any:
    """The call's value, or the name of its errno."""
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


class DescriptorActs:
    """Operations on an open file; every method is one, its first argument the descriptor."""

    def read(self, fd: int, size: int) -> str:
        return _text(os.read(fd, size))

    def pread(self, fd: int, size: int, offset: int) -> str:
        return _text(os.pread(fd, size, offset))

    def lseek(self, fd: int, offset: int, whence: int) -> int:
        return os.lseek(fd, offset, whence)

    def write(self, fd: int, data: str) -> int:
        return os.write(fd, data.encode())

    def writev(self, fd: int, data: str) -> int:
        return os.writev(fd, [data.encode(), b"", data.encode()])

    def pwrite(self, fd: int, data: str, offset: int) -> int:
        return os.pwrite(fd, data.encode(), offset)

    def pwritev2(self, fd: int, data: str, offset: int, flags: int) -> int:
        return os.pwritev(fd, [data.encode()], offset, flags)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fallocate(self, fd: int, mode: int, offset: int, size: int) -> int:
        return raw_calls.fallocate(fd, mode, offset, size)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_file_range(self, fd: int) -> int:
        return raw_calls.sync_file_range(fd, 0, 4096, 2)

    def readahead(self, fd: int) -> int:
        return raw_calls.readahead(fd, 0, 4096)

    def fadvise(self, fd: int, advice: int) -> None:
        os.posix_fadvise(fd, 0, 0, advice)

    def get_flags(self, fd: int) -> int:
        return fcntl.fcntl(fd, fcntl.F_GETFL)

    def set_flags(self, fd: int, flags: int) -> int:
        return fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    def flock(self, fd: int, how: int) -> None:
        fcntl.flock(fd, how | fcntl.LOCK_NB)

    def lockf(self, fd: int, how: int, start: int, size: int) -> None:
        fcntl.lockf(fd, how if how == fcntl.LOCK_UN else how | fcntl.LOCK_NB, size, start)

    def mmap(self, fd: int, size: int, flags: int, protection: int) -> str:
        try:
            with mmap.mmap(fd, size, flags, protection) as mapping:
                return _text(mapping[:]) if protection & mmap.PROT_READ else ""
        except ValueError:  # Python's own check: longer than the file
            return "longer than the file"

    def sendfile_from(self, fd: int, offset: int, size: int) -> str:
        with tempfile.TemporaryFile() as target:
            os.sendfile(target.fileno(), fd, offset, size)
            return _text(os.pread(target.fileno(), READ_BYTES, 0))

    def sendfile_to(self, fd: int, size: int) -> int:
        with tempfile.TemporaryFile() as source:
            source.write(b"s" * 100)
            source.flush()
            return os.sendfile(fd, source.fileno(), 0, size)

    def splice_from(self, fd: int, size: int) -> str:
        reader, writer = os.pipe()
        try:
            return _text(os.read(reader, os.splice(fd, writer, size, offset_src=0) or 1)[:size])
        finally:
            os.close(reader)
            os.close(writer)

    def splice_to(self, fd: int, size: int) -> int:
        reader, writer = os.pipe()
        try:
            os.write(writer, b"p" * 10)
            return os.splice(reader, fd, size)
        finally:
            os.close(reader)
            os.close(writer)

    def copy_from(self, fd: int, size: int) -> int:
        with tempfile.TemporaryFile() as target:
            return os.copy_file_range(fd, target.fileno(), size, 0)

    def copy_to(self, fd: int, size: int) -> int:
        with tempfile.TemporaryFile() as source:
            source.write(b"c" * 100)
            source.flush()
            return os.copy_file_range(source.fileno(), fd, size, 0)

    def copy_within(self, fd: int, size: int) -> int:
        return os.copy_file_range(fd, fd, size, 0, 0)

    def clone_within(self, fd: int) -> int:
        return fcntl.ioctl(fd, _FICLONE, fd)

    def fionread(self, fd: int) -> int:
        return int(struct.unpack("i", fcntl.ioctl(fd, _FIONREAD, b"\0" * 4))[0])

    def attribute_flags(self, fd: int) -> int:
        return int(struct.unpack("l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, b"\0" * 8))[0])

    def fchmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        os.fchown(fd, uid, gid)

    def futimens(self, fd: int) -> None:
        os.utime(fd)

    def fsetxattr(self, fd: int, name: str) -> None:
        os.setxattr(fd, name, _XATTR)

    def fstat(self, fd: int) -> list[int]:
        return shown(os.fstat(fd))

    def link_descriptor(self, fd: int) -> None:
        os.link(f"/proc/self/fd/{fd}", "linked", follow_symlinks=True)


class PathActs:
    """Operations on the file by its name; every method is one, its first argument the path."""

    def stat(self, path: str) -> list[int]:
        return shown(os.stat(path))

    def access(self, path: str, mode: int) -> bool:
        return os.access(path, mode, effective_ids=True)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(path, uid, gid)

    def utimens(self, path: str, accessed: int, modified: int) -> int:
        return raw_calls.utimensat(path, accessed, modified)

    def setxattr(self, path: str, name: str, flags: int) -> None:
        os.setxattr(path, name, _XATTR, flags)

    def getxattr(self, path: str, name: str) -> str:
        return _text(os.getxattr(path, name))

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(path, name)

    def link(self, path: str) -> None:
        os.link(path, f"{path}.linked")

    def link_onto(self, path: str) -> None:
        os.link(f"{path}.other", path)

    def symlink_onto(self, path: str) -> None:
        os.symlink("0" * 64, path)

    def mkdir_onto(self, path: str) -> None:
        os.mkdir(path)

    def mknod_onto(self, path: str) -> None:
        os.mknod(path)

    def rename(self, path: str) -> None:
        os.rename(path, f"{path}.new")
        os.rename(f"{path}.new", path)

    def rename_to_itself(self, path: str, flags: int) -> int:
        return raw_calls.renameat2(path, path, flags)

    def rename_onto_other(self, path: str, flags: int) -> int:
        return raw_calls.renameat2(path, f"{path}.other", flags)

    def rename_other_onto(self, path: str, flags: int) -> int:
        return raw_calls.renameat2(f"{path}.other", path, flags)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def below(self, path: str) -> list[int]:
        return shown(os.stat(f"{path}/x"))

    def chdir(self, path: str) -> None:
        os.chdir(path)

    def execute(self, path: str) -> None:
        os.posix_spawn(path, [path], {})

    def content(self, path: str) -> list[Any]:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        return [len(data), hashlib.sha256(data).hexdigest()]


def shown(status: os.stat_result) -> list[int]:
    """What must be the same: kind, permissions, links, owner, size."""
    kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
    return [kind, mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size]


class Hands:
    """One program's view of the file `f` in the current directory, with numbered descriptors."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}
        self._on_descriptor, self._on_path = DescriptorActs(), PathActs()

    def open(self, number: int, flags: int, suffix: str) -> Any:
        """Opens the file, with something behind its name, as descriptor `number`."""
        return self._keep(number, lambda: os.open(f"f{suffix}", flags, 0o644))

    def reopen(self, number: int, source: int, flags: int) -> Any:
        """Opens what a descriptor stands for again."""
        path = f"/proc/self/fd/{self._descriptors[source]}"
        return self._keep(number, lambda: os.open(path, flags))

    def duplicate(self, number: int, source: int) -> Any:
        """Another descriptor of the same open file."""
        return self._keep(number, lambda: os.dup(self._descriptors[source]))

    def close(self, number: int) -> Any:
        """Closes a descriptor, if there is one of this number."""
        descriptor = self._descriptors.pop(number, None)
        return None if descriptor is None else outcome(lambda: os.close(descriptor))

    def on_descriptor(self, operation: str, number: int, *arguments: Any) -> Any:
        """A method of `DescriptorActs`."""
        act = getattr(self._on_descriptor, operation)
        return outcome(lambda: act(self._descriptors[number], *arguments))

    def on_path(self, operation: str, *arguments: Any) -> Any:
        """A method of `PathActs`."""
        act = getattr(self._on_path, operation)
        return outcome(lambda: act("f", *arguments))

    def _keep(self, number: int, act: Callable[[], int]) -> Any:
        def kept() -> str:
            self._descriptors[number] = act()
            return "opened"

        return outcome(kept)


def main() -> None:
    directory, uid = sys.argv[1], int(sys.argv[2])
    os.chdir(directory)  # before the other user: the way to it may be closed to them
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    hands = Hands()
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        print(json.dumps(getattr(hands, operation)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
