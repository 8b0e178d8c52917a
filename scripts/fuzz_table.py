"""Runs the harnesses of tests/fuzzing, two at a time, and prints what came of it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from tests.fuzzing.harnesses import HARNESSES

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".cache" / "fuzz"
SECONDS = 600
AT_ONCE = 2
MEMORY_MB = 1500
INPUT_SECONDS = 20  # longer is a hang
NICENESS = 19
LAST = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)")
HEADINGS = ("harness", "executions", "edges", "features", "corpus", "crashes")


class Result(NamedTuple):
    """What libFuzzer said of one harness."""

    name: str
    executions: int
    edges: int
    features: int
    corpus: int
    crashes: list[Path]


def run(name: str, seconds: int) -> Result:
    """Fuzzes one harness; it goes on with the corpus of the last time."""
    corpus = WORK / name / "corpus"
    crashes = WORK / name / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    earlier = sorted(crashes.iterdir())
    for seed in (*HARNESSES[name].seeds(), *(path.read_bytes() for path in earlier)):
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    for path in earlier:  # what still raises is soon found again
        path.unlink()
    log = WORK / name / "log"
    arguments = (
        str(corpus),
        f"-max_total_time={seconds}",
        f"-max_len={HARNESSES[name].max_bytes}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={INPUT_SECONDS}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
    )
    with log.open("wb") as output:
        status = fuzz(name, *arguments, output=output)
    said = log.read_text(errors="replace")
    found = LAST.findall(said) or [("0", "0", "0")]
    executions, edges, features = map(int, found[-1])
    total = re.search(r"number_of_executed_units:\s+(\d+)", said)
    kept = sorted(crashes.iterdir())
    if status and not kept:
        raise SystemExit(f"fuzz: {name} ended with {status}: see {log}")
    count = len(list(corpus.iterdir()))
    return Result(name, int(total[1]) if total else executions, edges, features, count, kept)


def fuzz(name: str, *arguments: str, output: IO[bytes]) -> int:
    """Runs one harness in a process of its own; its exit code."""
    with directory() as work:
        return subprocess.run(
            [sys.executable, "-m", "scripts.fuzz_one", name, work, *arguments],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            preexec_fn=lambda: os.nice(NICENESS),
        ).returncode


def directory() -> TemporaryDirectory[str]:
    """A directory for a harness, in memory."""
    memory = Path("/dev/shm")
    return TemporaryDirectory(dir=memory if memory.is_dir() else None)


def again(name: str, path: str) -> int:
    """Runs a harness on one input, without a fuzzer: shows what it raises."""
    with directory() as work:
        HARNESSES[name].make(Path(work))(Path(path).read_bytes())
    print(f"{name} raises nothing for {path}")
    return 0


def print_row(cells: tuple[object, ...]) -> None:
    print("{:<14} {:>11} {:>7} {:>9} {:>7} {:>8}".format(*cells), flush=True)


def main() -> int:
    """The exit code: 1 if anything crashed."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--again"]:
        return again(*arguments[1:])
    seconds = int(arguments[0]) if arguments else SECONDS
    names = arguments[1:] or list(HARNESSES)
    print_row(HEADINGS)
    crashes: list[tuple[str, Path]] = []
    with ThreadPoolExecutor(AT_ONCE) as workers:
        for result in workers.map(lambda name: run(name, seconds), names):
            print_row((*result[:5], len(result.crashes)))
            crashes += [(result.name, path) for path in result.crashes]
    for name, path in crashes:
        print(f"scripts/fuzz --again {name} {path.relative_to(ROOT)}")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
