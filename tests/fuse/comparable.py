"""What is compared: the operations of `tests.fuse.hands`, as hypothesis strategies.

Left out are leases, O_TMPFILE (not about the file), O_NOATIME (a stranger's EPERM comes before the
EACCES there), and O_DIRECT, whose rules of alignment are each file system's own.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from functools import reduce
from operator import or_

from hypothesis import strategies as st

from tests.fuse import raw_calls as raw

ACCESS_MODES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, 3)  # 3: for ioctl alone
OPEN_FLAGS = (
    *(os.O_APPEND, os.O_TRUNC, os.O_CREAT, os.O_EXCL, os.O_NONBLOCK, os.O_SYNC, os.O_DSYNC),
    *(os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH),
)
SUFFIXES = ("", "", "", "", "/", "/x")

_sizes = st.sampled_from([0, 1, 3, 6, 100, 4096, 10_000])
_offsets = st.sampled_from([-1, 0, 1, 5, 6, 7, 4095, 4096, 10_000, 1 << 40])
_data = st.sampled_from(["", "a", "line\n", "y" * 4096, "z" * 70_000])
_modes = st.sampled_from([0o600, 0o644, 0o444, 0o4755])
_uids = st.sampled_from([-1, 0, 1])
_write_flags = st.sampled_from(
    [0, os.RWF_APPEND, os.RWF_DSYNC, os.RWF_SYNC, os.RWF_NOWAIT, raw.RWF_NOAPPEND]
)
_fallocate_modes = st.sampled_from(
    [
        *(0, raw.FALLOC_FL_KEEP_SIZE, raw.FALLOC_FL_KEEP_SIZE | raw.FALLOC_FL_PUNCH_HOLE),
        *(raw.FALLOC_FL_COLLAPSE_RANGE, raw.FALLOC_FL_ZERO_RANGE, raw.FALLOC_FL_INSERT_RANGE),
    ]
)
_status_flags = st.sampled_from(
    [0, os.O_APPEND, os.O_NONBLOCK, os.O_APPEND | os.O_NONBLOCK, os.O_APPEND | os.O_ASYNC]
)
_locks = st.sampled_from([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN])
_xattrs = st.sampled_from(["user.a", "trusted.a", "security.a", "nonsense"])
_times = st.sampled_from([raw.UTIME_NOW, raw.UTIME_OMIT, 5])
_rename_flags = st.sampled_from([0, raw.RENAME_NOREPLACE, raw.RENAME_EXCHANGE])

ON_DESCRIPTOR: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "read": st.tuples(_sizes),
    "pread": st.tuples(_sizes, _offsets),
    "lseek": st.tuples(_offsets, st.sampled_from([0, 1, 2, os.SEEK_DATA, os.SEEK_HOLE, 9])),
    "write": st.tuples(_data),
    "writev": st.tuples(_data),
    "pwrite": st.tuples(_data, _offsets),
    "pwritev2": st.tuples(_data, _offsets, _write_flags),
    "ftruncate": st.tuples(_offsets),
    "fallocate": st.tuples(_fallocate_modes, _offsets, _sizes),
    "fsync": st.tuples(),
    "fdatasync": st.tuples(),
    "sync_file_range": st.tuples(),
    "readahead": st.tuples(),
    "fadvise": st.tuples(st.integers(0, 6)),
    "get_flags": st.tuples(),
    "set_flags": st.tuples(_status_flags),
    "flock": st.tuples(_locks),
    "lockf": st.tuples(_locks, _offsets, _sizes),
    "mmap": st.tuples(
        st.sampled_from([0, 1, 6]),
        st.sampled_from([mmap.MAP_SHARED, mmap.MAP_PRIVATE]),
        st.sampled_from([mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE]),
    ),
    "sendfile_from": st.tuples(st.sampled_from([0, 3, 4096]), _sizes),
    "sendfile_to": st.tuples(st.sampled_from([1, 10, 100])),
    "splice_from": st.tuples(st.sampled_from([1, 6, 4096])),
    "splice_to": st.tuples(st.sampled_from([1, 10])),
    "copy_from": st.tuples(_sizes),
    "copy_to": st.tuples(st.sampled_from([1, 10])),
    "copy_within": st.tuples(_sizes),
    "clone_within": st.tuples(),
    "fionread": st.tuples(),
    "attribute_flags": st.tuples(),
    "fchmod": st.tuples(_modes),
    "fchown": st.tuples(_uids, _uids),
    "futimens": st.tuples(),
    "fsetxattr": st.tuples(_xattrs),
    "fstat": st.tuples(),
    "link_descriptor": st.tuples(),
}

ON_PATH: dict[str, st.SearchStrategy[tuple[object, ...]]] = {
    "stat": st.tuples(),
    "access": st.tuples(st.integers(0, 7)),
    "truncate": st.tuples(_offsets),
    "chmod": st.tuples(_modes),
    "chown": st.tuples(_uids, _uids),
    "utimens": st.tuples(_times, _times),
    "setxattr": st.tuples(_xattrs, st.sampled_from([0, os.XATTR_CREATE, os.XATTR_REPLACE])),
    "getxattr": st.tuples(_xattrs),
    "removexattr": st.tuples(_xattrs),
    "rename_to_itself": st.tuples(_rename_flags),
    "rename_onto_other": st.tuples(_rename_flags),
    "rename_other_onto": st.tuples(_rename_flags),
    **{
        name: st.tuples()
        for name in (
            *("link", "link_onto", "symlink_onto", "mkdir_onto", "mknod_onto", "rename", "unlink"),
            *("rmdir", "listdir", "readlink", "below", "chdir", "execute"),
        )
    },
}


def _requests(
    table: dict[str, st.SearchStrategy[tuple[object, ...]]],
) -> st.SearchStrategy[tuple[object, ...]]:
    names = st.sampled_from(sorted(table))
    return names.flatmap(lambda name: table[name].map(lambda arguments: (name, *arguments)))


descriptor_requests = _requests(ON_DESCRIPTOR)
path_requests = _requests(ON_PATH)
open_flags = st.one_of(
    st.sampled_from([os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND]),
    st.builds(
        lambda access, extras: reduce(or_, extras, access),
        st.sampled_from(ACCESS_MODES),
        st.sets(st.sampled_from(OPEN_FLAGS), max_size=3),
    ),
)
