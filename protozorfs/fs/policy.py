"""What may be done to a feed's file: the rules of `chattr +a` on ext4, operation by operation.

What is owned by the one who mounts is to other users, whom `allow_other` lets in, as the feed of
somebody else.

| operation | owned feed | feed of somebody else |
|---|---|---|
| open for reading | yes | yes |
| open for writing with O_APPEND | yes | EACCES, root too |
| the same without O_APPEND, or any open with O_TRUNC | EPERM | EACCES |
| WRITE, O_APPEND handle | at our end, whatever the offset | - |
| WRITE of pages that were changed in a mapping | EPERM | - |
| WRITE, handle of the CREATE | at our end, in sequence; else EPERM | - |
| SETATTR of size | EPERM | EACCES |
| SETATTR of mode or owner, other than it has | EPERM | EPERM |
| the same, as it has (`mv`, `cp -p`) | accepted | EPERM |
| SETATTR of times | accepted, ignored | accepted, ignored |
| RENAME over an existing name, exchange | EPERM | EPERM |
| UNLINK, RENAME after a refused writing open by the same thread | EPERM | EPERM |
| LINK, MKDIR, MKNOD | EPERM | EPERM |
| CREATE of .NAME, or with O_EXCL and O_RDWR | EPERM | - |

The last rows are what keeps `sed -i`, `perl -pi`, `rsync`, `patch`, `cp -f` and `vim :w!` from
replacing a feed by a new file under its name. Functions return an errno, or 0 for "allowed".
"""

from __future__ import annotations

import errno
import os

from protozorfs.fs import names
from protozorfs.types import MAX_NAME_BYTES

REFUSAL_MEMORY_SECONDS = 5.0  # from the refused open of `cp -f` or `vim` to its unlink: well below
MAX_REFUSALS = 1024  # remembered at once; an entry is a few hundred bytes


def wants_to_write(flags: int) -> bool:
    """True if the open flags ask for more than reading."""
    return flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)


def open_refusal(*, is_owned: bool, flags: int) -> int:
    """For OPEN of an existing feed."""
    if not wants_to_write(flags):
        return 0
    if not is_owned:
        return errno.EACCES
    return 0 if flags & os.O_APPEND and not flags & os.O_TRUNC else errno.EPERM


def create_refusal(name: bytes, flags: int) -> int:
    """For CREATE of a name that is not there."""
    is_temporary = flags & os.O_EXCL and flags & os.O_ACCMODE == os.O_RDWR
    if name.startswith(b".") or is_temporary:
        return errno.ENAMETOOLONG if len(name) > MAX_NAME_BYTES else errno.EPERM
    return names.new_name_refusal(name)


def write_refusal(*, appends: bool, in_sequence: bool, offset: int, end: int) -> int:
    """For WRITE: `appends` is O_APPEND, `in_sequence` a handle that a CREATE made."""
    return 0 if appends or (in_sequence and offset == end) else errno.EPERM


def setattr_refusal(*, is_owned: bool, size: bool, mode: bool, owner: bool) -> int:
    """For SETATTR of the named attributes; times are accepted."""
    if mode or owner or (size and is_owned):
        return errno.EPERM
    return errno.EACCES if size else 0


def rename_refusal(*, target_exists: bool, no_replace: bool, exchange: bool) -> int:
    """For RENAME of a name that is there."""
    if exchange:
        return errno.EPERM
    if target_exists:
        return errno.EEXIST if no_replace else errno.EPERM
    return 0


class RefusedOpens:
    """Which thread was lately refused a writing open of which inode.

    Such a thread is a tool that will now try to remove or rename the file and make a new one.
    """

    def __init__(self) -> None:
        self._when: dict[tuple[int, int], float] = {}

    def note(self, pid: int, inode: int, now: float) -> None:
        """Remembers a refusal; the oldest is forgotten when there are too many."""
        key = (pid, inode)
        self._when.pop(key, None)  # so that insertion order stays the order of age
        self._when[key] = now
        if len(self._when) > MAX_REFUSALS:
            del self._when[next(iter(self._when))]

    def is_recent(self, pid: int, inode: int, now: float) -> bool:
        """True within the memory's time of a refusal."""
        when = self._when.get((pid, inode))
        return when is not None and now - when <= REFUSAL_MEMORY_SECONDS
