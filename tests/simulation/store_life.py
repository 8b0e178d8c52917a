"""A workload over the files of a whole store, cut at every operation, in several lives.

The workload makes owned feeds, follows one, renames, appends, syncs, fetches, drops, closes, opens
again and removes. It runs once; at each operation the disk and what callers were told by
then are kept. For each of these moments, states that the disk may be in after a kill or a power cut
are opened by the real code and judged, each with another life: recovery that is itself stopped, an
append, a sync, another cut. One bit of one file is wrong in some of them.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import StoreError
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import Stopped
from tests.simulation.judge import Violation
from tests.simulation.store_process import (
    FOLLOWED,
    Process,
    Source,
    Told,
    feed_id_of,
    flip_one_bit,
    seed_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.store.memory_disk import CutModel

DRAWS_PER_STATE = 3  # of cuts, to find one more state that differs from the others
FLIPPED_EVERY = 3  # of the states, one more with a wrong bit is looked at


class Moment(NamedTuple):
    """The disk before an operation, and what callers knew."""

    operation: int
    files: MemoryFiles
    told: Told


class Workload:
    """The calls that a mount makes, by turns, on one store."""

    def __init__(self, files: MemoryFiles, source: Source, seed: int) -> None:
        self.told = Told()
        self._files = files
        self._source = source
        self._choice = random.Random(seed)
        self._counter = 0

    def run(self, rounds: int) -> None:
        """Makes a store and lives in it."""
        process = Process(self._files, self.told, self._source)
        process.is_open()
        process.follow()
        for turn in range(rounds):
            process = self._round(process, turn)
        process.close()
        assert not process.failures, process.failures

    def _round(self, process: Process, turn: int) -> Process:
        process.create(turn + 1)
        for number in process.logs:
            process.append(number, self._blocks())
        process.fetch(turn)
        process.rename(feed_id_of(seed_of(turn + 1)), b"renamed %d" % turn)
        for number in process.logs:
            process.sync(number)
            process.append(number, self._blocks())
        process.keep_times(turn)
        process.visit(keeps=turn == 2)
        process.keep_beside(b"kept %d" % turn)
        if turn in (0, 3):
            process.sync(turn + 1)
            for feed_id in (feed_id_of(seed_of(turn + 1)), FOLLOWED):
                process.rest(feed_id)
            process.fetch(turn + 1)  # without a head that is newer
            process.rest(FOLLOWED)
        if turn in (1, 2):
            process = self._killed(process, turn)
        if turn % 2:
            process.drop()
            process.close()
            assert not process.failures, process.failures
            process = Process.open(self._files, self.told, self._source, was_power_cut=False)
            process.append(turn + 1, self._blocks())
        if turn % 3 == 2:
            process.remove(feed_id_of(seed_of(turn)))
        if turn == 3:
            process.remove(FOLLOWED)
        return process

    def _killed(self, process: Process, turn: int) -> Process:
        """It is killed, and what it left is checked wholly, or in part, over another kill."""
        process.append(turn, self._blocks())
        partly = ((1, False), (0, True))
        for steps, is_closed in (*(partly if turn == 2 else ()), (9, False)):
            self._files.kill()
            process = Process.open(self._files, self.told, self._source, was_power_cut=False)
            if steps:
                for number in process.logs:
                    process.check(feed_id_of(seed_of(number)), steps)
                process.check(FOLLOWED, steps)
            if is_closed:
                process.close()
                assert not process.failures, process.failures
        return process

    def _blocks(self) -> list[bytes]:
        blocks = []
        for _ in range(self._choice.choice((1, 1, 2, 4))):
            self._counter += 1
            blocks.append(b"%d," % self._counter * self._choice.choice((0, 3, 120, 400, 1500)))
        return blocks


class Changes:
    """Changes no disk, and takes every moment; made for those that do otherwise."""

    def prepare(self, files: MemoryFiles) -> None:
        """Changes a disk before it is used."""

    def wants(self, operation: int) -> bool:
        """Whether the disk is to be looked at as it is before that operation."""
        return True


NO_CHANGES = Changes()


def record(
    files: MemoryFiles, told: Told, run: Callable[[], None], changes: Changes = NO_CHANGES
) -> list[Moment]:
    """Runs a workload once; the disk and what was told at each of its operations."""
    found = list[Moment]()

    def watch(number: int) -> None:
        if changes.wants(number):
            found.append(Moment(number, files.clone(), told.clone()))

    changes.prepare(files)
    files.watch(watch)
    run()
    watch(files.operations)
    return found


def moments_of(
    source: Source, seed: int, rounds: int, changes: Changes = NO_CHANGES
) -> list[Moment]:
    """The moments of a whole life."""
    files = MemoryFiles(seed)
    workload = Workload(files, source, seed)
    return record(files, workload.told, lambda: workload.run(rounds), changes)


class Figures(NamedTuple):
    """What was tried."""

    moments: int  # operations at which it was cut
    full: int  # of them, those with as many states as were asked for
    states: int
    flips: int  # of bits, each in a state of its own


class Trial:
    """Opens and judges the states that the disk may be in."""

    def __init__(
        self,
        source: Source,
        changes: Changes = NO_CHANGES,
        *,
        models: Sequence[CutModel] = (),
        has_flips: bool = True,
    ) -> None:
        """
        Args:
            source: of the followed feed.
            changes: of each disk.
            models: of the power cuts, by turns; all are drawn from by default.
            has_flips: a bit is wrong in some of the states.
        """
        self._source = source
        self._changes = changes
        self._models = models
        self._has_flips = has_flips
        self._flips = 0

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
            for number in range(states * DRAWS_PER_STATE):
                cut = choice.getrandbits(32)
                model = self._models[number % len(self._models)] if self._models else None
                files = moment.files.clone()
                files.power_cut(random.Random(cut), model)
                digest = files.digest()
                if digest in seen:
                    continue
                seen.add(digest)
                self._try(moment, cut, choice, model)
                if len(seen) == states:
                    full += 1
                    break
            total += 1 + len(seen)
        return Figures(len(moments), full, total, self._flips)

    def _try(
        self,
        moment: Moment,
        cut: int | None,
        choice: random.Random,
        model: CutModel | None = None,
    ) -> None:
        files, told = moment.files.clone(), moment.told.clone()
        self._changes.prepare(files)
        lives = choice.getrandbits(32)
        if cut is None:
            files.kill()
        else:
            files.power_cut(random.Random(cut), model)
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
        if self._has_flips and choice.randrange(FLIPPED_EVERY) == 0:
            self._look_at_flipped(files, told, choice, was_power_cut=was_power_cut)
        while choice.random() < 0.4:
            files.fail_at(files.operations + choice.randint(0, 8))
            with suppress(Stopped):
                self._open(files, told.clone(), was_power_cut=was_power_cut)
            told.has_names_twice = False  # it may have come to one of them
            if choice.random() < 0.7:
                files.power_cut(choice)
                was_power_cut = True
            files.kill()
        process = self._open(files, told, was_power_cut=was_power_cut)
        for number in list(process.logs):
            self._live(process, number, choice)
        if choice.random() < 0.5:
            files.kill()
            self._open(files, told, was_power_cut=False)
        files.power_cut(choice)
        self._open(files, told, was_power_cut=True)

    def _open(self, files: MemoryFiles, told: Told, *, was_power_cut: bool) -> Process:
        return Process.open(files, told, self._source, was_power_cut=was_power_cut)

    def _look_at_flipped(
        self, files: MemoryFiles, told: Told, choice: random.Random, *, was_power_cut: bool
    ) -> None:
        files, told = files.clone(), told.clone()
        path = flip_one_bit(files, choice)
        self._flips += bool(path)
        try:
            Process.open(
                files,
                told,
                self._source,
                was_power_cut=was_power_cut,
                flipped=path.rpartition("/")[2],
            )
        except Violation as violation:
            violation.add_note(f"a bit of {path} is wrong")
            raise

    @staticmethod
    def _live(process: Process, number: int, choice: random.Random) -> None:
        for count in range(choice.randint(0, 2)):
            process.append(number, [b"later %d" % count * choice.choice((1, 90, 700))])
        if choice.random() < 0.4:
            process.sync(number)
        if choice.random() < 0.3:
            try:
                process.logs[number].close()
            except (StoreError, OSError) as error:
                process.failures.append(str(error))
            process.told.judges[number].closed_cleanly()
        if process.failures:
            raise Violation("usable", process.failures[0])
