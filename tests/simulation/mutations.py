"""Takes away, or puts in another order, single steps by which a store becomes durable.

A step is a call of the file port: what it does, to which kind of file, and the line of the product
that wants it. It is removed by doing nothing, and swapped with the next one by doing it after that:
there is a moment at which only the later one is done. A change must break a rule of the simulation.
One that does not is superfluous, or the simulation does not see what it is for, or it is in
`excuses`, and a trial shows what is said there.
"""

from __future__ import annotations

import linecache
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.store.memory_disk import (
    ANY,
    JOURNAL,
    MOMENTS,
    PAGE_BYTES,
    SECTOR_BYTES,
    WRITES,
    CutModel,
)
from tests.simulation.judge import Violation
from tests.simulation.log_life import run_lives
from tests.simulation.random_store_life import StoreLife
from tests.simulation.store_life import Changes, Trial
from tests.simulation.store_process import new_source
from tests.simulation.store_scenarios import NOTHING_IS_LEFT, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType

    from protozorfs.store import MemoryFiles

PACKAGE = "/protozorfs/"
PORT = ("store/memory_files.py", "store/pool.py")  # how a call gets to the disk
# What is called for many purposes: the line that calls it says for which. "*": all of a module.
SHARED = {
    "store/files.py": "*",
    "store/heads.py": "*",
    "store/placement.py": "*",
    "store/keys.py": ("write_seed", "write_new_seed", "_write_checked_seed", "_write_over"),
    "store/layout.py": ("sync", "sync_place", "prepare_mark", "place_mark", "sync_removal"),
    "log/files.py": (
        "sync",
        "replace",
        "_replace_held",
        "_sync_place",
        "_begin_notes",
        "place_mark",
    ),
    "log/sync.py": ("_sync", "sync"),
    "log/head_store.py": "*",
    "log/held_log.py": "*",
    "log/feed.py": ("_note",),
}
SYNCS = ("sync", "sync_dir")
ORDERED = (*SYNCS, "write", "truncate", "rename", "remove")
ROOT, FEED, BUCKET = "the store", "a feed", "feeds/*"  # directories, as they are shown
LIVES, STEPS = 8, 40  # of stores, drawn for each seed after its workloads
LOG_LIVES, LOG_STEPS = 70, 30  # of single feeds
NEAR = (*range(1, 16), 20)  # operations behind a changed step that are looked at
NEXT = (1, 2, 3)  # the same, of a sync that comes one step late: then all is as without a change
SAMPLE = 12  # every so many operations of a workload that is not changed are looked at
MODELS = (
    NOTHING_IS_LEFT,
    CutModel(SECTOR_BYTES, WRITES, JOURNAL, survival=0.0, has_rubbish=False),  # but names
    CutModel(SECTOR_BYTES, WRITES, ANY, survival=0.5, has_rubbish=True),  # anything may be
    CutModel(SECTOR_BYTES, WRITES, ANY, survival=0.7, has_rubbish=False),
    CutModel(PAGE_BYTES, MOMENTS, JOURNAL, survival=0.9, has_rubbish=False),
)
REMOVAL, REMOVED_LAST = "store/layout.py remove:", ("secret", "secret.copy", "visited")
_IN_FEED = re.compile("feeds/../[0-9a-f]{64}")
_NUMBER = re.compile("[.][0-9]+[.]")


class Step(NamedTuple):
    """A step of durability.

    Attributes:
        kind: what is done, as `MemoryFiles.carry_out_by` names it.
        what: to which kind of file or directory.
        site: module, function and line that want it.
    """

    kind: str
    what: str
    site: str


class Mutation(NamedTuple):
    """A change of one step: "removed", or "swapped" with the next one."""

    step: Step
    how: str


class Verdict(NamedTuple):
    """What the simulation made of mutations: the rule that broke, or an empty one."""

    rule: str
    seed: int
    tried: int  # states that were opened until then
    what: str = ""


class Mutant(Changes):
    """Carries out what a disk is asked for, but for some steps.

    Attributes:
        seen: every step, if nothing is changed.
        was_idle: no sync that was removed had anything to make durable.
    """

    def __init__(self, mutations: Collection[Mutation]) -> None:
        self.seen: set[Step] = set()
        self.was_idle = True
        self._removed = {step for step, how in mutations if how == "removed"}
        self._swapped = {step for step, how in mutations if how == "swapped"}
        self._kinds = {step[:2] for step, _ in mutations}
        self._near: list[int] = []  # where what follows is looked at
        is_late = all(step.kind in SYNCS and how == "swapped" for step, how in mutations)
        self._distances = NEXT if is_late else NEAR
        self._is_whole = not mutations

    def prepare(self, files: MemoryFiles) -> None:
        """Changes one disk from now on."""
        held: list[Callable[[], None]] = []
        waiting: list[Callable[[], None]] = []

        def carry_out(kind: str, path: str, effect: Callable[[], None]) -> None:
            # What is held is done one step late: the moment before this one has shown it missing.
            for each in waiting:
                each()
            waiting[:] = held
            held.clear()
            how = self._change_of(kind, path, sys._getframe(1))
            if how is None:
                effect()
                return
            if how == "removed" and not files.has_unsynced(path):
                return  # nothing is missing then
            self.was_idle = False
            self._note_change(files.operations)
            if how == "swapped":
                held.append(effect)

        files.carry_out_by(carry_out)

    def _change_of(self, kind: str, path: str, frame: FrameType) -> str | None:
        if self._is_whole:
            self.seen.add(step_of(kind, path, frame))
            return None
        if (kind, kind_of(path)) not in self._kinds and kind != "remove":
            return None
        step = step_of(kind, path, frame)
        return "removed" if step in self._removed else "swapped" if step in self._swapped else None

    def _note_change(self, operation: int) -> None:
        # Further and further apart: the whole workload is looked at.
        rest = len(NEAR) * len(self._near)
        if not self._near or operation >= self._near[-1] + rest:
            self._near.append(operation)

    def wants(self, operation: int) -> bool:
        """Whether the moment lies right behind a change."""
        return self._is_whole or any(operation - at in self._distances for at in self._near[-3:])


def step_of(kind: str, path: str, frame: FrameType) -> Step:
    """The step that a call is."""
    what, site = kind_of(path), site_of(frame)
    if site.startswith(REMOVAL) and what not in REMOVED_LAST:
        what = "the other files"
    return Step(kind, what, site)


def kind_of(path: str) -> str:
    """A path without what is that of one feed only."""
    place = _IN_FEED.match(path)
    if place is not None:
        return _NUMBER.sub(".*.", path[place.end() + 1 :]) or FEED
    if path.startswith("feeds/"):
        return BUCKET
    return path or ROOT


def site_of(frame: FrameType | None) -> str:
    """The line of the product that wants a call; empty if none does."""
    site = ""
    while frame is not None:
        _, found, module = frame.f_code.co_filename.rpartition(PACKAGE)
        if found and module not in PORT:
            function = frame.f_code.co_name
            line = (
                linecache.getline(frame.f_code.co_filename, frame.f_lineno)
                .partition("  #")[0]
                .strip()
            )
            shared = SHARED.get(module, ())
            is_shared = shared == "*" or function in shared
            if not (is_shared and module == "store/files.py"):
                site = f"{module} {function}: `{line}`"
            if not is_shared:
                break
        frame = frame.f_back
    return site


class Sites(NamedTuple):
    """Every step that the simulations take, and in which of them."""

    scenarios: dict[Step, frozenset[str]]
    in_lives: frozenset[Step]

    def mutations(self) -> Iterator[Mutation]:
        """Each sync removed, and each step in another order."""
        for step in sorted(self.scenarios.keys() | self.in_lives):
            if step.site and step.kind in SYNCS:
                yield Mutation(step, "removed")
            if step.site and step.kind in ORDERED:
                yield Mutation(step, "swapped")


def all_sites() -> Sites:
    """Runs everything once, unchanged."""
    scenarios: dict[Step, frozenset[str]] = {}
    for name, scenario in SCENARIOS.items():
        source, mutant = new_source(), Mutant(())
        moments = scenario(source, 0, mutant)
        Trial(source, mutant, has_flips=False).run(moments[::SAMPLE], 1, 0)
        for step in mutant.seen:
            scenarios[step] = scenarios.get(step, frozenset()) | {name}
    mutant = Mutant(())
    for seed in range(2 * LIVES):
        StoreLife(seed, prepare=mutant.prepare).run(STEPS)
    run_lives(range(LOG_LIVES), LOG_STEPS, prepare=mutant.prepare)
    return Sites(scenarios, frozenset(mutant.seen))


class Judgement:
    """Runs the simulations with some steps changed, until a rule breaks.

    Of workloads what lies right behind a change is looked at, and the lives of stores and feeds.

    Attributes:
        was_idle: no sync that was removed had anything to make durable.
    """

    def __init__(self, sites: Sites, mutations: Collection[Mutation], states: int) -> None:
        """`states`: to be looked at after a cut."""
        self.was_idle = True
        self._mutations = mutations
        self._states = states
        self._tried = 0
        steps = [step for step, _ in mutations]
        self._names = [
            name
            for name in SCENARIOS
            if not steps or any(name in sites.scenarios.get(step, ()) for step in steps)
        ]
        self._is_in_lives = not steps or any(step in sites.in_lives for step in steps)

    def run(self, seeds: range, *, has_lives: bool = True) -> Verdict:
        """Tries one seed after the other."""
        for seed in seeds:
            try:
                self._workloads(seed)
                if has_lives:
                    self._lives(seed)
            except Violation as violation:
                return Verdict(violation.rule, seed, self._tried, str(violation))
            except Exception as error:  # the workload itself did not get through
                what = f"{type(error).__name__}: {error}"
                return Verdict("broken", seed, self._tried, what)
        return Verdict("", len(seeds), self._tried)

    def _workloads(self, seed: int) -> None:
        for name in self._names:
            source, mutant = new_source(), Mutant(self._mutations)
            moments = SCENARIOS[name](source, seed, mutant)
            if not self._mutations:
                moments = moments[seed % SAMPLE :: SAMPLE]
            trial = Trial(source, mutant, models=MODELS, has_flips=False)
            self._tried += trial.run(moments, self._states, seed).states
            self.was_idle = self.was_idle and mutant.was_idle

    def _lives(self, seed: int) -> None:
        if not self._is_in_lives:
            return
        mutant = Mutant(self._mutations)
        for number in range(seed * LOG_LIVES, (seed + 1) * LOG_LIVES):
            one = range(number, number + 1)
            for _, violation in run_lives(one, LOG_STEPS, prepare=mutant.prepare):
                raise violation
        for number in range(seed * LIVES, (seed + 1) * LIVES):
            life = StoreLife(number, prepare=mutant.prepare)
            life.run(STEPS)
            self._tried += life.states
        self.was_idle = self.was_idle and mutant.was_idle
