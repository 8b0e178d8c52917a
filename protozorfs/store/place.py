"""Where a key was made and how its files were left: what tells a store in its place from a copy.

Everything here is what the file system says of a file by itself. Tools that copy, move or restore
files set their names, contents, modes, owners and modification times; none of them can set inodes,
times of birth, or ctimes. The number of the device is left out: the kernel gives it anew at each
mount. Of btrfs a number of the volume takes its place, which tells snapshots from their originals.

A `place` is text, one word or number after another:

    protozorfs place 2
    machine ID                          of /etc/machine-id; - if there is none
    volume NUMBER                       hexadecimal; - if the file system has no lasting one
    file NAME INODE BIRTH_NS CTIME_NS   for each file; 0 without a time of birth; - without a ctime
    sum HEX                             BLAKE2b-256 of all before

The ctime is that of the key's file, which nothing writes to after it was made. Of `data` and `tree`
it is there only if something but a write has changed them last: a write gives both times of a file
the same value, a tool that restores a file sets the one and with it changes the other.

Version 0.1.0 kept one line: machine, device, inode and birth time of the key's file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple

from protozorfs.crypto import blake2b_256
from protozorfs.errors import DecodeError

MACHINE_ID = Path("/etc/machine-id")
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NOT_THERE = "-"
_HEADING = "protozorfs place 2"
_FIRST_FIELDS = 4  # of the line of version 0.1.0

_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BASIC_AND_BTIME = 0xFFF
_STATX_BTIME = 0x800
_STATX_BYTES = 256  # sizeof(struct statx)
_INODE_AND_SIZE = struct.Struct("=QQ")
_TIME = struct.Struct("=qI")
_MASK_AT, _INODE_AT, _BIRTH_AT, _CHANGED_AT, _MODIFIED_AT = 0, 32, 80, 96, 112
_STATFS_BYTES = 256  # more than any struct statfs has
_BTRFS_MAGIC = 0x9123683E  # f_type, linux/magic.h
_libc = ctypes.CDLL(None, use_errno=True)


class Stamp(NamedTuple):
    """What a file system says of one file; times are nanoseconds since 1970.

    Attributes:
        inode: its number, which lasts as long as the file.
        birth_ns: when it was made; 0 if the file system does not say.
        changed_ns: its ctime: when anything of it was changed last.
        modified_ns: its mtime, which can be set to anything.
        size: in bytes.
    """

    inode: int
    birth_ns: int
    changed_ns: int
    modified_ns: int
    size: int


class Whereabouts(NamedTuple):
    """Where a store is; None for what has no lasting name."""

    machine: str | None
    volume: str | None


class FilePlace(NamedTuple):
    """One file of a `Place`; see above."""

    inode: int
    birth_ns: int
    changed_ns: int | None


class Place(NamedTuple):
    """What a file `place` says; without `has_times`, ctimes are not known of its files."""

    where: Whereabouts
    files: dict[str, FilePlace]
    has_times: bool = True


def stamp_of(name: str, directory: int) -> Stamp:
    """What the file system says of a file.

    Args:
        name: of the file; a link is not followed.
        directory: a descriptor of the directory that it is in.

    Raises:
        OSError: there is no such file.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    path = os.fsencode(name)
    if _libc.statx(directory, path, _AT_SYMLINK_NOFOLLOW, _STATX_BASIC_AND_BTIME, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    (mask,) = struct.unpack_from("=I", buffer, _MASK_AT)
    inode, size = _INODE_AND_SIZE.unpack_from(buffer, _INODE_AT)
    birth_ns = _time_ns(buffer, _BIRTH_AT) if mask & _STATX_BTIME else 0
    changed_ns, modified_ns = _time_ns(buffer, _CHANGED_AT), _time_ns(buffer, _MODIFIED_AT)
    return Stamp(inode, birth_ns, changed_ns, modified_ns, size)


def _time_ns(buffer: ctypes.Array[ctypes.c_char], offset: int) -> int:
    seconds, nanoseconds = _TIME.unpack_from(buffer, offset)
    return int(seconds) * 10**9 + int(nanoseconds)


def whereabouts_of(directory: int) -> Whereabouts:
    """The machine and the volume of a store.

    Args:
        directory: a descriptor of one in it.

    Raises:
        OSError: it cannot be told now, which must not make the store a copy.
    """
    try:
        machine = MACHINE_ID.read_text().strip() or None
    except OSError as error:
        if error.errno in _PASSING:
            raise
        machine = None  # minimal systems have none
    return Whereabouts(machine, _volume_of(directory))


def _volume_of(directory: int) -> str | None:
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(directory, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    (kind,) = struct.unpack_from("@l", buffer)
    if kind & 0xFFFFFFFF != _BTRFS_MAGIC:
        return None  # many make this number of that of the device
    return f"{os.statvfs(directory).f_fsid:x}"


def key_place(stamp: Stamp) -> FilePlace:
    """Of a key's file, which nobody has a reason to change."""
    return FilePlace(stamp.inode, stamp.birth_ns, stamp.changed_ns)


def written_place(stamp: Stamp) -> FilePlace:
    """Of a file that is written again and again, and nothing else is done to."""
    is_as_written = stamp.changed_ns == stamp.modified_ns
    return FilePlace(stamp.inode, stamp.birth_ns, None if is_as_written else stamp.changed_ns)


def standing_place(stamp: Stamp) -> FilePlace:
    """Of a file whose times are set as well."""
    return FilePlace(stamp.inode, stamp.birth_ns, None)


def encode_place(place: Place) -> bytes:
    """The content of a file `place`."""
    machine, volume = (word or _NOT_THERE for word in place.where)
    lines = [_HEADING, f"machine {machine}", f"volume {volume}"]
    for name, file in place.files.items():
        changed = _NOT_THERE if file.changed_ns is None else file.changed_ns
        lines.append(f"file {name} {file.inode} {file.birth_ns} {changed}")
    body = "".join(f"{line}\n" for line in lines).encode()
    return body + _sum_line(body).encode()


def _sum_line(body: bytes) -> str:
    return f"sum {blake2b_256(body).hex()}\n"


def decode_place(data: bytes, key: str) -> Place:
    """The reverse of `encode_place`; `key` is the name of the key's file, for the old form.

    Raises:
        DecodeError: it is not such a file, or not whole.
    """
    try:
        lines = data.decode().splitlines(keepends=True)
        if lines[0] != f"{_HEADING}\n":
            return _decode_first(lines, key)
        body = "".join(lines[:-1]).encode()
        (_, machine), (_, volume), *files = (line.split() for line in lines[1:-1])
        places = {name: _decode_file(numbers) for _, name, *numbers in files}
    except (ValueError, IndexError) as error:
        raise DecodeError("it does not say where it was made") from error
    if lines[-1] != _sum_line(body):
        raise DecodeError("it is damaged")
    return Place(Whereabouts(_known(machine), _known(volume)), places)


def _decode_first(lines: list[str], key: str) -> Place:
    """The line of version 0.1.0."""
    (fields,) = (line.split(" ") for line in lines)
    if len(fields) != _FIRST_FIELDS:
        raise ValueError("another line")
    machine, _, inode, birth_ns = fields
    place = FilePlace(int(inode), int(birth_ns), None)
    return Place(Whereabouts(_known(machine), None), {key: place}, has_times=False)


def _decode_file(numbers: list[str]) -> FilePlace:
    inode, birth_ns, changed_ns = numbers
    changed = None if changed_ns == _NOT_THERE else int(changed_ns)
    return FilePlace(int(inode), int(birth_ns), changed)


def _known(word: str) -> str | None:
    return None if word == _NOT_THERE else word


def displacement(kept: Place, now: Place) -> str:
    """Why files may not be where, or as, their store left them: a sentence; empty if they are."""
    if kept.where.machine != now.where.machine:
        return "the store is on another machine than before"
    if kept.where.volume is not None and kept.where.volume != now.where.volume:
        return "the store is on another volume than before"
    for name, was in kept.files.items():
        found = now.files.get(name)
        if found is None:
            return f"its file {name!r} is missing"
        if found[:2] != was[:2]:
            return f"its file {name!r} is another one than before"
        if kept.has_times and found.changed_ns not in (None, was.changed_ns):
            return f"something else than this program has changed its file {name!r}"
    return ""
