"""Which tests run a line, and whether they notice when it is another one.

Tests run in processes that are forked from one that has imported what they need, apart from the
package itself: to start one costs no more than the tests do.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import coverage

    from scripts.mutating import Edit

PRELOADED = ("trio.testing", "nacl.bindings", "asyncio", "pyfuse3", "unittest.mock")
PYTEST = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--no-header", "--tb=short")
STALL_SECONDS = 60.0
MEMORY_BYTES = 6 << 30
FAILED_FILE = "failed"  # the first test that did, beside the log
PASSED, FAILED, NOT_IMPORTED, TIMED_OUT = 0, 1, 2, -1
BROKEN = 70  # what was to be run did not even begin


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

    def tests_of(self, path: str, edit: Edit, source: str) -> dict[str, float]:
        """The tests that run what is edited in a file of that hash, and how long each takes.

        Of a line that runs when its module is imported, and in a file that is another one now,
        these are all that run anything of it.
        """
        lines = self.tests.get(path, {})
        if edit.is_imported or self.sources.get(path) != source:
            found = {test for tests in lines.values() for test in tests}
        else:
            found = set(lines.get(edit.line, ()))
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


class _Selection:
    """A plugin of pytest that runs some tests, in that order, and notes which fails."""

    def __init__(self, tests: Sequence[str], failed: Path) -> None:
        self._places = {test: place for place, test in enumerate(tests)}
        self._failed = failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: self._places[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.write_text(report.nodeid)


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
        return int(pytest.main(arguments, plugins=[_Selection(tests, failed)]))

    code = forked(work, seconds, log)
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


def _work(work: Callable[[], int], seconds: float, log: Path) -> int:
    try:
        os.setsid()
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
