"""Puts mistakes into a package, one at a time, and counts those that the tests notice."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from scripts.mutant_tests import (
    NOT_APPLIED,
    PASSED,
    TIMED_OUT,
    Bench,
    Change,
    Covering,
    Outcome,
    forked,
    hash_of,
    preload,
    record,
    run,
)
from scripts.mutating import Mutant, mutants_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache" / "mutants"
RESULTS = WORK / "results"
PACKAGES = {
    "log": ("log",),
    "store": ("store",),
    "wire": ("wire", "compact.py", "bencoding.py"),
}
# The disks of the simulations: what goes wrong in them is what tests look for.
LEFT_OUT = ("memory_files.py", "memory_disk.py")
# What fails soonest; then others. Tests of networks and real mounts take too long to be asked.
TESTS = {
    "log": ("tests/unit/log", "tests/unit/test_stored_bytes.py"),
    "store": ("tests/unit/store", "tests/unit/test_stored_bytes.py"),
    "wire": (
        "tests/unit/wire",
        "tests/unit/test_compact.py",
        "tests/unit/test_bencoding.py",
        "tests/unit/swarm/test_told_blocks.py",
        "tests/unit/swarm/test_replicator.py",
    ),
}
OTHER_TESTS = ("tests/unit/feeds", "tests/unit/test_fuzzing.py")
NOT_COPIED = (".git", ".venv", ".cache", ".*_cache", "__pycache__", "node_modules", "build")
COUNT = 300
RECORD_SECONDS = 3600.0
# Of a core, for one mutant, of the tests of its package, and of others: more hardly tell more.
NEAR_SECONDS, FAR_SECONDS = 10.0, 2.0
SLOWNESS = 5.0  # of a test with a mistake in what it tests, at most
START_SECONDS = 20.0
NICENESS = 19

KILLED, LATE, SURVIVED, NOT_RUN = "killed", "timed out", "survived", "not run by any test"


class Verdict(NamedTuple):
    """What became of a mutant."""

    name: str
    source: str  # the hash of the file that it is a mutant of
    verdict: str
    seconds: float


def files_of(package: str) -> list[Path]:
    """The files of a package that are mutated."""
    found: list[Path] = []
    for part in PACKAGES[package]:
        path = ROOT / "protozorfs" / part
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path for path in found if path.name not in LEFT_OUT]


def all_tests() -> list[str]:
    near = [test for tests in TESTS.values() for test in tests]
    return list(dict.fromkeys([*near, *OTHER_TESTS]))


def coverings(*, anew: bool) -> list[Covering]:
    """Which tests run which lines: from the last time, if that is not wanted anew."""
    kept = WORK / "covering"
    if anew:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(exist_ok=True)
    missing = [tests for tests in all_tests() if not (kept / hash_of(tests.encode())).exists()]
    with TemporaryDirectory(prefix="mutants-") as work:
        tree = copy_tree(Path(work)) if missing else ROOT
        for tests in missing:
            print(f"mutants: looking what {tests} runs", flush=True)
            path, log = kept / hash_of(tests.encode()), WORK / "record.log"
            if forked(partial(_record, tree, tests, path), RECORD_SECONDS, log) != PASSED:
                raise SystemExit(f"mutants: {tests} did not run: see {log}")
    return [_read(kept / hash_of(tests.encode())) for tests in all_tests()]


def _record(tree: Path, tests: str, path: Path) -> int:
    content = json.dumps(record(tree, [tests])._asdict())
    path.write_text(content)
    return PASSED


def _read(path: Path) -> Covering:
    content = json.loads(path.read_bytes())
    tests = {
        path: {int(line): names for line, names in lines.items()}
        for path, lines in content["tests"].items()
    }
    return Covering(content["seconds"], tests, content["sources"])


def copy_tree(work: Path) -> Path:
    """A copy of the tree, for mistakes and for what they do."""
    tree = work / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    return tree


class Worker:
    """One process with a tree of its own.

    A test that fails proves a mistake only if it passes without it: each one that fails is run
    once on the tree as it is.
    """

    def __init__(self, work: Path, coverings: list[Covering]) -> None:
        work = work / str(os.getpid())
        work.mkdir()
        self._tree = copy_tree(work)
        self._benches: dict[str, Bench] = {}
        self._coverings = coverings
        self._time = int(time.time())
        self._sound: set[str] = set()  # tests that were seen to pass

    def judge(self, package: str, mutant: Mutant) -> Verdict:
        """Runs the tests of the line with that mistake in it."""
        original = (self._tree / mutant.path).read_bytes()
        source = hash_of(original)
        started = time.monotonic()
        tests: dict[str, float] = {}
        for covering in self._coverings:
            tests |= covering.tests_of(mutant.path, mutant.edit, source)
        near = {test: tests[test] for test in tests if test.startswith(TESTS[package])}
        far = {test: tests[test] for test in tests if test not in near}
        verdict = SURVIVED if tests else NOT_RUN
        stem = Path(mutant.path).stem
        chosen = _affordable(near, NEAR_SECONDS, stem) + _affordable(far, FAR_SECONDS, stem)
        for place, group in _by_place(chosen).items():
            bench = self._bench(place)
            verdict = (
                self._verdict(mutant, original, bench, {test: tests[test] for test in group})
                or verdict
            )
            if verdict in (KILLED, LATE):
                break
        return Verdict(mutant.name, source, verdict, round(time.monotonic() - started, 1))

    def _bench(self, place: str) -> Bench:
        """That of the tests at a place, which must not be made while a mistake is in the tree."""
        if place not in self._benches:
            self._benches[place] = Bench(self._tree, [place])
        return self._benches[place]

    def _verdict(
        self, mutant: Mutant, original: bytes, bench: Bench, costs: dict[str, float]
    ) -> str | None:
        """KILLED or LATE; None if these tests do not notice the mistake."""
        path = self._tree / mutant.path
        left = list(costs)
        while left:
            seconds = START_SECONDS + SLOWNESS * sum(map(costs.__getitem__, left))
            changed = mutant.applied(original)
            self._write(path, changed)
            try:
                outcome = Outcome(NOT_APPLIED)
                if not mutant.edit.is_imported:
                    outcome = bench.run(left, seconds, Change(path, original, changed))
                if outcome.code == NOT_APPLIED:
                    outcome = run(self._tree, left, seconds)
            finally:
                self._write(path, original)
            if outcome.code == PASSED:
                return None
            suspects = [outcome.failed] if outcome.failed else left
            if self._passes(bench, suspects, seconds):
                return LATE if outcome.code == TIMED_OUT else KILLED
            # Where nobody knows which one failed, only those go that fail by themselves.
            alone = [test for test in suspects if not self._passes(bench, [test], seconds)]
            left = [test for test in left if test not in (alone or suspects)]
        return None

    def _passes(self, bench: Bench, tests: list[str], seconds: float) -> bool:
        """Whether tests pass without a mistake."""
        if self._sound.issuperset(tests):
            return True
        if bench.run(tests, seconds) != Outcome(PASSED):
            print(f"mutants: {', '.join(tests)} fails as it is", flush=True)
            return False
        self._sound.update(tests)
        return True

    def _write(self, path: Path, content: bytes) -> None:
        """Changes a file so that nobody takes what is compiled for it."""
        path.write_bytes(content)
        self._time += 1
        os.utime(path, (self._time, self._time))


def _affordable(tests: dict[str, float], budget: float, stem: str) -> list[str]:
    """The fastest of some tests, as many as together take no longer than the budget.

    Those in files that are named after the module, by its stem, come first.
    """

    def key(test: str) -> tuple[bool, float, str]:
        return f"/test_{stem}" not in test, tests[test], test

    chosen, seconds = [], 0.0
    for test in sorted(tests, key=key):
        if seconds + tests[test] <= budget:
            seconds += tests[test]
            chosen.append(test)
    return chosen


def _by_place(tests: list[str]) -> dict[str, list[str]]:
    """Tests by which of `all_tests` they are among, in the order of the first of each."""
    found: dict[str, list[str]] = {}
    for test in tests:
        place = next(place for place in all_tests() if test.startswith(place))
        found.setdefault(place, []).append(test)
    return found


_worker: Worker | None = None


def _begin(work: Path, coverings: list[Covering]) -> None:
    global _worker
    os.nice(NICENESS)
    preload()
    _worker = Worker(work, coverings)


def _judge(package: str, mutant: Mutant) -> Verdict:
    assert _worker is not None
    return _worker.judge(package, mutant)


def read_verdicts() -> dict[tuple[str, str], Verdict]:
    """What is known of earlier runs, by the mutant's name and its file's hash."""
    if not RESULTS.exists():
        return {}
    verdicts = (Verdict(*json.loads(line)) for line in RESULTS.read_text().splitlines())
    return {(verdict.name, verdict.source): verdict for verdict in verdicts}


def unsettled(
    samples: dict[str, list[Mutant]],
    known: dict[tuple[str, str], Verdict],
    settled: tuple[str, ...],
) -> Iterator[tuple[str, Mutant]]:
    """The mutants to be judged, of all packages by turns."""
    for mutants in zip_longest(*samples.values()):
        for package, mutant in zip(samples, mutants, strict=True):
            if mutant is not None:
                source = hash_of((ROOT / mutant.path).read_bytes())
                verdict = known.get((mutant.name, source))
                if verdict is None or verdict.verdict not in settled:
                    yield package, mutant


def judge_all(
    work: list[tuple[str, Mutant]], coverings: list[Covering], jobs: int, minutes: float
) -> None:
    """Judges mutants until all are, or time is up; each verdict is kept at once."""
    deadline = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("spawn")
    with (
        TemporaryDirectory(prefix="mutants-") as directory,
        ProcessPoolExecutor(jobs, context, _begin, (Path(directory), coverings)) as workers,
        RESULTS.open("a") as results,
    ):
        left = iter(work)
        running = {
            workers.submit(_judge, *each) for each, _ in zip(left, range(jobs), strict=False)
        }
        while running:
            done = next(as_completed(running))
            running.remove(done)
            verdict = done.result()
            results.write(json.dumps(verdict) + "\n")
            results.flush()
            if time.monotonic() < deadline and (each := next(left, None)):
                running.add(workers.submit(_judge, *each))


def report(package: str, mutants: list[Mutant], known: dict[tuple[str, str], Verdict]) -> None:
    """The figures of a package, and every mutant that no test has noticed."""
    counts = dict.fromkeys((KILLED, LATE, SURVIVED, NOT_RUN), 0)
    for mutant in mutants:
        source = (ROOT / mutant.path).read_bytes()
        verdict = known.get((mutant.name, hash_of(source)))
        if verdict is None:
            continue
        counts[verdict.verdict] += 1
        if verdict.verdict in (SURVIVED, NOT_RUN):
            print(difference(mutant, source, verdict))
    judged = sum(counts.values())
    ratio = 100 * (counts[KILLED] + counts[LATE]) / judged if judged else 0.0
    figures = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"{package}: {judged} of {len(mutants)} mutants: {figures}: {ratio:.1f} %", flush=True)


def difference(mutant: Mutant, source: bytes, verdict: Verdict) -> str:
    """The lines that are others, as a diff has them."""
    start, end = mutant.edit.start, mutant.edit.end
    first, last = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end)
    number = source.count(b"\n", 0, first) + 1
    before, changed = source[first:last], source[first:start] + mutant.edit.text.encode()
    changed += source[end:last]
    lines = [f"{mutant.path}:{number} {mutant.name} {verdict.verdict}"]
    lines += [f"-{line}" for line in before.decode().splitlines()]
    lines += [f"+{line}" for line in changed.decode().splitlines()]
    return "\n".join(lines)


def sample(package: str, count: int, seed: str) -> list[Mutant]:
    """So many mutants of a package; more of the same seed begin with the same."""
    mutants = mutants_of(ROOT, files_of(package))
    return sorted(mutants, key=lambda mutant: hash_of(f"{seed} {mutant.name}".encode()))[:count]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), help=" ".join(PACKAGES))
    parser.add_argument("--count", type=int, default=COUNT, help="of mutants in each package")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=10_000.0, help="begin no mutant after")
    parser.add_argument("--again", action="store_true", help="judge survivors again")
    parser.add_argument("--record", action="store_true", help="look anew which test runs what")
    parser.add_argument("--report", action="store_true", help="say what is known, and no more")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    samples = {
        package: sample(package, arguments.count, arguments.seed) for package in arguments.packages
    }
    known = read_verdicts()
    if not arguments.report:
        settled = (KILLED, LATE) if arguments.again else (KILLED, LATE, SURVIVED, NOT_RUN)
        judge_all(
            list(unsettled(samples, known, settled)),
            [
                each.of({mutant.path for mutants in samples.values() for mutant in mutants})
                for each in coverings(anew=arguments.record)
            ],
            arguments.jobs,
            arguments.minutes,
        )
        known = read_verdicts()
    for package, mutants in samples.items():
        report(package, mutants, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
