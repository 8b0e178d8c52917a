"""Runs the tailers of `scripts.tailers` over feeds and checks them. See scripts/tailers-table.

A tailer that does not show every line once is run over files on disk as well, to tell its own ways
from the mount's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.tables import put_table
from scripts.tailer_trials import STEPS, WORK, outcomes, search_path
from scripts.tailer_worlds import Disk, Feeds, can_drop_caches
from scripts.tailers import TAILERS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.tailer_trials import Outcome
    from scripts.tailers import Tailer

HEAD = (
    "| program | from | goes by | drop_caches | remount | rename | new feed | |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and what is wrong with it."""

    text: str
    faults: tuple[str, ...]


def row_of(tailer: Tailer, here: Sequence[Outcome], disk: Sequence[Outcome]) -> Row:
    """What a tailer did over feeds, beside what it did over files on disk."""
    cells, faults = [], []
    for step, outcome, plain in zip(STEPS, here, disk, strict=True):
        is_known = tailer.keys_device and step == "remount" and not outcome.lost
        if outcome.is_once or is_known:
            cells.append(str(outcome))
        elif bool(outcome.again) <= bool(plain.again) and outcome.lost <= plain.lost:
            cells.append(f"{outcome}; on disk, too")
        else:
            cells.append(f"**{outcome}**")
            faults.append(f"{tailer.name}: {step}: {outcome}; on disk: {plain}")
    if tailer.keys_device and here[STEPS.index("remount")].is_once:
        faults.append(f"{tailer.name}: it does not go by the device number")
    head = [f"`{tailer.name}`", tailer.origin, tailer.keys]
    return Row("| " + " | ".join([*head, *cells, tailer.note]) + " |", tuple(faults))


def rows_of(tailers: Sequence[Tailer]) -> Iterator[Row]:
    """The lines of tailers of one kind."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        here = outcomes(tailers, Feeds(directory, stack), directory)
    for tailer, of_feeds in zip(tailers, here, strict=True):
        of_files = of_feeds
        if not all(outcome.is_once for outcome in of_feeds):
            with tempfile.TemporaryDirectory() as name:
                [of_files] = outcomes([tailer], Disk(Path(name)), Path(name))
        yield row_of(tailer, of_feeds, of_files)


def is_there(tailer: Tailer) -> bool:
    """Whether scripts/setup-tailers has brought it, or the system has it."""
    found = shutil.which(tailer.needs, path=search_path())
    return (WORK / tailer.needs).exists() or found is not None


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/tailers-table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/tools.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help="tailers; all without one")
    arguments = parser.parse_args()
    if arguments.write and arguments.names:
        parser.error("--write is for the whole table")
    if not can_drop_caches():
        print("drop_caches: not tried, only root may", flush=True)
        arguments.write = False
    chosen = [tailer for tailer in TAILERS if tailer.name in (arguments.names or [tailer.name])]
    faults = [f"{tailer.name} is not installed" for tailer in chosen if not is_there(tailer)]
    lines = list(HEAD)
    for kind in Kind:
        there = [tailer for tailer in chosen if tailer.kind is kind and is_there(tailer)]
        for row in rows_of(there) if there else ():
            print(row.text, flush=True)
            lines.append(row.text)
            faults += row.faults
    print(f"\n{len(lines) - len(HEAD)} tailers, {len(faults)} faults", *faults, sep="\n")
    if arguments.write:
        put_table("scripts/tailers-table", lines)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
