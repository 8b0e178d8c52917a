"""Where a feed's file differs from a file of ext4, on purpose or because of what FUSE is.

These tables are the documented list: a test runs the example of every row, a test compares all
else, and docs/tools.md has a line for each row.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
from dataclasses import dataclass
from typing import Any

from tests.fuse import raw_calls as raw

VALUE = "a value"  # stands for every outcome that is no errno
Request = tuple[Any, ...]

_READ = ("open", 0, os.O_RDONLY, "")
_APPEND = ("open", 0, os.O_RDWR | os.O_APPEND, "")
_DIRECT = ("open", 0, os.O_RDONLY | os.O_DIRECT, "")


@dataclass(frozen=True)
class Difference:
    """One line of the list.

    Attributes:
        what: the operation, as the documentation names it.
        operations: by their names in `tests.fuse.hands`.
        ext4, feed: the outcomes that differ: names of errnos, or VALUE.
        why: as the documentation says it.
        example: requests, of which the last shows the difference.
    """

    what: str
    operations: tuple[str, ...]
    ext4: tuple[str, ...]
    feed: tuple[str, ...]
    why: str
    example: tuple[Request, ...]

    def covers(self, operation: str, ext4: Any, feed: Any) -> bool:
        """True if these outcomes are this difference."""
        is_right = kind_of(ext4) in self.ext4 and kind_of(feed) in self.feed
        return operation in self.operations and is_right


def kind_of(outcome: Any) -> str:
    """The name of an errno, or VALUE."""
    return outcome if outcome in errno.errorcode.values() else VALUE


_LINUX = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
_SHARED_MAPPING = ("on_descriptor", "mmap", 0, 1, mmap.MAP_SHARED, mmap.PROT_READ)
_NO_SHARED_MAPPING = Difference(
    "`mmap` with MAP_SHARED, before Linux 6.6",
    ("mmap",),
    (VALUE, "EACCES"),
    ("ENODEV",),
    "the file is opened for direct I/O; MAP_PRIVATE works",
    (_READ, _SHARED_MAPPING),
)
_MAPPING_OF_APPENDERS = Difference(
    "`mmap` with MAP_SHARED of a descriptor that may append",
    ("mmap",),
    ("EACCES",),
    (VALUE,),
    "the kernel does not ask; what is changed in the mapping is not written, and `msync` fails",
    (_APPEND, _SHARED_MAPPING),
)

OF_EVERY_FEED = (
    *([] if _LINUX >= (6, 6) else [_NO_SHARED_MAPPING]),
    Difference(
        "`copy_file_range` to another file system",
        ("copy_from",),
        (VALUE,),
        ("EXDEV",),
        "the kernel copies within one file system only; tools then read and write",
        (_READ, ("on_descriptor", "copy_from", 0, 10)),
    ),
    Difference(
        "`lsattr` (FS_IOC_GETFLAGS)",
        ("attribute_flags",),
        (VALUE,),
        ("ENOTTY",),
        "there are no such flags; `protozorfs.owned` says whose the feed is",
        (_READ, ("on_descriptor", "attribute_flags", 0)),
    ),
    Difference(
        "reads with O_DIRECT that are not aligned",
        ("read", "pread", "sendfile_from", "splice_from"),
        ("EINVAL",),
        (VALUE,),
        "any offset and size can be read",
        (_DIRECT, ("on_descriptor", "read", 0, 3)),
    ),
    Difference(
        "`getxattr` of a name without a namespace",
        ("getxattr",),
        ("ENOTSUP",),
        ("ENODATA",),
        "there is none of that name, whatever it looks like",
        (("on_path", "getxattr", "nonsense"),),
    ),
)

_SET_FLAGS = Difference(
    "`fcntl(F_SETFL)` that changes O_APPEND",
    ("set_flags",),
    ("EPERM",),
    (VALUE,),
    "the kernel does not ask; writes are appended all the same",
    (_READ, ("on_descriptor", "set_flags", 0, os.O_APPEND)),
)

OWNED = (
    *OF_EVERY_FEED,
    *([_MAPPING_OF_APPENDERS] if _LINUX >= (6, 6) else []),
    Difference(
        "`mv NAME NEW`",
        ("rename",),
        ("EPERM",),
        (VALUE,),
        "a name is only yours: the feed is the same under another",
        (("on_path", "rename"),),
    ),
    Difference(
        "setting times of one's own (`touch -d`, `cp -p`)",
        ("utimens",),
        ("EPERM",),
        (VALUE,),
        "accepted and ignored, so that tools that copy go on",
        (("on_path", "utimens", 5, 5),),
    ),
    Difference(
        "`chmod` that takes nothing from those who have it, `chown` to oneself",
        ("chmod", "fchmod", "chown", "fchown"),
        ("EPERM",),
        (VALUE,),
        "accepted and ignored, as times are",
        (("on_path", "chmod", 0o644),),
    ),
    Difference(
        "`setxattr`, `removexattr` other than `user.`",
        ("setxattr", "fsetxattr", "removexattr"),
        ("EPERM",),
        ("ENOTSUP", "ENODATA"),
        "there are no ACLs or labels; tools that copy them take this in their stride "
        "(XATTR_REPLACE: ENODATA)",
        (("on_path", "setxattr", "security.a", 0),),
    ),
    Difference(
        "`fallocate`",
        ("fallocate",),
        (VALUE, "EPERM"),
        ("ENOTSUP",),
        "ext4 lets preallocation append zeros; nothing is appended here that was not written",
        (_APPEND, ("on_descriptor", "fallocate", 0, 0, 0, 4096)),
    ),
    _SET_FLAGS,
    Difference(
        "`pwritev2` with RWF_NOAPPEND",
        ("pwritev2",),
        ("EPERM",),
        (VALUE,),
        "the kernel does not say; it is appended all the same",
        (_APPEND, ("on_descriptor", "pwritev2", 0, "a", 0, raw.RWF_NOAPPEND)),
    ),
    Difference(
        "`rm NAME` within a minute after it was made, while nobody was given it",
        ("unlink",),
        ("EPERM",),
        (VALUE,),
        "what a tool leaves behind can go; later, `protozorfs rm --delete-key`",
        (("on_path", "unlink"),),
    ),
    Difference(
        "`rmdir NAME`",
        ("rmdir",),
        ("EPERM",),
        ("ENOTDIR",),
        "what it says of any file",
        (("on_path", "rmdir"),),
    ),
)

FOLLOWED = (
    *OF_EVERY_FEED,
    Difference(
        "`chmod`, `chown`",
        ("chmod", "fchmod", "chown", "fchown"),
        (VALUE,),
        ("EPERM",),
        "the modes say what can be done: append to your own, read the others",
        (("on_path", "chmod", 0o644),),
    ),
    Difference(
        "`ln NAME NEW`",
        ("link", "link_descriptor"),
        (VALUE,),
        ("EPERM",),
        "a feed has one name",
        (("on_path", "link"),),
    ),
    Difference(
        "`mv -f OTHER NAME`, exchanging names",
        ("rename_onto_other", "rename_other_onto"),
        (VALUE,),
        ("EPERM",),
        "no feed is replaced by another",
        (("on_path", "rename_other_onto", 0),),
    ),
    Difference(
        "`rm`, `mv` by who was just refused to write",
        ("unlink", "rename"),
        (VALUE,),
        ("EPERM",),
        "`cp -f` and editors would put a feed of your own in its place",
        (("open", 0, os.O_WRONLY, ""), ("on_path", "unlink")),
    ),
    Difference(
        "`setxattr`, `removexattr`",
        ("setxattr", "fsetxattr", "removexattr"),
        ("EACCES", "EPERM"),
        ("EPERM", "ENOTSUP", "ENODATA"),
        "as for a feed of your own",
        (("on_path", "setxattr", "user.a", 0),),
    ),
)

BY_STRANGERS = (
    *OF_EVERY_FEED,
    _SET_FLAGS,
    Difference(
        "`touch NAME`",
        ("utimens", "futimens"),
        ("EACCES",),
        ("EPERM",),
        "the kernel does not say whether the time is the present",
        (("on_path", "utimens", raw.UTIME_NOW, raw.UTIME_NOW),),
    ),
    Difference(
        "`setxattr`, `removexattr`",
        ("setxattr", "fsetxattr", "removexattr"),
        ("EACCES", "EPERM"),
        ("EPERM", "ENOTSUP", "ENODATA"),
        "as for the one who mounted",
        (("on_path", "setxattr", "security.a", 0),),
    ),
    Difference(
        "`rmdir NAME`",
        ("rmdir",),
        ("EACCES",),
        ("ENOTDIR",),
        "what it says of any file",
        (("on_path", "rmdir"),),
    ),
)

TABLES = {"owned": OWNED, "followed": FOLLOWED, "strangers": BY_STRANGERS}
