"""The table of `scripts/fsync-mutations`: each step of durability changed, and what notices it."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.excuses import COVERED, IDLE, Excuse, excuse_of
from tests.simulation.mutations import Judgement, Mutation, Sites, Step, Verdict, all_sites

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MORE_STATES = 10  # times as many states are looked at where fewer have shown nothing
TRIAL_STATES = 2  # times as many of them as are asked for, where a trial is all that is run


class Row(NamedTuple):
    """What came of one mutation. `excuse`: why it is harmless, where nothing notices it."""

    mutation: Mutation
    verdict: Verdict
    excuse: Excuse | None
    is_settled: bool  # noticed, or shown to be harmless

    @property
    def shown(self) -> str:
        """The cell of the table."""
        if self.excuse is None:
            return self.verdict.rule or "**nothing**"
        return f"*{self.excuse.name}*" if self.is_settled else f"**not {self.excuse.name}**"


def main() -> int:
    """Prints the table; 1 if a change is neither noticed nor shown harmless, or none is needed."""
    parser = argparse.ArgumentParser(prog="scripts/fsync-mutations", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="workloads to try (%(default)s)")
    parser.add_argument("--states", type=int, default=4, help="states a cut (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="only steps with this text in them")
    options = parser.parse_args()
    logging.disable()  # of what is damaged on purpose there is a lot to say
    sites, seeds = all_sites(), range(options.seeds)
    chosen = [each for each in sites.mutations() if options.only in " ".join(each.step)]
    judge = partial(judged, sites=sites, seeds=seeds, states=options.states)
    rows: list[Row] = []
    print("| step | of | made by | removed | swapped with the next |\n|---|---|---|---|---|")
    with multiprocessing.Pool(options.jobs) as pool:
        whole = pool.apply_async(Judgement(sites, (), options.states).run, [seeds])
        for step, some in groupby(noted(pool.imap(judge, chosen), rows), key=_step):
            print(line(step, list(some)), flush=True)
        unchanged = whole.get()
    print(f"nothing changed: {unchanged.rule or 'no rule breaks'}, {unchanged.tried} states")
    excused = [row for row in rows if row.excuse is not None and row.is_settled]
    open_ones = [row for row in rows if not row.is_settled]
    print(
        f"{len(rows)} changes: {len(rows) - len(excused) - len(open_ones)} noticed,"
        f" {len(excused)} shown to be harmless, {len(open_ones)} neither"
    )
    return 1 if open_ones or unchanged.rule else 0


def judged(mutation: Mutation, *, sites: Sites, seeds: range, states: int) -> Row:
    """Runs the simulation with a change, or the trial of what is said of it."""
    excuse = excuse_of(mutation)
    if excuse is None:
        verdict = _searched([mutation], sites, seeds, states)
        return Row(mutation, verdict, None, bool(verdict.rule))
    trial = Judgement(sites, [mutation], TRIAL_STATES * states)
    alone = trial.run(seeds, has_lives=not sites.scenarios.get(mutation.step))
    if alone.rule:  # it is noticed after all
        return Row(mutation, alone, None, True)
    is_shown = trial.was_idle if excuse.name == IDLE else True
    if excuse.name == COVERED:
        together = _searched([mutation, *excuse.others(sites)], sites, seeds, states)
        is_shown = bool(together.rule)
    return Row(mutation, alone, excuse, is_shown)


def _searched(mutations: list[Mutation], sites: Sites, seeds: range, states: int) -> Verdict:
    """The rule that breaks, which is looked for in more states where it is not found soon."""
    verdict = Judgement(sites, mutations, states).run(seeds)
    if verdict.rule:
        return verdict
    return Judgement(sites, mutations, MORE_STATES * states).run(seeds)


def noted(found: Iterable[Row], rows: list[Row]) -> Iterator[Row]:
    """The same rows, which are kept in `rows`, too."""
    for row in found:
        rows.append(row)
        yield row


def _step(row: Row) -> Step:
    return row.mutation.step


def line(step: Step, rows: list[Row]) -> str:
    """One line of the table."""
    shown = {row.mutation.how: row.shown for row in rows}
    return (
        f"| {step.kind} | `{step.what}` | `{step.site.replace('`', '')}` |"
        f" {shown.get('removed', '-')} | {shown.get('swapped', '-')} |"
    )


if __name__ == "__main__":
    sys.exit(main())
