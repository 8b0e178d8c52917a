"""What may be done to a feed's file: the rules of `chattr +a` on ext4, operation by operation.

What is owned by the one who mounts is to other users, whom `allow_other` lets in, as the feed of
somebody else.

| operation | owned feed | feed of somebody else |
|---|---|---|
| open for reading | yes | yes |
| open for writing with O_APPEND | yes | EACCES, root too |
| the same without O_APPEND, or any open with O_TRUNC | EPERM | EACCES |
| the latter of a feed that is empty | yes | EACCES |
| WRITE, O_APPEND handle | at our end, whatever the offset | - |
| WRITE of pages that were changed in a mapping | EPERM | - |
| WRITE, handle of the CREATE or of an empty feed | at our end, in sequence; else EPERM | - |
| SETATTR of size | EPERM | EACCES |
| SETATTR of a mode that takes nothing from those who have it | accepted, ignored | EPERM |
| SETATTR of another mode | EPERM | EPERM |
| SETATTR of owner and group to the user's own | accepted, ignored | EPERM |
| SETATTR of other owners | EPERM | EPERM |
| SETATTR of times | accepted, ignored | accepted, ignored |
| RENAME over an existing name, exchange | EPERM | EPERM |
| UNLINK | EPERM, unless it is empty, or made a moment ago and given to nobody | yes |
| UNLINK, RENAME after a refused writing open by the same thread | EPERM | EPERM |
| LINK, MKDIR, MKNOD | EPERM | EPERM |
| CREATE of .NAME, or with O_EXCL and O_RDWR | EPERM | - |
| the latter of a name that the same thread has just renamed away | yes | yes |

The last rows are what keeps `sed -i`, `perl -pi`, `rsync`, `patch`, `cp -f` and `vim :w!` from
replacing a feed by a new file under its name, and lets `logrotate` rotate (`recent.Rotations`).
Functions return an errno, or 0 for "allowed".
"""

from __future__ import annotations

import errno
import os

from protozorfs.names import is_hidden

_OWNER_BITS = 0o700
_ALL_BITS = 0o777
_SPECIAL_BITS = 0o7000  # suid, sgid, sticky


def wants_to_write(flags: int) -> bool:
    """True if the open flags ask for more than reading."""
    return flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)


def open_refusal(*, is_owned: bool, is_empty: bool, flags: int) -> int:
    """For OPEN of an existing feed."""
    if not wants_to_write(flags):
        return 0
    if not is_owned:
        return errno.EACCES
    only_appends = flags & os.O_APPEND and not flags & os.O_TRUNC
    return 0 if only_appends or is_empty else errno.EPERM


def is_temporary(flags: int) -> bool:
    """True for the flags by which tools make temporary files, and `logrotate` the new log."""
    return bool(flags & os.O_EXCL) and flags & os.O_ACCMODE == os.O_RDWR


def create_refusal(name: bytes, flags: int, *, is_rotation: bool) -> int:
    """For CREATE of a name that is not there, and that a feed may have.

    `is_rotation` as of `Rotations.take_name`.
    """
    return errno.EPERM if is_hidden(name) or (is_temporary(flags) and not is_rotation) else 0


def write_refusal(*, appends: bool, in_sequence: bool, offset: int, end: int) -> int:
    """For WRITE: `appends` is O_APPEND, `in_sequence` as of `Handle`."""
    return 0 if appends or (in_sequence and offset == end) else errno.EPERM


def is_mode_harmless(mode: int, present: int, *, is_shared: bool) -> bool:
    """True for a mode that may be accepted, although the present one stays.

    Tools that copy set the mode that the original has, and fail where they cannot. What asks for
    protection is another matter: nobody may believe that a feed cannot be appended to any more, or,
    where others are let in, that they cannot read it.
    """
    needed = present & (_ALL_BITS if is_shared else _OWNER_BITS)
    return mode & needed == needed and not mode & _SPECIAL_BITS


def setattr_refusal(*, is_owned: bool, size: bool, mode: bool, owner: bool) -> int:
    """For SETATTR of what can neither be kept nor be passed over; times are accepted."""
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
