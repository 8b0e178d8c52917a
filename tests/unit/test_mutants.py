"""How `scripts/mutants` chooses mutants and tests, and what it takes for a failure."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from scripts import mutant_tests
from scripts.mutant_tests import (
    BROKEN,
    FAILED,
    NOT_APPLIED,
    PASSED,
    TIMED_OUT,
    Bench,
    Change,
    Covering,
    Outcome,
    forked,
    run,
)
from scripts.mutants import KILLED, Verdict, _affordable, difference, sample
from scripts.mutating import Edit, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COVERING = Covering(
    seconds={"a": 1.0, "b": 2.0},
    tests={"f.py": {1: ["a", "gone"], 2: ["b"]}},
    sources={"f.py": "h"},
)


def edit(line: int, *, is_imported: bool = False) -> Edit:
    return Edit(0, 1, "", line, line + 1, is_imported)


def test_a_line_has_the_tests_that_run_it() -> None:
    assert COVERING.tests_of("f.py", edit(1), "h") == {"a": 1.0}
    assert COVERING.tests_of("f.py", edit(0), "h") == {"a": 1.0}, "a condition on several lines"
    assert COVERING.tests_of("f.py", edit(3), "h") == {}
    assert COVERING.tests_of("g.py", edit(1), "h") == {}


def test_a_line_that_imports_run_and_a_changed_file_have_all_tests_of_the_file() -> None:
    both = {"a": 1.0, "b": 2.0}
    assert COVERING.tests_of("f.py", edit(2, is_imported=True), "h") == both
    assert COVERING.tests_of("f.py", edit(1), "another") == both
    assert COVERING.tests_of("constants.py", edit(1, is_imported=True), "h") == both


def test_the_fastest_tests_come_first_and_not_more_than_a_mutant_is_worth() -> None:
    tests = {"slow": 5.0, "fast": 1.0, "slowest": 6.0}
    assert _affordable(tests, 10.0, "one") == ["fast", "slow"]
    assert _affordable(tests | {"unit/test_one.py::test": 2.0}, 10.0, "one") == [
        "unit/test_one.py::test",
        "fast",
        "slow",
    ]


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    assert sample("wire", 20, "1")[:5] == sample("wire", 5, "1")
    assert sample("wire", 5, "1") != sample("wire", 5, "2")


def test_a_difference_shows_whole_lines() -> None:
    source = b"a = 1\nb = c < d\n"
    mutant = Mutant(
        "name", "f.py", Edit(source.index(b"<"), source.index(b"<") + 1, "<=", 2, 2, True)
    )
    shown = difference(mutant, source, Verdict("name", "h", KILLED, 0.1))
    assert shown == "f.py:2 name killed\n-b = c < d\n+b = c <= d"


def _raise() -> int:
    raise ValueError("no test has begun")


def _die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return PASSED


def _wait() -> int:
    time.sleep(60)
    return PASSED


def _spin() -> int:
    while True:
        pass


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda: PASSED, PASSED),
        (lambda: FAILED, FAILED),
        (_die, FAILED),
        (_raise, BROKEN),
        (_wait, TIMED_OUT),
        (_spin, TIMED_OUT),
    ],
)
def test_what_did_not_begin_is_no_failure(
    work: Callable[[], int], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if work is _wait:
        monkeypatch.setattr(mutant_tests, "STALL_SECONDS", 0.3)
    assert forked(work, 0.5, tmp_path / "log") == code


def test_a_slow_process_is_not_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It uses little of a core at a time, as on a machine that others use as well."""

    def work() -> int:
        for _ in range(6):
            until = time.process_time() + 0.02
            while time.process_time() < until:
                pass
            time.sleep(0.1)
        return PASSED

    monkeypatch.setattr(mutant_tests, "STALL_SECONDS", 0.3)
    assert forked(work, 5.0, tmp_path / "log") == PASSED


def test_a_mistake_that_leaves_no_memory_to_say_so_is_noticed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "tests").mkdir(parents=True)
    (tree / "tests" / "conftest.py").write_text(
        "def pytest_runtest_makereport(): raise MemoryError\n"
    )
    (tree / "tests" / "test_one.py").write_text("def test_one(): pass\n")
    assert run(tree, ["tests/test_one.py::test_one"], 5.0).code == FAILED


def test_a_bench_runs_tests_with_a_mistake_and_without(tmp_path: Path) -> None:
    code, tests = tmp_path / "tree" / "protozorfs" / "one.py", tmp_path / "tree" / "tests"
    for path in (code.parent, tests):
        path.mkdir(parents=True)
        (path / "__init__.py").touch()
    source = b"def one():\n    return 1\n"
    code.write_bytes(source)
    (tests / "test_one.py").write_text(
        "from protozorfs.one import one\n"
        "def test_nothing(): one()\n"
        "def test_one(): assert one() == 1\n"
    )
    names = ["tests/test_one.py::test_nothing", "tests/test_one.py::test_one"]
    change = Change(code, source, source.replace(b"1", b"2"))
    with closing(Bench(code.parents[1], ["tests"])) as bench:
        assert bench.run(names, 5.0) == Outcome(PASSED)
        assert bench.run(names, 5.0, change) == Outcome(FAILED, names[1])
        assert bench.run(names[:1], 5.0, change) == Outcome(PASSED)
        gone = Change(code, source + b"def gone():\n    return 1\n", source)
        assert bench.run(names, 5.0, gone) == Outcome(NOT_APPLIED)
