"""Two files that should behave alike, each with a program that acts on it."""

from __future__ import annotations

import fcntl
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
ROOT_UID, STRANGER_UID = 0, 65534
# Root whom no mode stops is no measure for what an owner may do.
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_APPEND_FL = 0x80086601, 0x40086602, 0x20

Act = Callable[..., Any]


def set_append_only(path: Path, *, on: bool) -> None:
    """`chattr +a` or `chattr -a`; raises OSError where that is not possible."""
    with path.open("rb") as file:
        (flags,) = struct.unpack("l", fcntl.ioctl(file, _FS_IOC_GETFLAGS, b"\0" * 8))
        flags = flags | _FS_APPEND_FL if on else flags & ~_FS_APPEND_FL
        fcntl.ioctl(file, _FS_IOC_SETFLAGS, struct.pack("l", flags))


@contextmanager
def hands_in(directory: Path, *, uid: int = ROOT_UID, wrapper: Sequence[str] = ()) -> Iterator[Act]:
    """A process of `tests.fuse.hands`; what is yielded has it act and returns the outcome."""
    command = [*wrapper, sys.executable, "-m", "tests.fuse.hands", str(directory), str(uid)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    requests, answers = process.stdin, process.stdout
    assert requests is not None
    assert answers is not None

    def act(*request: Any) -> Any:
        requests.write(json.dumps(request).encode() + b"\n")
        requests.flush()
        return json.loads(answers.readline())

    try:
        yield act
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Pair:
    """The same program on both sides.

    Attributes:
        name: which of the tables of differences is theirs.
        ext4: has the one on ext4 act.
        feed: has the one in the mount act.
        restage: makes both files anew, with the same content; nobody may have them open.
    """

    name: str
    ext4: Act
    feed: Act
    restage: Callable[[], None]

    def __call__(self, *request: Any) -> tuple[Any, Any]:
        """The outcomes of one operation on ext4 and in the mount."""
        return self.ext4(*request), self.feed(*request)


@contextmanager
def compared(
    name: str,
    directories: tuple[Path, Path],
    restage: Callable[[], None],
    *,
    uid: int = ROOT_UID,
    wrappers: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> Iterator[Pair]:
    """A pair for the length of the block, on the files `f` of a directory of ext4 and a mount."""
    with ExitStack() as stack:
        ext4, feed = (
            stack.enter_context(hands_in(directory, uid=uid, wrapper=wrapper))
            for directory, wrapper in zip(directories, wrappers, strict=True)
        )
        yield Pair(name, ext4, feed, restage)
