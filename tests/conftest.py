"""What every test runs under: no hang outlives its limit, and CI skips nothing.

The waits of a test that hangs, even inside a system call on a mount of its own, are ended so that
it fails; if that does not help, the whole run ends with the stack of every thread.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import hypothesis
import pytest

from tests.hang_guard import END, START
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HANG_SECONDS = long_or_short(3600.0, 180.0)  # the slowest short test takes some 30 s
ABORT_GRACE_SECONDS = 30.0  # after aborting mounts, for the test to end by itself
REAL_STDERR = pytest.StashKey[int]()
ROOT = Path(__file__).parents[1]
PEERS = ROOT / "tests" / "peers"
IS_CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real standard error: at the end of a hang nobody shows what was captured."""
    config.stash[REAL_STDERR] = os.dup(2)


@pytest.fixture(scope="session")
def hang_guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IO[bytes]]:
    """The standard input of a `tests.hang_guard` over everything that tests mount."""
    own_mounts = str(tmp_path_factory.getbasetemp())
    command = [sys.executable, "-m", "tests.hang_guard", own_mounts, str(HANG_SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, cwd=ROOT) as guard:
        assert guard.stdin is not None
        yield guard.stdin


@pytest.fixture(autouse=True)
def hang_watchdog(request: pytest.FixtureRequest, hang_guard: IO[bytes]) -> Iterator[None]:
    """Ends the waits, and if that does not help the run, of a test that takes HANG_SECONDS."""
    stderr = request.config.stash[REAL_STDERR]
    hang_guard.write(START)
    # A thread in a read of a mount cannot end before the read does, not even by SIGKILL.
    faulthandler.dump_traceback_later(HANG_SECONDS + ABORT_GRACE_SECONDS, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    hang_guard.write(END)


def missing_for_fuse() -> str | None:
    """Why nothing can be mounted here, or None."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is missing or not ours to open"
    return None


def missing_for_interop() -> str | None:
    """Why the Node peers cannot run here, or None."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (PEERS / "node_modules" / "hypercore").is_dir():
        return "tests/peers/node_modules is not there; scripts/setup makes it"
    return None


# Whoever runs the tests in the background may have them ignore SIGINT and SIGHUP, and all their
# children with them, whose ends by these signals are tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Time says nothing on a busy machine; and CI must find the same things each time. New examples are
# looked for by everybody else.
hypothesis.settings.register_profile("project", deadline=None, derandomize=IS_CI)
hypothesis.settings.load_profile("project")

# These share one loopback and the kernel's mounts, and some of them measure: one at a time.
MACHINE = "machine"
MACHINE_DIRECTORIES = {"e2e", "fuse", "interop", "system"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests one of several processes gets together: of a file, or of the machine."""
    for item in items:
        path = item.path.relative_to(ROOT)
        is_machine = path.parts[1] in MACHINE_DIRECTORIES or item.get_closest_marker("fuse")
        item.add_marker(pytest.mark.xdist_group(MACHINE if is_machine else str(path)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """What a test logged may be no text, as names are; between processes only text can go."""
    return _as_text((yield))


def _as_text(value: object) -> object:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list() | tuple():
            return type(value)(map(_as_text, value))
        case dict():
            return {key: _as_text(each) for key, each in value.items()}
    return value


NEEDS = {"fuse": missing_for_fuse, "interop": missing_for_interop}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips, or under CI fails, what this machine cannot run."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing()
        if reason is not None and IS_CI:
            pytest.fail(reason, pytrace=False)
        if reason is not None:
            pytest.skip(reason)
