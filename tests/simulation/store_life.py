"""A workload over the files of a whole store, cut at every operation, in several lives.

The workload makes owned feeds, follows one, appends, syncs, fetches, drops, closes, opens again,
removes, and deletes keys. It runs once; at each operation the disk and what callers were told by
then are kept. For each of these moments, states that the disk may be in after a kill or a power cut
are opened by the real code and judged, each with another life: recovery that is itself stopped, an
append, a sync, another cut.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from protozorfs import crypto
from protozorfs.errors import StoreError
from protozorfs.log.feed import Log
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles
from protozorfs.store.keys import load_or_make_key_pair
from protozorfs.store.memory_files import Stopped
from protozorfs.store.placement import PLACED_WITH_NODE, Placement
from protozorfs.types import FeedId
from tests.simulation.judge import Judge, Violation
from tests.simulation.log_life import judge_opened, shown_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POOL_LIMIT = 12
DRAWS_PER_STATE = 3  # of cuts, to find one more state that differs from the others
SOURCE_SEED = b"\xaa" * 32


def seed_of(number: int) -> bytes:
    """The secret of the owned feed with that number."""
    return bytes([number]) * 32


def directory_of(files: MemoryFiles, seed: bytes) -> FeedDirectory:
    """Of the feed with that secret."""
    pool = FilePool(files, POOL_LIMIT)
    return FeedDirectory(pool, FeedId(crypto.key_pair(seed).public_key))


def node_key_of(files: MemoryFiles) -> crypto.KeyPair:
    """The node's key, made if there is none."""
    placement = Placement(files, "node_key_place", "", PLACED_WITH_NODE)
    return load_or_make_key_pair(files, "node_key", placement)[0]


class Source:
    """The feed of somebody else, which is followed; on a disk of its own that never fails."""

    def __init__(self) -> None:
        self.log = Log.create(directory_of(MemoryFiles(), SOURCE_SEED), SOURCE_SEED)
        self.blocks: list[bytes] = []

    def append(self, blocks: Sequence[bytes]) -> None:
        """Grows, durably."""
        self.log.append(blocks)
        self.log.sync()
        self.blocks += blocks

    def upgrade(self, reader: Log) -> None:
        """Sends the newest head."""
        growth = self.log.length - reader.length
        request = Request(upgrade=UpgradeRequest(reader.length, growth))
        reader.apply(request, self.log.proof(request))

    def send(self, reader: Log, indexes: Sequence[int]) -> None:
        """Sends blocks."""
        asked = [Request(block=BlockRequest(i, reader.request_hint(i))) for i in indexes]
        reader.apply_all([(request, self.log.proof(request)) for request in asked])


@dataclass
class Told:
    """What callers were told. A feed is `made` when its making returned, until it is removed."""

    judges: dict[int, Judge] = field(default_factory=dict)
    phases: dict[int, str] = field(default_factory=dict)  # making, made, removing, removed
    fetched: set[int] = field(default_factory=set)
    following: str = ""  # "", following, removing, removed
    node_key: bytes = b""

    def clone(self) -> Told:
        """For another end of the story."""
        return Told(
            {number: judge.clone() for number, judge in self.judges.items()},
            dict(self.phases),
            set(self.fetched),
            self.following,
            self.node_key,
        )


class Moment(NamedTuple):
    """The disk before an operation, and what callers knew."""

    operation: int
    files: MemoryFiles
    told: Told


class Workload:
    """The calls that a mount makes, by turns, on one store."""

    def __init__(self, files: MemoryFiles, source: Source, seed: int) -> None:
        self.files = files
        self.told = Told()
        self.source = source
        self._choice = random.Random(seed)
        self._logs: dict[int, Log] = {}
        self._follower: Log | None = None
        self._counter = 0

    def run(self, rounds: int) -> None:
        """Makes a store and lives in it."""
        self.files.mkdir("feeds")
        self.told.node_key = node_key_of(self.files).public_key
        self.told.following = "following"
        for turn in range(rounds):
            self._round(turn)
        self._close_all()

    def _round(self, turn: int) -> None:
        self._create(turn + 1)
        for number in list(self._logs):
            self._append(number)
        self._append(turn + 1)
        self._fetch(turn)
        for number in list(self._logs):
            self._sync(number)
            self._append(number)
        if turn % 2:
            self._close_all()
            self._open_all()
            self._append(turn + 1)
        if turn % 3 == 2:
            self._delete_key(turn)
        if turn == 3:
            self._unfollow()

    def _create(self, number: int) -> None:
        self.told.phases[number] = "making"
        self.told.judges[number] = Judge(crypto.key_pair(seed_of(number)).public_key)
        log = Log.create(directory_of(self.files, seed_of(number)), seed_of(number))
        self.told.phases[number] = "made"
        self._logs[number] = log

    def _append(self, number: int) -> None:
        judge = self.told.judges[number]
        blocks = []
        for _ in range(self._choice.choice((1, 1, 2, 4))):
            self._counter += 1
            blocks.append(b"%d," % self._counter * self._choice.choice((0, 3, 120, 400, 1500)))
        judge.append_begins(blocks)
        self._logs[number].append(blocks)
        judge.append_returned()

    def _sync(self, number: int) -> None:
        judge, log = self.told.judges[number], self._logs[number]
        judge.sync_begins()
        log.sync()
        judge.sync_returned()
        judge.shown(shown_head(log.durable_head))

    def _fetch(self, turn: int) -> None:
        if self.told.following != "following":
            return
        length = len(self.source.blocks)
        if self._follower is None:
            self._follower = Log.open(directory_of(self.files, SOURCE_SEED))
        if self._follower.length < length:
            self.source.upgrade(self._follower)
        wanted = [i for i in range(length) if i % 5 != turn % 5 and not self._follower.held.get(i)]
        for start in range(0, len(wanted), 3):
            some = wanted[start : start + 3]
            self.source.send(self._follower, some)
            self.told.fetched.update(some)
        if turn % 2:
            # What the mark of the clean stop says is wrong from the drop on.
            self._follower.close()
            self._follower = Log.open(directory_of(self.files, SOURCE_SEED))
            self.told.fetched -= set(range(2, 9))
            self._follower.drop(2, 9)

    def _close_all(self) -> None:
        for number, log in self._logs.items():
            log.close()
            self.told.judges[number].closed_cleanly()
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def _open_all(self) -> None:
        for number in self._logs:
            self._logs[number] = Log.open(directory_of(self.files, seed_of(number)))

    def _delete_key(self, number: int) -> None:
        self._logs.pop(number).rest()
        self.told.phases[number] = "removing"
        directory_of(self.files, seed_of(number)).remove()
        self.told.phases[number] = "removed"

    def _unfollow(self) -> None:
        if self._follower is not None:
            self._follower.rest()
            self._follower = None
        self.told.following = "removing"
        self.told.fetched.clear()
        directory_of(self.files, SOURCE_SEED).remove()
        self.told.following = "removed"


def moments_of(
    source: Source, seed: int, rounds: int, prepare: Callable[[MemoryFiles], None] | None = None
) -> list[Moment]:
    """Runs the workload once; the disk and what was told at each of its operations."""
    files, found = MemoryFiles(seed), list[Moment]()
    if prepare is not None:
        prepare(files)
    workload = Workload(files, source, seed)
    files.watch(lambda number: found.append(Moment(number, files.clone(), workload.told.clone())))
    workload.run(rounds)
    found.append(Moment(files.operations, files.clone(), workload.told.clone()))
    return found


class Figures(NamedTuple):
    """What was tried."""

    moments: int  # operations at which it was cut
    full: int  # of them, those with as many states as were asked for
    states: int


class Trial:
    """Opens and judges the states that the disk may be in."""

    def __init__(
        self, source: Source, prepare: Callable[[MemoryFiles], None] | None = None
    ) -> None:
        """`prepare`: changes each disk before it is used."""
        self._source = source
        self._prepare = prepare

    def run(self, moments: Sequence[Moment], states: int, seed: int) -> Figures:
        """Tries each moment with a kill, and with as many different states after a power cut.

        Raises:
            Violation: a rule was broken; its note says at which operation, and how.
        """
        total = full = 0
        for moment in moments:
            choice = random.Random(seed * 1_000_003 + moment.operation)
            seen: set[bytes] = set()
            self._try(moment, None, choice)
            for _ in range(states * DRAWS_PER_STATE):
                cut = choice.getrandbits(32)
                files = moment.files.clone()
                files.power_cut(random.Random(cut))
                digest = files.digest()
                if digest in seen:
                    continue
                seen.add(digest)
                self._try(moment, cut, choice)
                if len(seen) == states:
                    full += 1
                    break
            total += 1 + len(seen)
        return Figures(len(moments), full, total)

    def _try(self, moment: Moment, cut: int | None, choice: random.Random) -> None:
        files, told = moment.files.clone(), moment.told.clone()
        if self._prepare is not None:
            self._prepare(files)
        lives = choice.getrandbits(32)
        if cut is None:
            files.kill()
        else:
            files.power_cut(random.Random(cut))
        try:
            self._lives(files, told, random.Random(lives), was_power_cut=cut is not None)
        except Violation as violation:
            how = "a kill" if cut is None else f"the power cut {cut}"
            violation.add_note(f"operation {moment.operation}, {how}, then lives of {lives}")
            raise

    def _lives(
        self, files: MemoryFiles, told: Told, choice: random.Random, *, was_power_cut: bool
    ) -> None:
        """Recovery, which may be stopped; then a life with an append and a sync; another cut."""
        while choice.random() < 0.4:
            files.fail_at(files.operations + choice.randint(0, 8))
            with suppress(Stopped):
                self._look(files, told.clone(), was_power_cut=was_power_cut)
            if choice.random() < 0.7:
                files.power_cut(choice)
                was_power_cut = True
            files.kill()
        logs = self._look(files, told, was_power_cut=was_power_cut)
        for number, log in logs.items():
            self._live(log, told.judges[number], choice)
        if choice.random() < 0.5:
            files.kill()
            self._look(files, told, was_power_cut=False)
        files.power_cut(choice)
        self._look(files, told, was_power_cut=True)

    def _live(self, log: Log, judge: Judge, choice: random.Random) -> None:
        try:
            for number in range(choice.randint(0, 2)):
                block = b"later %d" % number * choice.choice((1, 90, 700))
                judge.append_begins([block])
                log.append([block])
                judge.append_returned()
            if choice.random() < 0.4:
                judge.sync_begins()
                log.sync()
                judge.sync_returned()
                judge.shown(shown_head(log.durable_head))
            if choice.random() < 0.3:
                log.close()
                judge.closed_cleanly()
        except (StoreError, OSError) as error:
            judge.unusable(error)

    def _look(self, files: MemoryFiles, told: Told, *, was_power_cut: bool) -> dict[int, Log]:
        """Opens all that there should be; the logs of owned feeds."""
        try:
            self._check_node_key(files, told)
            self._check_follower(files, told, was_power_cut=was_power_cut)
            return self._open_owned(files, told, was_power_cut=was_power_cut)
        except (StoreError, OSError) as error:
            raise Violation("usable", f"{type(error).__name__}: {error}") from error

    def _check_node_key(self, files: MemoryFiles, told: Told) -> None:
        pair = node_key_of(files)
        if told.node_key and pair.public_key != told.node_key:
            raise Violation("key", "the node has another key")

    def _open_owned(self, files: MemoryFiles, told: Told, *, was_power_cut: bool) -> dict[int, Log]:
        logs: dict[int, Log] = {}
        for number, phase in list(told.phases.items()):
            directory = directory_of(files, seed_of(number))
            has_key = files.exists(f"{directory.path}/secret")
            if phase == "made" and not has_key:
                raise Violation("key", f"the key of feed {number} is gone")
            if phase == "removed" and directory.exists():
                raise Violation("removed", f"feed {number} is back")
            if phase == "removing" and not has_key and directory.exists():
                left = set(files.listdir(directory.path))
                if left & {"data", "tree", "head"}:
                    raise Violation("key", f"of feed {number} the key went first: {left}")
            if phase == "made":
                why = directory.displacement()
                if why:
                    raise Violation("place", f"feed {number} takes itself for a copy: {why}")
                logs[number] = Log.open(directory)
                judge_opened(logs[number], told.judges[number], was_power_cut=was_power_cut)
        return logs

    def _check_follower(self, files: MemoryFiles, told: Told, *, was_power_cut: bool) -> None:
        directory = directory_of(files, SOURCE_SEED)
        if told.following == "removed" and directory.exists():
            raise Violation("removed", "the followed feed is back")
        if told.following != "following":
            return
        log, blocks = Log.open(directory), self._source.blocks
        held = {index for index in range(log.length) if log.held.get(index)}
        for index in held:
            if log.block(index) != blocks[index]:
                raise Violation("wrong", f"block {index} of the followed feed")
        if not was_power_cut and not held >= told.fetched:
            raise Violation("returned", f"fetched blocks are gone: {told.fetched - held}")
        told.fetched &= held
        if log.length and log.length < len(blocks):
            self._source.upgrade(log)


def new_source() -> Source:
    """A source of blocks of many sizes."""
    source = Source()
    source.append([b"%d." % index * (index * 37 % 500) for index in range(17)])
    return source
