"""The table of `scripts/fsync-mutations`: each step of durability changed, and what notices it."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from functools import partial

from tests.simulation.mutations import Mutation, Verdict, judge_mutation, mutations


def main() -> int:
    """Prints the table; the exit code is 1 if a change was not noticed."""
    parser = argparse.ArgumentParser(prog="scripts/fsync-mutations", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="workloads to try (%(default)s)")
    parser.add_argument("--states", type=int, default=4, help="states a cut (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="only sites with this text in them")
    options = parser.parse_args()
    logging.disable()  # of what is damaged on purpose there is a lot to say
    judge = partial(judge_mutation, seeds=range(options.seeds), states=options.states)
    unchanged = judge(None)
    print(f"unchanged: {unchanged.rule or 'no rule breaks'}, {unchanged.tried} states")
    if unchanged.rule:
        print(unchanged.what)
        return 1
    chosen = [each for each in mutations() if options.only in each.site]
    print("| step | made by | changed | noticed by |\n|---|---|---|---|")
    unnoticed = 0
    with multiprocessing.Pool(options.jobs) as pool:
        for verdict in pool.imap(judge, chosen):
            unnoticed += not verdict.rule
            print(row(verdict), flush=True)
    print(f"{len(chosen)} changes, {len(chosen) - unnoticed} noticed")
    return 1 if unnoticed else 0


def row(verdict: Verdict) -> str:
    """One line of the table."""
    mutation: Mutation = verdict.mutation
    noticed = f"{verdict.rule}, seed {verdict.seed}" if verdict.rule else "nothing"
    return f"| {mutation.kind} | {mutation.site} | {mutation.how} | {noticed} |"


if __name__ == "__main__":
    sys.exit(main())
