"""Makes the table of programs that read feeds which are not all here. See scripts/readers-table."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.readers import GROUPS
from scripts.readings import COLUMNS, GROWS, LOCAL, Bench, verdicts
from scripts.tables import cell, put_table
from scripts.verdicts import RIGHT
from scripts.web import find_nginx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.readers import Program
    from scripts.verdicts import Verdict

SCRIPT = "scripts/readers-table"
IS_CI = os.environ.get("CI") == "true"
# The short form has one cell of each program, of these in turn.
SHORT_COLUMNS = ("random", "nothing", GROWS, "random", "end", LOCAL, "beginning")


def is_missing(program: Program) -> bool:
    needs = program.needs
    if needs == "nginx":
        return find_nginx() is None
    return bool(needs) and shutil.which(needs) is None and not Path(needs).exists()


def cells_of(programs: Sequence[Program], *, is_short: bool) -> list[tuple[Program, str]]:
    """The cells to be filled."""
    if not is_short:
        return [(program, column) for program in programs for column in COLUMNS]
    return list(zip(programs, itertools.cycle(SHORT_COLUMNS), strict=False))


def fill(seed: int, cells: Sequence[tuple[Program, str]]) -> dict[tuple[str, str], Verdict]:
    """The verdicts by command and column; tells of each as it comes."""
    filled = {}
    with tempfile.TemporaryDirectory(prefix="readers-") as directory:
        since = time.monotonic()
        for program, column, verdict in verdicts(Bench(Path(directory), seed), cells):
            filled[program.command, column] = verdict
            said = "" if verdict.text == RIGHT else f"  [{verdict.said}]"
            seconds = f"{time.monotonic() - since:5.1f} s"
            print(f"{seconds}  {column:9}  {program.command}: {verdict.text}{said}", flush=True)
            since = time.monotonic()
    return filled


def table_of(cells: Mapping[tuple[str, str], Verdict]) -> list[str]:
    """The lines of the table."""
    lines = [f"| command | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for group, programs in GROUPS.items():
        lines.append(f"| **{group}** {'| ' * len(COLUMNS)}|")
        for program in programs:
            row = [cells.get((program.command, column)) for column in COLUMNS]
            if any(row):
                texts = (verdict.text if verdict else "" for verdict in row)
                lines.append(f"| {cell(program.command)} | {' | '.join(texts)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog=SCRIPT)
    parser.add_argument("--write", action="store_true", help="put the table into docs/tools.md")
    parser.add_argument("--short", action="store_true", help="quick programs, one cell of each")
    parser.add_argument("--only", default="", metavar="REGEX", help="programs that match")
    parser.add_argument("--seed", type=int, default=1, help="of layouts and orders (1)")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    programs = [
        program
        for group in GROUPS.values()
        for program in group
        if re.search(arguments.only, program.command) and not (arguments.short and program.is_slow)
    ]
    missing = [program for program in programs if is_missing(program)]
    there = [program for program in programs if program not in missing]
    filled = fill(arguments.seed, cells_of(there, is_short=arguments.short))
    wrong = [verdict for verdict in filled.values() if verdict.is_wrong]
    table = table_of(filled)
    print("\n".join(["", *table, ""]))
    for program in missing:
        print(f"{program.needs} is not installed: {program.command}")
    print(f"{len(there)} programs, {len(filled)} cells, {len(wrong)} wrong, {len(missing)} missing")
    if arguments.write:
        put_table(SCRIPT, table)
    return 1 if wrong or (missing and (IS_CI or not arguments.short)) else 0


if __name__ == "__main__":
    sys.exit(main())
