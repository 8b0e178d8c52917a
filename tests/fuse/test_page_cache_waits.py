"""Pages stay locked while a read through the page cache waits: nobody else may run into them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fuse.test_waiting_reads import DEATH_SECONDS, wait_until
from tests.memory_control import pattern_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse

SIZE = 300_001
HELD = 70_000
GROWTH = 5_000
SENDFILE = """
import os, sys
with open(sys.argv[1], "rb") as feed, open(os.devnull, "wb") as null:
    size = os.fstat(feed.fileno()).st_size
    while size:
        sent = os.sendfile(null.fileno(), feed.fileno(), None, size)
        assert sent, "the end of the file in the middle of it"
        size -= sent
"""
FIRST_BYTES = 1_000


@contextmanager
def sendfile_waiting(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits in sendfile for bytes that are missing."""
    process = subprocess.Popen([sys.executable, "-c", SENDFILE, path])
    try:
        wait_until(lambda: "folio" in Path(f"/proc/{process.pid}/wchan").read_text())
        yield process
    finally:
        process.kill()
        process.wait(10)


def run(*command: str | Path) -> bytes:
    """The output of a command that must not wait."""
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=10, check=True).stdout


def test_opening_and_reading_what_is_here_does_not_wait(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path):
        assert run("head", "-c", str(FIRST_BYTES), path) == pattern_bytes(FIRST_BYTES)


def test_stat_after_growth_does_not_wait(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path) as process:
        staged.control("stage", path.name, pattern=GROWTH, held=False)
        assert int(run("stat", "-c", "%s", path)) == SIZE  # told when the pages are there
        assert path.name in os.listdir(path.parent)
        staged.control("hold", path.name, count=SIZE + GROWTH)
        assert process.wait(DEATH_SECONDS) == 0
        wait_until(lambda: path.stat().st_size == SIZE + GROWTH)
    assert len(path.read_bytes()) == SIZE + GROWTH


def test_stat_after_growth_does_not_wait_when_the_reader_was_killed(staged: Staged) -> None:
    path = staged.followed(SIZE, HELD)
    with sendfile_waiting(path) as process:
        process.kill()
        assert process.wait(DEATH_SECONDS) == -9
        staged.control("stage", path.name, pattern=GROWTH, held=False)
        run("stat", path)
        assert run("head", "-c", str(FIRST_BYTES), path) == pattern_bytes(FIRST_BYTES)
        staged.control("hold", path.name, count=SIZE + GROWTH)
        wait_until(lambda: path.stat().st_size == SIZE + GROWTH)
