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
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.judge import Violation
from tests.simulation.log_life import run_lives
from tests.simulation.random_store_life import StoreLife
from tests.simulation.store_life import Trial
from tests.simulation.store_process import new_source
from tests.simulation.store_scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from types import FrameType

    from protozorfs.store import MemoryFiles
    from tests.simulation.store_life import Moment
    from tests.simulation.store_process import Source

PACKAGE = "/protozorfs/"
PORT = ("store/memory_files.py", "store/pool.py")  # how a call gets to the disk
# What is called for many purposes: the line that calls it says for which. "*": all of a module.
SHARED = {
    "store/files.py": "*",
    "store/heads.py": "*",
    "store/placement.py": "*",
    "store/keys.py": ("write_seed", "write_new_seed", "_write_checked_seed", "_write_over"),
    "store/layout.py": ("sync_place", "prepare_mark", "place_mark", "sync_removal"),
    "log/files.py": (
        "sync",
        "replace",
        "_replace_held",
        "_sync_place",
        "_begin_notes",
        "place_mark",
    ),
    "log/sync.py": ("_sync",),
    "log/head_store.py": "*",
    "log/held_log.py": "*",
    "log/feed.py": ("_note",),
}
SYNCS = ("sync", "sync_dir")
ORDERED = (*SYNCS, "write", "truncate", "rename", "remove")
ROOT, FEED, BUCKET = "the store", "a feed", "feeds/*"  # directories, as they are shown
LIVES, STEPS = 12, 40  # of stores, drawn for each seed after its workloads
LOG_LIVES, LOG_STEPS = 40, 30  # of single feeds
NEAR = 12  # operations behind a changed step that are looked at first
MAX_NEAR = 12  # times that it is changed, spread over a workload
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


class Mutant:
    """Carries out what a disk is asked for, but for some steps.

    Attributes:
        seen: every step, how often it was taken.
        changed_at: the numbers of the operations that were changed.
    """

    def __init__(self, mutations: Collection[Mutation]) -> None:
        self.seen: dict[Step, int] = {}
        self.changed_at: list[int] = []
        self._removed = {step for step, how in mutations if how == "removed"}
        self._swapped = {step for step, how in mutations if how == "swapped"}

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
            step = step_of(kind, path, sys._getframe(1))
            self.seen[step] = self.seen.get(step, 0) + 1
            if step in self._swapped:
                held.append(effect)
                self.changed_at.append(files.operations)
            elif step in self._removed:
                self.changed_at.append(files.operations)
            else:
                effect()

        files.carry_out_by(carry_out)


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
        moments = scenario(source, 0, mutant.prepare)
        _trial(source, mutant, name).run(moments[::5], 1, 0)
        for step in mutant.seen:
            scenarios[step] = scenarios.get(step, frozenset()) | {name}
    mutant = Mutant(())
    for seed in range(5 * LIVES):
        StoreLife(seed, prepare=mutant.prepare).run(STEPS)
    run_lives(range(LOG_LIVES), LOG_STEPS, prepare=mutant.prepare)
    return Sites(scenarios, frozenset(mutant.seen))


class Judgement:
    """Runs the simulations with some steps changed, until a rule breaks."""

    def __init__(self, sites: Sites, mutations: Collection[Mutation], states: int) -> None:
        self._sites = sites
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

    def run(self, seeds: range) -> Verdict:
        """All of them: first what lies right behind a change, then the lives, then the rest."""
        for seed in seeds:
            verdict = self._until_broken(seed, len(seeds))
            if verdict is not None:
                return verdict
        return Verdict("", len(seeds), self._tried)

    def run_near(self, seeds: range) -> Verdict:
        """Only what lies right behind a change, in as many states as `states` says."""
        for seed in seeds:
            verdict = self._attempt(seed, partial(self._near, seed))
            if verdict is not None:
                return verdict
        return Verdict("", len(seeds), self._tried)

    def _until_broken(self, seed: int, count: int) -> Verdict | None:
        for attempt in (
            partial(self._near, seed),
            partial(self._lives, seed),
            partial(self._rest, seed, count),
        ):
            verdict = self._attempt(seed, attempt)
            if verdict is not None:
                return verdict
        return None

    def _attempt(self, seed: int, attempt: Callable[[], None]) -> Verdict | None:
        try:
            attempt()
        except Violation as violation:
            return Verdict(violation.rule, seed, self._tried, str(violation))
        except Exception as error:  # the workload itself did not get through
            return Verdict("broken", seed, self._tried, f"{type(error).__name__}: {error}")
        return None

    def _near(self, seed: int) -> None:
        for name in self._names:
            source, mutant, moments = self._recorded(name, seed)
            at = mutant.changed_at[:: -(-len(mutant.changed_at) // MAX_NEAR) or 1]
            near = {one + ahead for one in at for ahead in range(1, NEAR)}
            chosen = [moment for moment in moments if moment.operation in near]
            self._run(name, chosen, seed, mutant, source)

    def _rest(self, seed: int, count: int) -> None:
        """The seeds share the moments."""
        for name in self._names:
            source, mutant, moments = self._recorded(name, seed)
            self._run(name, moments[seed % count :: count], seed, mutant, source)

    def _recorded(self, name: str, seed: int) -> tuple[Source, Mutant, list[Moment]]:
        source, mutant = new_source(), Mutant(self._mutations)
        return source, mutant, SCENARIOS[name](source, seed, mutant.prepare)

    def _run(
        self, name: str, moments: Sequence[Moment], seed: int, mutant: Mutant, source: Source
    ) -> None:
        self._tried += _trial(source, mutant, name).run(moments, self._states, seed).states

    def _lives(self, seed: int) -> None:
        if not self._is_in_lives:
            return
        mutant = Mutant(self._mutations)
        for number in range(seed * LIVES, (seed + 1) * LIVES):
            one = StoreLife(number, prepare=mutant.prepare)
            one.run(STEPS)
            self._tried += one.states
        for number in range(seed * LOG_LIVES, (seed + 1) * LOG_LIVES):
            for _, violation in run_lives(
                range(number, number + 1), LOG_STEPS, prepare=mutant.prepare
            ):
                raise violation


def _trial(source: Source, mutant: Mutant, name: str) -> Trial:
    return Trial(source, mutant.prepare, has_flips=name == "life")
