"""More workloads, each of a store that is there already when it begins.

upgraded    version 0.1.0 left it: names in SQLite, heads in one page, no key twice
moved       it was copied or restored: feeds take themselves for copies, one is settled
adopted     the same, and the user says that it is no copy
damaged     bits are wrong in it: it is scrubbed, repaired, and one feed of our own cut
killed      nothing of its last run was synced: all is checked, and that kept
shrunk      a power cut took the only blocks of feeds of our own, and left their heads
full        now and then there is no space, at any operation; what is asked for next succeeds
"""

from __future__ import annotations

import errno
import random
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from protozorfs.log.format import decode_head_slot, encode_head_slot
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import PAGE_BYTES, SLOT_BYTES, HeadKind, old_slot_offset, slot_offset
from protozorfs.store.layout import feed_path
from protozorfs.store.memory_disk import ANY, SECTOR_BYTES, WRITES, CutModel
from tests.simulation.store_life import NO_CHANGES, Changes, Moment, moments_of, record
from tests.simulation.store_process import FOLLOWED, Process, Told, feed_id_of, files_below, seed_of
from tests.unit.store.old_stores import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from protozorfs.types import FeedId
    from tests.simulation.store_process import Source

    Scenario: TypeAlias = Callable[[Source, int, Changes], list[Moment]]

OWN = (1, 2, 3)
LOST = (4, 5)  # more feeds of our own
NOTHING_IS_LEFT = CutModel(SECTOR_BYTES, WRITES, ANY, survival=0.0, has_rubbish=False)
FULL_TURNS = 16
MAX_AHEAD = 18  # of the operation that finds no space
FIRST_HEAD = 16  # the operation of a first append to a feed of version 0.1.0 that writes its head
MARK_BYTES = 88  # of a clean mark of version 0.1.0
SINCE = ("names", "names.copy", "node_key.copy")  # files that it had not
SINCE_OF_FEED = ("secret.copy", "sums", "tree_sums", "bitfield.log")


def life(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    """A whole life of a store, from its making on."""
    return moments_of(source, seed, 4, changes)


def upgraded(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    made.go_back_to_first_format()

    def run() -> None:
        process = made.opened()
        for number in OWN:  # the first one while its head is written, the others anywhere
            with made.full_once(process, FIRST_HEAD if number == OWN[0] else None):
                process.append(number, [b"refused"])
            process.append(number, [b"after" * number])
        process.sync(1)
        process.rename(feed_id_of(seed_of(2)), b"new name")
        process.fetch(1)
        made.close(process)
        process = made.opened()
        process.append(3, [b"more"])
        made.close(process)

    return made.recorded(run, changes)


def moved(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    made.take_for_copies()
    made.told.other_key, made.told.node_key = made.told.node_key, b""

    def run() -> None:
        process = made.opened()
        for number in OWN:
            process.append(number, [b"after" * number])
        process.sync(1)
        process.settle(2)
        process.settle(3)
        process.append(2, [b"settled"])
        made.close(process)
        process = made.opened()
        process.append(1, [b"still a copy"])
        made.close(process)

    return made.recorded(run, changes)


def adopted(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    made.take_for_copies()

    def run() -> None:
        made.told.copies = dict.fromkeys(OWN, False)
        made.told.node_key = b""
        Process(made.files, made.told, source, adopts=True).adopt()
        process = made.opened()
        for number in OWN:
            process.append(number, [b"adopted"])
        made.close(process)

    return made.recorded(run, changes)


def damaged(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    made.leave_unsynced()
    made.damage()

    def run() -> None:
        process = made.opened()
        process.scrub(FOLLOWED)
        made.rest(process)
        process.repair(feed_id_of(seed_of(1)))
        process.repair(FOLLOWED)
        process.cut(2)
        made.close(process)
        process = made.opened()
        for number in OWN:
            process.append(number, [b"mended"])
        made.close(process)

    return made.recorded(run, changes)


def killed(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    made.leave_unsynced()

    def run() -> None:
        process = made.opened()
        for feed_id in (FOLLOWED, *map(_own, OWN)):
            process.check(feed_id, 9)
        process.append(1, [b"checked"])
        process.sync(1)
        process.fetch(2)
        process.rest(_own(2))
        process.rest(FOLLOWED)
        process.append(2, [b"rested"])
        process.fetch(3)
        process = made.restarted(process)
        process.check(FOLLOWED, 9)
        process.check(_own(2), 9)
        made.close(process)
        process = made.opened()
        process.append(3, [b"at last"])
        made.close(process)

    return made.recorded(run, changes)


def shrunk(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)
    process = made.opened()
    for number in LOST:
        process.create(number)
        process.append(number, [b"lost"])
        with closing(made.files.open(f"{feed_path(_own(number))}/head")) as file:
            file.fdatasync()  # as the kernel does it whenever it likes
    made.files.power_cut(random.Random(seed), NOTHING_IS_LEFT)
    for number in LOST:
        made.told.judges[number].opened(0, [], b"", was_power_cut=True)

    def run() -> None:
        process = made.opened()
        process.rest(_own(LOST[0]))
        made.close(process)
        process = made.opened()
        for number in LOST:
            process.append(number, [b"another"])
        made.close(process)

    return made.recorded(run, changes)


def full(source: Source, seed: int, changes: Changes = NO_CHANGES) -> list[Moment]:
    made = _Made(source, seed)

    def run() -> None:
        process = made.opened()
        for turn in range(FULL_TURNS):
            number = OWN[turn % 2]
            with made.full_once(process):
                process.append(number, made.some_blocks())
            process.append(number, made.some_blocks())
            with made.full_once(process):
                process.sync(number)
            if turn % 2:
                process.sync(number)
            with made.full_once(process):
                process.rename(_own(number), b"refused %d" % turn)
            process.rename(_own(number), b"renamed %d" % turn)
            with made.full_once(process):
                process.fetch(turn)
            process.fetch(turn)
            with made.full_once(process):
                process.rest(FOLLOWED if turn % 2 else _own(number))
        process = made.opened_full()
        process.rename(_own(1), b"room")
        process.append(1, [b"there is room"])
        made.close(process)

    return made.recorded(run, changes)


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (life, upgraded, moved, adopted, damaged, killed, shrunk, full)
}


class _Made:
    """A store with three feeds of our own and a followed one; stopped cleanly, all durable."""

    def __init__(self, source: Source, seed: int) -> None:
        self.files, self.told = MemoryFiles(seed), Told()
        self._source = source
        self._choice = random.Random(seed)
        process = Process(self.files, self.told, source)
        process.is_open()
        process.follow()
        for number in OWN:
            process.create(number)
            process.append(number, [self._choice.randbytes(size) for size in (300, 900, 20, 1500)])
            process.append(number, [self._choice.randbytes(70)])
        process.fetch(0)
        self.close(process)
        self._sync()

    def recorded(self, run: Callable[[], None], changes: Changes) -> list[Moment]:
        """The moments of what is run."""
        return record(self.files, self.told, run, changes)

    def opened(self) -> Process:
        """A new run."""
        self.files.kill()
        return Process.open(self.files, self.told, self._source, was_power_cut=False)

    def opened_full(self) -> Process:
        """A new run behind a kill, which finds no space for other files of names."""
        self.files.kill()
        failing = list[int]()
        for _ in range(2):  # where there is no space for the first, the second comes later
            failing.append(self._next_names(failing))
        self.files.fail_at(failing[0], errno.ENOSPC, also=failing)
        process = Process.open(self.files, self.told, self._source, was_power_cut=False)
        self.files.fail_at(None)
        return process

    def _next_names(self, failing: Sequence[int]) -> int:
        """The operation that makes the next file of names, if those fail."""
        files, found = self.files.clone(), list[int]()

        def carry_out(kind: str, path: str, effect: Callable[[], None]) -> None:
            if kind == "create" and path in ("names.new", "names.copy.new"):
                found.append(files.operations - 1)
            effect()

        files.carry_out_by(carry_out)
        if failing:
            files.fail_at(failing[0], errno.ENOSPC, also=failing)
        Process(files, self.told.clone(), self._source)
        return found[0]

    def restarted(self, process: Process) -> Process:
        """A new run, behind a kill of that one."""
        assert not process.failures, process.failures
        return self.opened()

    @contextmanager
    def full_once(self, process: Process, ahead: int | None = None) -> Iterator[None]:
        """In the body one operation, any of the first ones, finds no space, if it comes to it."""
        if ahead is None:
            ahead = self._choice.randrange(MAX_AHEAD)
        self.files.fail_at(self.files.operations + ahead, errno.ENOSPC)
        yield
        self.files.fail_at(None)
        process.failures.clear()

    def some_blocks(self) -> list[bytes]:
        """One block, or more."""
        return [self._choice.randbytes(self._choice.choice((1, 200, 900)))] * self._choice.choice(
            (1, 1, 3)
        )

    def close(self, process: Process) -> None:
        """A clean stop, after which nothing has failed."""
        process.close()
        assert not process.failures, process.failures

    def rest(self, process: Process) -> None:
        """Closes the logs, which another run will open."""
        process.close()

    def _sync(self) -> None:
        for path in files_below(self.files):
            with closing(self.files.open(path)) as file:
                file.fdatasync()
        for path in {"", *(path.rpartition("/")[0] for path in files_below(self.files))}:
            while path:
                self.files.sync_dir(path)
                path = path.rpartition("/")[0]
        self.files.sync_dir("")

    def _write(self, path: str, content: bytes) -> None:
        with closing(self.files.open(path, create=True)) as file:
            file.truncate(0)
            file.pwrite(content, 0)

    # what befell it

    def go_back_to_first_format(self) -> None:
        """It is as version 0.1.0 would have left it."""
        files, told = self.files, self.told
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(SCHEMA)
            for name, feed_id in told.names.shown():
                row = (name, feed_id, feed_id != FOLLOWED, 1, 1)
                connection.execute("INSERT INTO names VALUES (?, ?, ?, ?, ?)", row)
            self._write("names.db", connection.serialize())
        self._write("format", b"protozorfs store 1\n")
        for since in SINCE:
            files.remove(since)
        for feed_id in (FOLLOWED, *map(_own, OWN)):
            path = feed_path(feed_id)
            for since in SINCE_OF_FEED:
                if files.exists(f"{path}/{since}"):
                    files.remove(f"{path}/{since}")
            self._write(f"{path}/head", _old_heads(files.read(f"{path}/head")))
            self._write(f"{path}/clean", files.read(f"{path}/clean")[:MARK_BYTES])
        self._sync()
        told.has_format = told.has_node_key_twice = False
        told.have_key_twice.clear()

    def take_for_copies(self) -> None:
        """It was copied, but for one feed, of which only the data was restored."""
        files, told = self.files, self.told
        told.has_node_key_twice = False
        for path in ("node_key", *(f"{feed_path(_own(number))}/secret" for number in OWN[1:])):
            files.replace(path, files.read(path))  # another file of the same content
        with closing(files.open(f"{feed_path(_own(1))}/data")) as file:
            file.set_modified(1)
        self._sync()
        told.copies = dict.fromkeys(OWN, True)

    def leave_unsynced(self) -> None:
        """It was killed, and nothing of that run was synced."""
        process = self.opened()
        for number in OWN:
            for size in (400, 700, 30):
                process.append(number, [self._choice.randbytes(size)])
        process.fetch(1)
        self.files.kill()

    def damage(self) -> None:
        """One bit is wrong in many files."""
        keys = (f"{feed_path(_own(1))}/secret", f"{feed_path(_own(3))}/secret.copy")
        for path in ("names.copy", "node_key", *keys):
            self._flip(path, 0, len(self.files.read(path)))
        for feed_id in (_own(1), FOLLOWED):
            self._flip(f"{feed_path(feed_id)}/head", PAGE_BYTES, PAGE_BYTES + SLOT_BYTES)
            self._flip(f"{feed_path(feed_id)}/tree", 40, 80)
        self._flip(f"{feed_path(FOLLOWED)}/data", 0, 40)
        self._flip(f"{feed_path(_own(2))}/data", 3300, 3800)  # the last but one block
        self.told.damaged = {_own(1), _own(2), FOLLOWED}
        self.told.fetched.clear()
        self.told.clean.clear()
        self.told.has_node_key_twice = False
        self.told.have_key_twice -= {1, 3}
        self.told.copies[1] = False  # while its key is another file than the one that was known

    def _flip(self, path: str, first: int, last: int) -> None:
        """One bit of some bytes, of which at least one is not zero."""
        self.files.flip_bit(
            path, 8 * self._choice.randrange(first, last) + self._choice.randrange(8)
        )


def _own(number: int) -> FeedId:
    return feed_id_of(seed_of(number))


def _old_heads(content: bytes) -> bytes:
    """The file `head` of version 0.1.0: four slots in one page, each once."""
    page = bytearray(PAGE_BYTES // 2)
    for kind in HeadKind:
        for parity in range(2):
            at = slot_offset(kind, parity)
            slot = decode_head_slot(content[at : at + SLOT_BYTES])
            if slot is not None:
                record = encode_head_slot(kind, slot.sequence, slot.head)
                at = old_slot_offset(kind, parity)
                page[at : at + SLOT_BYTES] = record
    return bytes(page)
