"""Takes away, or puts in another order, single steps by which a store becomes durable.

A step is a call of the file port, told apart by the lines of the product that made it. A step
is removed by doing nothing, and swapped with the next one by doing it after that: there is a moment
at which only the later one is done. Whatever is changed so must break a rule of the simulation;
else the step is redundant, or the simulation does not see what it is for.
"""

from __future__ import annotations

import linecache
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.judge import Violation
from tests.simulation.random_store_life import StoreLife
from tests.simulation.store_life import Trial, moments_of
from tests.simulation.store_process import new_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from protozorfs.store import MemoryFiles

PACKAGE = "/protozorfs/"
PORT = ("store/memory_files.py", "store/pool.py")  # how a call gets to the disk
SHARED = ("store/files.py", "store/keys.py")  # whose callers say what the call is for
SYNCS = ("sync", "sync_dir")
ORDERED = (*SYNCS, "write", "truncate", "rename", "remove")
ROUNDS = 4
LIVES, STEPS = 12, 40  # drawn for each seed, after its workload


class Mutation(NamedTuple):
    """A change of one step.

    Attributes:
        kind: what the step does, as `MemoryFiles.carry_out_by` names it.
        site: the lines that do it, innermost first.
        how: "removed", or "swapped" with the next step.
    """

    kind: str
    site: str
    how: str


class Verdict(NamedTuple):
    """What the simulation made of a mutation: the rule that broke, or an empty one."""

    mutation: Mutation
    rule: str
    seed: int
    tried: int  # states that were opened until then
    what: str


class Mutant:
    """Carries out what a disk is asked for, but for one step."""

    def __init__(self, mutation: Mutation | None, sites: dict[tuple[str, str], int]) -> None:
        """`sites`: counts every step that is seen."""
        self._mutation = mutation
        self._sites = sites

    def prepare(self, files: MemoryFiles) -> None:
        """Changes one disk from now on."""
        held: list[Callable[[], None]] = []
        waiting: list[Callable[[], None]] = []

        def carry_out(kind: str, effect: Callable[[], None]) -> None:
            # What is held is done one step late: the moment before this one has shown it missing.
            for each in waiting:
                each()
            waiting[:] = held
            held.clear()
            step = (kind, site_of(sys._getframe(1)))
            self._sites[step] = self._sites.get(step, 0) + 1
            if self._mutation is None or self._mutation[:2] != step:
                effect()
            elif self._mutation.how == "swapped":
                held.append(effect)

        files.carry_out_by(carry_out)


def site_of(frame: FrameType | None) -> str:
    """The product's lines that make a call, innermost first, up to the one that wants it."""
    parts: list[str] = []
    while frame is not None:
        _, found, module = frame.f_code.co_filename.rpartition(PACKAGE)
        if found and module not in PORT:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            parts.append(f"{module} {frame.f_code.co_name} `{line}`")
            if module not in SHARED:
                break
        frame = frame.f_back
    return " < ".join(parts)


def sites() -> dict[tuple[str, str], int]:
    """Every step of the workload, how often it was made."""
    seen: dict[tuple[str, str], int] = {}
    moments_of(new_source(), 0, ROUNDS, Mutant(None, seen).prepare)
    return seen


def mutations() -> Iterator[Mutation]:
    """Each sync removed, and each step in another order."""
    for kind, site in sorted(sites()):
        if kind in SYNCS:
            yield Mutation(kind, site, "removed")
        if kind in ORDERED:
            yield Mutation(kind, site, "swapped")


def judge_mutation(mutation: Mutation | None, seeds: range, states: int) -> Verdict:
    """Runs the simulation with one step changed until a rule breaks."""
    tried = 0
    named = mutation or Mutation("", "", "unchanged")
    for seed in seeds:
        source, mutant = new_source(), Mutant(mutation, {})
        try:
            moments = moments_of(source, seed, ROUNDS, mutant.prepare)
            tried += Trial(source, mutant.prepare).run(moments, states, seed).states
            tried += _live(mutant, range(seed * LIVES, (seed + 1) * LIVES))
        except Violation as violation:
            return Verdict(named, violation.rule, seed, tried, str(violation))
        except Exception as error:  # the workload itself did not get through
            return Verdict(named, "broken", seed, tried, f"{type(error).__name__}: {error}")
    return Verdict(named, "", len(seeds), tried, "")


def _live(mutant: Mutant, seeds: range) -> int:
    """Lives of a store, one step of which is changed; the states that were judged."""
    states = 0
    for seed in seeds:
        life = StoreLife(seed, prepare=mutant.prepare)
        life.run(STEPS)
        states += life.states
    return states
