"""Reads what `scripts/recorder.c` has written, and lives it again on a simulated disk."""

from __future__ import annotations

import json
import os
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.store.memory_disk import Directory, Inode, Move, Truncate, Write, cut_tree

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from protozorfs.store.memory_disk import CutModel

_HEAD = Struct("<ccHIQqQQQ")
MARK = b"M"  # a note of the workload itself, JSON
SHARED_MEMORY = "-shm"  # of SQLite: rebuilt by whoever opens the database, and not written by calls


class Call(NamedTuple):
    """One call that changed something, or one sync at its beginning or end; or a mark.

    Attributes:
        kind: c create, w write, t truncate, h hole, r rename, u unlink, x rmdir, m mkdir, l link,
            S and s a file's sync begins and ends, D and d a directory's, M a mark.
    """

    kind: str
    pid: int
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def read_record(path: Path) -> Iterator[Call]:
    """All calls, in their order."""
    content, at = path.read_bytes(), 0
    while at + _HEAD.size <= len(content):
        magic, kind, _, pid, inode, offset, *sizes = _HEAD.unpack_from(content, at)
        assert magic == b"R", f"no record at {at}"
        at += _HEAD.size
        parts = []
        for size in sizes:
            parts.append(content[at : at + size])
            at += size
        first, other, data = parts
        yield Call(kind.decode(), pid, inode, offset, os.fsdecode(first), os.fsdecode(other), data)


def write_mark(path: Path, what: dict[str, object]) -> None:
    """Adds a note of the workload, at this point of the record."""
    data = json.dumps(what).encode()
    record = _HEAD.pack(b"R", MARK, 0, os.getpid(), 0, 0, 0, 0, len(data)) + data
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, record)
    finally:
        os.close(descriptor)


class Replay:
    """A simulated disk to which the calls of a record happen."""

    def __init__(self, *, ignores_syncs: bool = False) -> None:
        """`ignores_syncs`: as if none had ever returned, to see that it is noticed."""
        self.root = Directory(0)
        self._ignores_syncs = ignores_syncs
        self._moves = self._committed = self._numbers = 0
        self._inodes: dict[int, Inode] = {}  # by their number on the real file system
        self._begun: dict[int, int] = {}  # changes pending when a sync began
        self._begun_directories: dict[str, int] = {}

    def carry_out(self, call: Call) -> bool:
        """Does the same here; whether it may make a difference to a power cut."""
        if call.path.endswith(SHARED_MEMORY) or call.kind == "M":
            return False
        if self._ignores_syncs and call.kind in "SsDd":
            return True
        if call.kind in "wthSs":
            return self._carry_out_on_file(call)
        if call.kind in "Dd":
            return self._sync_directory(call)
        parent, name = self._place(call.path)
        if call.kind == "c":
            self._numbers += 1
            self._inodes[call.inode] = Inode(self._numbers)
            self._move(parent, None, name, self._inodes[call.inode])
        elif call.kind == "m":
            self._numbers += 1
            self._move(parent, None, name, Directory(self._numbers))
        elif call.kind in "ux":
            self._move(parent, name, None, None)
        elif call.kind == "l":
            target, new = self._place(call.other)
            self._move(target, None, new, parent.current[name])
        else:
            target, new = self._place(call.other)
            assert target is parent, f"a rename across directories: {call}"
            self._move(parent, name, new, parent.current[name])
        return True

    def survivor(self, choice: random.Random, model: CutModel) -> Directory:
        """What a power cut may leave now."""
        root = self.root.clone({})
        cut_tree(root, choice, model, self._committed)
        return root

    def _carry_out_on_file(self, call: Call) -> bool:
        inode = self._inodes.get(call.inode)
        if inode is None:
            return False  # of SQLite's shared memory
        if call.kind == "w":
            inode.change(Write(call.offset, call.data))
        elif call.kind == "t":
            inode.change(Truncate(call.offset))
        elif call.kind == "h":
            size = int.from_bytes(call.data, "little")
            inside = min(size, len(inode.current) - call.offset)
            if inside > 0:
                inode.change(Write(call.offset, bytes(inside)))
        elif call.kind == "S":
            self._begun[call.inode] = len(inode.pending)
            return False
        else:
            # What was written while it ran may be durable, or not.
            later = inode.pending[self._begun.get(call.inode, 0) :]
            del inode.pending[self._begun.get(call.inode, 0) :]
            inode.sync()
            inode.pending = later
            self._committed = self._moves
        return True

    def _sync_directory(self, call: Call) -> bool:
        directory = self._directory(call.path)
        if call.kind == "D":
            self._begun_directories[call.path] = len(directory.pending)
            return False
        count = self._begun_directories.get(call.path, 0)
        later = directory.pending[count:]
        del directory.pending[count:]
        directory.sync()
        directory.pending = later
        self._committed = max(self._committed, later[0].number if later else self._moves)
        return True

    def _move(
        self, parent: Directory, old: str | None, new: str | None, entry: Inode | Directory | None
    ) -> None:
        parent.change(Move(self._moves, old, new, entry))
        self._moves += 1

    def _place(self, path: str) -> tuple[Directory, str]:
        parent, _, name = path.rpartition("/")
        return self._directory(parent), name

    def _directory(self, path: str) -> Directory:
        at = self.root
        for name in path.split("/") if path else ():
            entry = at.current[name]
            assert isinstance(entry, Directory), path
            at = entry
        return at


def digest_of(directory: Directory) -> int:
    """A number that tells apart what is in a directory."""
    return hash(
        tuple(
            (name, digest_of(entry) if isinstance(entry, Directory) else bytes(entry.current))
            for name, entry in sorted(directory.current.items())
        )
    )


def write_out(directory: Directory, to: Path) -> None:
    """Makes real files of a simulated directory; `to` must not exist."""
    to.mkdir(mode=0o700)
    for name, entry in directory.current.items():
        if isinstance(entry, Directory):
            write_out(entry, to / name)
        else:
            with open(to / name, "wb", opener=_private) as file:
                file.write(entry.current)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
