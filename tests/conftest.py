"""What every test runs under: no hang outlives its limit, and CI skips nothing.

A test that hangs, even inside a system call on a mount of its own, ends the whole run with the
stack of every thread: a limit that is reached is a bug, and later tests would hang on its leavings.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG_SECONDS = long_or_short(3600.0, 180.0)  # the slowest short test takes some 30 s
ABORT_GRACE_SECONDS = 30.0  # after aborting mounts, for the test to end by itself
REAL_STDERR = pytest.StashKey[int]()
PEERS = Path(__file__).parent / "peers"
IS_CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real standard error: at the end of a hang nobody shows what was captured."""
    config.stash[REAL_STDERR] = os.dup(2)


@pytest.fixture(autouse=True)
def hang_watchdog(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fails, and if that is not possible ends the run, when a test takes over HANG_SECONDS."""
    stderr = request.config.stash[REAL_STDERR]
    own_mounts = str(tmp_path_factory.getbasetemp())
    # A thread in a read of a mount cannot end before the read does, not even by SIGKILL.
    abort = threading.Timer(HANG_SECONDS, abort_mounts_below, (own_mounts, stderr))
    abort.daemon = True
    abort.start()
    faulthandler.dump_traceback_later(HANG_SECONDS + ABORT_GRACE_SECONDS, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    abort.cancel()


def abort_mounts_below(directory: str, stderr: int) -> None:
    """Aborts the FUSE connection of every mount below a directory; needs fusectl."""
    faulthandler.dump_traceback(file=stderr, all_threads=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4].startswith(directory):
            minor = fields[2].split(":")[1]
            connection = Path("/sys/fs/fuse/connections", minor, "abort")
            if connection.exists():
                connection.write_text("1")


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
