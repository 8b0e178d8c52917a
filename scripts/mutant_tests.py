"""Which tests run a line, and whether they notice when it is another one.

A bench has imported and collected all tests, and forks for each run of some; a mistake is put into
the functions that it has loaded. Where that cannot be done, pytest starts anew, in a process that
is forked from one that has imported what tests need, apart from the package itself.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import multiprocessing
import os
import resource
import select
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from scripts.mutant_code import Loaded, Place, note_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection

    import coverage

    from scripts.mutating import Edit

PRELOADED = ("trio.testing", "nacl.bindings", "asyncio", "pyfuse3", "unittest.mock")
PYTEST = (
    "-q",
    "--no-header",
    "--tb=short",
    "--hypothesis-seed=0",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:faulthandler",  # waits, when a test fails, for a thread that is not there after a fork
)
STALL_SECONDS = 30.0
MEMORY_BYTES = 6 << 30
FAILED_FILE = "failed"  # the first test that did, beside the log
PASSED, FAILED, NOT_IMPORTED, TIMED_OUT = 0, 1, 2, -1
BROKEN = 70  # what was to be run did not even begin
NOT_APPLIED = 71  # it takes a new process to put that mistake in


class Covering(NamedTuple):
    """What a run of all tests has shown.

    Attributes:
        seconds: of a core, that each test takes; those that fail are not among them.
        tests: for each file, for each line, the tests that run it.
        sources: the hash of each file then.
    """

    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]
    sources: dict[str, str]

    def of(self, paths: set[str]) -> Covering:
        """What it says of some files."""
        tests = {path: lines for path, lines in self.tests.items() if path in paths}
        return self._replace(tests=tests)

    def tests_of(self, path: str, edit: Edit, source: str) -> dict[str, float]:
        """The tests that run what is edited in a file of that hash, and how long each takes.

        Of a line that runs when its module is imported, and in a file that is another one now,
        these are all that run anything of it; of a line of the first kind in a file that has no
        other lines, all.
        """
        lines = self.tests.get(path, {})
        if edit.is_imported or self.sources.get(path) != source:
            found = {test for tests in lines.values() for test in tests}
            if edit.is_imported and not found:
                return self.seconds
        else:
            found = set(lines.get(edit.line) or lines.get(edit.own_line) or [])
        return {test: self.seconds[test] for test in found & self.seconds.keys()}


class _Recorder:
    """A plugin of pytest that notes which lines each test runs, and what that takes."""

    def __init__(self, recording: coverage.Coverage) -> None:
        self._recording = recording
        self._failed: set[str] = set()
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of a core that each test took that passed."""
        return {test: value for test, value in self._seconds.items() if test not in self._failed}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._recording.switch_context(item.nodeid)
        started = time.process_time()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = time.process_time() - started
            self._recording.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)


class _Failures:
    """A plugin of pytest that notes which test fails."""

    def __init__(self, failed: Path) -> None:
        self._failed = failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.write_text(report.nodeid)


class _Selection:
    """A plugin of pytest that runs some tests, in that order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: self._places[item.nodeid])


def preload() -> None:
    """Imports what the tests need of others."""
    for module in PRELOADED:
        importlib.import_module(module)


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def record(tree: Path, tests: Sequence[str]) -> Covering:
    """Runs tests, in this process, and notes what they run of the package."""
    import coverage  # which the tests do not need

    _enter(tree)
    recording = coverage.Coverage(
        data_file=None, source=["protozorfs"], config_file=False, messages=False
    )
    recorder = _Recorder(recording)
    recording.start()
    pytest.main([*PYTEST, f"--basetemp={tree}.tmp", *tests], plugins=[recorder])
    recording.stop()
    data = recording.get_data()
    found, sources = {}, {}
    for path in sorted(data.measured_files()):
        lines = data.contexts_by_lineno(path)
        name = str(Path(path).relative_to(tree))
        sources[name] = hash_of(Path(path).read_bytes())
        found[name] = {
            line: sorted(filter(None, contexts)) for line, contexts in sorted(lines.items())
        }
    return Covering(recorder.seconds, found, sources)


class Change(NamedTuple):
    """What a file is, and what it becomes."""

    path: Path
    original: bytes
    changed: bytes


class _Bench:
    """A plugin of pytest that waits for what to run once all tests are collected."""

    def __init__(self, tree: Path, called: set[Place], connection: Connection) -> None:
        self._tree = tree
        self._called = called
        self._connection = connection

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        loaded = Loaded(self._tree, self._called)
        items = {item.nodeid: item for item in session.items}
        log = self._tree.parent / "log"
        gc.freeze()
        self._connection.send(PASSED)
        with contextlib.suppress(EOFError):
            while True:
                tests, seconds, change = self._connection.recv()

                def work(tests: list[str] = tests, change: Change | None = change) -> int:
                    if change is not None and not loaded.become(*change):
                        return NOT_APPLIED
                    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
                    return _run_items(session, [items[test] for test in tests if test in items])

                self._connection.send(forked(work, seconds, log))
        return True


def _run_items(session: pytest.Session, items: list[pytest.Item]) -> int:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            return FAILED
    return PASSED


class Bench:
    """A process that has collected tests of a tree, and runs some of them when told to.

    Nothing in the tree may change before it is made: it has imported all by then.
    """

    def __init__(self, tree: Path, tests: Sequence[str]) -> None:
        self._tree = tree
        self._connection, connection = multiprocessing.Pipe()
        self._process = os.fork()
        if not self._process:
            self._connection.close()
            os._exit(_work(partial(_collect, tree, tests, connection), None, tree.parent / "bench"))
        connection.close()
        self._receive()

    def close(self) -> None:
        self._connection.close()
        os.waitpid(self._process, 0)

    def run(self, tests: Sequence[str], seconds: float, change: Change | None = None) -> Outcome:
        """Runs tests until one fails; they may take seconds of a core.

        Raises:
            RuntimeError: that did not even begin.
        """
        failed = self._tree.parent / FAILED_FILE
        failed.unlink(missing_ok=True)
        self._connection.send((tests, seconds, change))
        code = self._receive()
        if code == BROKEN:
            log = self._tree.parent / "log"
            raise RuntimeError(f"tests did not begin: {log.read_text(errors='replace')}")
        return Outcome(code, failed.read_text() if failed.exists() else None)

    def _receive(self) -> int:
        try:
            code: int = self._connection.recv()
        except EOFError:
            log = self._tree.parent / "bench"
            raise RuntimeError(f"the bench has ended: {log.read_text(errors='replace')}") from None
        return code


def _collect(tree: Path, tests: Sequence[str], connection: Connection) -> int:
    _enter(tree)
    called: set[Place] = set()
    note_calls(tree / "protozorfs", called)
    arguments = [*PYTEST, "-x", f"--basetemp={tree}.tmp", *tests]
    plugins = [_Bench(tree, called, connection), _Failures(tree.parent / FAILED_FILE)]
    return int(pytest.main(arguments, plugins=plugins))


class Outcome(NamedTuple):
    """How a run of tests ended: PASSED, FAILED (and which test), NOT_IMPORTED or TIMED_OUT."""

    code: int
    failed: str | None = None


def run(tree: Path, tests: Sequence[str], seconds: float) -> Outcome:
    """Runs tests in a process of their own until one fails; they may take seconds of a core.

    Raises:
        RuntimeError: that did not even begin, whatever is in the tree.
    """
    log, failed = tree.parent / "log", tree.parent / FAILED_FILE
    failed.unlink(missing_ok=True)

    def work() -> int:
        _enter(tree)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        files = sorted({test.partition("::")[0] for test in tests})
        arguments = [*PYTEST, "-x", f"--basetemp={tree}.tmp", *files]
        return int(pytest.main(arguments, plugins=[_Selection(tests), _Failures(failed)]))

    code = forked(work, seconds, log)
    if code == pytest.ExitCode.INTERNAL_ERROR:  # there was no memory left to say what has failed
        code = FAILED
    if code not in (PASSED, FAILED, NOT_IMPORTED, TIMED_OUT):
        raise RuntimeError(f"pytest ends with {code}: {log.read_text(errors='replace')}")
    return Outcome(code, failed.read_text() if failed.exists() else None)


def _enter(tree: Path) -> None:
    """Imports of this process are of that tree from now on."""
    os.chdir(tree)
    sys.path[0] = str(tree)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("protozorfs", "tests")]:
        del sys.modules[name]


def forked(work: Callable[[], int], seconds: float, log: Path) -> int:
    """Calls a function in a process of its own, for seconds of a core; its result, or TIMED_OUT.

    Time alone tells nothing where others use the machine as well: a process is late when it has
    used its seconds, or has used nothing at all for STALL_SECONDS. One that ends by another signal
    counts as FAILED, and one that raises as BROKEN. Whatever it has started ends with it.
    """
    process = os.fork()
    if not process:
        os._exit(_work(work, seconds, log))
    descriptor = os.pidfd_open(process)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    used, is_stalled = "", False
    while not is_stalled and not poll.poll(1000 * STALL_SECONDS):
        before, used = used, _used(process)
        is_stalled = before == used
    os.close(descriptor)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if is_stalled or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return TIMED_OUT
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else FAILED


def _used(process: int) -> str:
    """What a process has used of a core; the word for one that waits for it is always another."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return str(time.monotonic()) if fields[0] == "R" else " ".join(fields[11:13])


def _work(work: Callable[[], int], seconds: float | None, log: Path) -> int:
    try:
        os.setsid()
        if seconds is not None:
            limit = int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))  # SIGXCPU, before SIGKILL
        with log.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        return work()
    except BaseException:
        traceback.print_exc()
        return BROKEN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
