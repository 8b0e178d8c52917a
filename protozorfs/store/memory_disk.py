"""The simulated disk below `MemoryFiles`: what is in its cache, and what a power cut may leave.

Every file and directory has a *current* state, which its users see, and a *durable* one with the
changes that were made since. A sync moves the changes into the durable state. A power cut keeps the
durable state and some of the changes, by one of these models, drawn for each cut:

    of a file         `MOMENTS`  each unit of it (a sector of 512 bytes, or a page of 4096) is as it
                                 was at some moment since the sync, and so is its size. Where the
                                 size survived and a unit did not, there are zeros, or rubbish.
                      `WRITES`   each unit of each single write is there or not: writes are lost,
                                 torn and reordered, within a sector too. No disk does worse.
    of directories    `JOURNAL`  the changes of all directories up to one moment, not before the
                                 last sync of any file or directory, as with ext4
                      `PREFIX`   in each directory, its first changes
                      `ANY`      any of the changes; a rename is one change

Files and directories are cut independently: a file whose name survived may be empty, and one that
was synced may have lost its name.

A sync that fails writes some of what it should, and the rest never reaches the disk, whatever
later syncs say, while the cache goes on showing it: so Linux treats pages that it failed to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

SECTOR_BYTES = 512  # what a disk writes whole or not at all
PAGE_BYTES = 4096  # what the system writes at once
MOMENTS, WRITES = "moments", "writes"
JOURNAL, PREFIX, ANY = "journal", "prefix", "any"


class CutModel(NamedTuple):
    """What may be left of what was not synced.

    Attributes:
        unit_bytes: what of a file is written whole or not at all.
        of_files: `MOMENTS` or `WRITES`.
        of_directories: `JOURNAL`, `PREFIX` or `ANY`.
        survival: the chance of each single change, 0 to 1.
        has_rubbish: what was allocated and never written holds something, not zeros.
    """

    unit_bytes: int
    of_files: str
    of_directories: str
    survival: float
    has_rubbish: bool


def draw_model(choice: random.Random) -> CutModel:
    """One of all the models."""
    return CutModel(
        unit_bytes=choice.choice((SECTOR_BYTES, PAGE_BYTES)),
        of_files=choice.choice((MOMENTS, WRITES)),
        of_directories=choice.choice((JOURNAL, PREFIX, ANY)),
        survival=choice.choice((0.0, 0.5, 0.9, 1.0)),
        has_rubbish=choice.random() < 0.2,
    )


class Write(NamedTuple):
    """Bytes at an offset; beyond the end of the file the gap is zeros."""

    offset: int
    data: bytes


class Truncate(NamedTuple):
    """Cuts, or grows with zeros."""

    size: int


class Move(NamedTuple):
    """One change of a directory: a name goes, a name comes, or both at once.

    `number` counts the changes of all directories.
    """

    number: int
    old: str | None
    new: str | None
    entry: Inode | Directory | None


class Inode:
    """One file.

    Attributes:
        number: that of no other file or directory of the disk.
        current: what its users see.
        durable: what survives a power cut in any case.
        pending: what was changed since the last sync.
        holes: sectors that take no space.
        named: what it held when a rename gave it its name; None once it was changed since.
        modified_ns: when it was last written to.
        changed_ns: when it, or what `modified_ns` says, was last changed.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.current = bytearray()
        self.durable = bytearray()
        self.pending: list[Write | Truncate] = []
        self.holes: set[int] = set()
        self.named: bytes | None = None
        self.modified_ns = self.changed_ns = 0

    def clone(self) -> Inode:
        """The same file on another disk."""
        other = Inode(self.number)
        other.current, other.durable = bytearray(self.current), bytearray(self.durable)
        other.pending, other.holes = list(self.pending), set(self.holes)
        other.named = self.named
        other.modified_ns, other.changed_ns = self.modified_ns, self.changed_ns
        return other

    def grow_to(self, size: int) -> None:
        """What lies between the end and `size` takes no space when the file becomes longer."""
        self.holes.update(range(-(-len(self.current) // SECTOR_BYTES), -(-size // SECTOR_BYTES)))

    def change(self, change: Write | Truncate) -> None:
        """Changes what users see; not durable."""
        self.named = None
        apply_change(self.current, change)
        self.pending.append(change)

    def sync(self) -> None:
        """All that is pending is durable."""
        # Not a copy of the current state: what a failed sync threw away stays thrown away.
        for change in self.pending:
            apply_change(self.durable, change)
        self.pending.clear()

    def fail_sync(self, choice: random.Random) -> None:
        """Some of what is pending is durable, and the rest never will be."""
        self._keep_some(choice, draw_model(choice))

    def cut(self, choice: random.Random, model: CutModel) -> None:
        """The machine stopped."""
        self._keep_some(choice, model)
        self.current = bytearray(self.durable)

    def _keep_some(self, choice: random.Random, model: CutModel) -> None:
        if not self.pending:
            return
        if model.of_files == WRITES:
            for change in self.pending:
                for part in _units_of(change, model.unit_bytes):
                    if choice.random() < model.survival:
                        apply_change(self.durable, part)
        else:
            self.durable = self._at_moments(choice, model)
        self.pending.clear()

    def _at_moments(self, choice: random.Random, model: CutModel) -> bytearray:
        """Each unit as it was after some of the pending changes, and the size too."""
        unit_bytes = model.unit_bytes
        versions = [self.durable]  # after each number of changes
        for change in self.pending:
            version = bytearray(versions[-1])
            apply_change(version, change)
            versions.append(version)
        last = len(versions) - 1

        def moment() -> int:
            return last if choice.random() < model.survival else choice.randint(0, last)

        content = bytearray(len(versions[moment()]))
        for start in range(0, len(content), unit_bytes):
            size = min(unit_bytes, len(content) - start)
            part = versions[moment()][start : start + size]
            if len(part) < size and model.has_rubbish and start >= len(self.durable):
                part = part + choice.randbytes(size - len(part))
            content[start : start + size] = part.ljust(size, b"\0")
        return content


class Directory:
    """One directory; its attributes as those of `Inode`, `current` and `durable` by name."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.current: dict[str, Inode | Directory] = {}
        self.durable: dict[str, Inode | Directory] = {}
        self.pending: list[Move] = []

    def clone(self, known: dict[int, Inode | Directory]) -> Directory:
        """The same directory on another disk. `known`: what was cloned already, by number."""
        other = known[self.number] = Directory(self.number)
        other.current = {name: _cloned(entry, known) for name, entry in self.current.items()}
        other.durable = {name: _cloned(entry, known) for name, entry in self.durable.items()}
        other.pending = [
            move._replace(entry=None if move.entry is None else _cloned(move.entry, known))
            for move in self.pending
        ]
        return other

    def change(self, move: Move) -> None:
        """Changes what users see; not durable."""
        if move.old is not None and isinstance(move.entry, Inode):
            move.entry.named = bytes(move.entry.current)
        apply_move(self.current, move)
        self.pending.append(move)

    def sync(self) -> None:
        """All that is pending is durable."""
        for move in self.pending:
            apply_move(self.durable, move)
        self.pending.clear()

    def fail_sync(self, choice: random.Random, *, is_full: bool) -> bool:
        """The first of what is pending is durable, and the rest never will be.

        `is_full`: only space was missing. Then file systems keep the rest, as they do with no bytes
        of a file, and a later sync makes it durable. Returns whether there is a rest that is lost.
        """
        count = choice.randint(0, len(self.pending))
        for move in self.pending[:count]:
            apply_move(self.durable, move)
        rest = self.pending[count:]
        self.pending = rest if is_full else []
        return bool(rest) and not is_full

    def cut(self, kept: Sequence[Move]) -> None:
        """The machine stopped; of what is pending, `kept` has survived."""
        for move in kept:
            apply_move(self.durable, move)
        self.pending.clear()
        self.current = dict(self.durable)


def cut_tree(root: Directory, choice: random.Random, model: CutModel, committed: int) -> None:
    """Cuts a directory with all that is below it.

    Args:
        root: the directory.
        choice: draws what survives.
        model: and how.
        committed: the number of the first change of directories behind the last sync of anything.
    """
    directories, inodes = _everything_below(root)
    moves = sorted(move.number for directory in directories for move in directory.pending)
    later = [number for number in moves if number >= committed]
    end = choice.choice([*later, later[-1] + 1]) if later else committed
    for directory in directories:
        pending = directory.pending
        if model.of_directories == JOURNAL:
            kept = [move for move in pending if move.number < end]
        elif model.of_directories == PREFIX:
            kept = pending[: choice.randint(0, len(pending))]
        else:
            kept = [move for move in pending if choice.random() < model.survival]
        directory.cut(kept)
    for inode in inodes:
        inode.cut(choice, model)


def apply_change(content: bytearray, change: Write | Truncate) -> None:
    """Carries out a change of a file."""
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    if not change.data:
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def apply_move(entries: dict[str, Inode | Directory], move: Move) -> None:
    """Carries out a change of a directory."""
    if move.old is not None:
        entries.pop(move.old, None)
    if move.new is not None and move.entry is not None:
        entries[move.new] = move.entry


def _units_of(change: Write | Truncate, unit_bytes: int) -> Iterator[Write | Truncate]:
    if isinstance(change, Truncate):
        yield change
        return
    at, data = change
    while data:
        size = unit_bytes - at % unit_bytes
        yield Write(at, data[:size])
        at, data = at + size, data[size:]


def _cloned(entry: Inode | Directory, known: dict[int, Inode | Directory]) -> Inode | Directory:
    if entry.number not in known:
        known[entry.number] = entry.clone() if isinstance(entry, Inode) else entry.clone(known)
    return known[entry.number]


def _everything_below(root: Directory) -> tuple[list[Directory], list[Inode]]:
    """Directories and files, reached by names that are there now, were, or may be after a cut.

    In the order in which they were made, so that what is drawn depends on nothing else.
    """
    found: dict[int, Inode | Directory] = {root.number: root}
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        moved = [move.entry for move in directory.pending if move.entry is not None]
        for entry in (*directory.current.values(), *directory.durable.values(), *moved):
            if entry.number not in found:
                found[entry.number] = entry
                if isinstance(entry, Directory):
                    waiting.append(entry)
    ordered = [found[number] for number in sorted(found)]
    return (
        [entry for entry in ordered if isinstance(entry, Directory)],
        [entry for entry in ordered if isinstance(entry, Inode)],
    )
