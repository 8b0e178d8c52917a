"""Rotation of logs in a mount: no line is lost without a word. docs/tools.md, "Rotating logs"."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conftest import IS_CI
from tests.errnos import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.fuse.conftest import Staged

pytestmark = pytest.mark.fuse
needs_logrotate = pytest.mark.skipif(
    shutil.which("logrotate") is None and not IS_CI, reason="logrotate is not installed"
)
ROTATOR = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@pytest.fixture
def log(shared: Staged) -> Path:
    """A feed named `log` of one line, alone in the mount."""
    for left in shared.path.iterdir():
        os.setxattr(left, "protozorfs.delete_key", os.getxattr(left, "protozorfs.id"))
    return one_line(shared.path / "log")


def one_line(path: Path) -> Path:
    with path.open("ab", buffering=0) as file:
        file.write(b"line 0\n")
    return path


def lines_of(directory: Path) -> list[str]:
    """All lines of all feeds, sorted."""
    return sorted(line for path in directory.iterdir() for line in path.read_text().splitlines())


def rotate(log: Path, scratch: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Has logrotate do it now."""
    directives = "\n".join(settings)
    configuration, state = scratch / "logrotate.conf", scratch / "state"
    configuration.write_text(f"{log} {{\nrotate 9\n{directives}\n}}\n")
    configuration.chmod(0o644)
    return subprocess.run(
        ["logrotate", "-f", "-s", state, configuration],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@needs_logrotate
@pytest.mark.parametrize(
    "settings",
    [
        ("create",),
        ("create 0600",),
        ("nocreate",),
        ("create", "dateext", "dateformat -%s.old"),
        ("copy",),
    ],
    ids=" ".join,
)
def test_logrotate_rotates(log: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    old_id = os.getxattr(log, "protozorfs.id")
    done = rotate(log, tmp_path, *settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with log.open("a") as file:
        file.write("line 1\n")
    (old,) = set(log.parent.iterdir()) - {log}
    assert old.read_text() == "line 0\n"
    if settings == ("copy",):
        assert os.getxattr(log, "protozorfs.id") == old_id
        assert log.read_text() == "line 0\nline 1\n"
    else:
        assert os.getxattr(old, "protozorfs.id") == old_id
        assert log.read_text() == "line 1\n"


@needs_logrotate
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("copytruncate",), "error opening {log}: Operation not permitted"),
        (("create", "compress"), "error creating output file {log}.1.gz: Operation not permitted"),
        (("create", "rotate 1"), "Failed to remove old log {log}.2: Operation not permitted"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_logrotate_says_what_it_cannot_do_and_loses_nothing(
    log: Path, tmp_path: Path, settings: tuple[str, ...], says: str
) -> None:
    complaints = ""
    for number in range(1, 4):
        done = rotate(log, tmp_path, *settings)
        complaints += done.stderr
        with log.open("a") as file:
            file.write(f"line {number}\n")
    assert done.returncode == 1
    assert says.format(log=log) in complaints
    assert lines_of(log.parent) == [f"line {number}" for number in range(4)]


@needs_logrotate
def test_a_log_that_others_read_is_not_said_to_be_closed_to_them(
    stage: Callable[..., AbstractContextManager[Staged]], tmp_path: Path
) -> None:
    with stage("-o", "allow_other") as staged:
        log = one_line(staged.path / "log")
        assert rotate(log, tmp_path, "create").returncode == 0
        done = rotate(log, tmp_path, "create 0640")
        assert "error setting mode of" in done.stderr
        assert done.returncode == 1


def test_only_who_renamed_the_log_away_makes_it_anew(log: Path) -> None:
    expect(errno.EPERM, lambda: os.open(log.parent / "other", ROTATOR, 0o600))
    log.rename(log.parent / "log.1")
    refusals: list[OSError] = []

    def make_in_another_thread() -> None:
        try:
            os.open(log, ROTATOR, 0o600)
        except OSError as error:
            refusals.append(error)

    thread = threading.Thread(target=make_in_another_thread)
    thread.start()
    thread.join()
    assert [refusal.errno for refusal in refusals] == [errno.EPERM]
    descriptor = os.open(log, ROTATOR, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        expect(errno.EPERM, lambda: os.fchmod(descriptor, 0o400))
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 12345)
            expect(errno.EPERM, lambda: os.fchown(descriptor, 0, 12345))
        assert os.write(descriptor, b"new\n") == 4
    finally:
        os.close(descriptor)
    log.rename(log.parent / "log.2")
    log.touch()
    log.rename(log.parent / "log.3")
    os.close(os.open(log, ROTATOR, 0o600))
    expect(errno.EPERM, lambda: os.open(log.parent / "log.4", ROTATOR, 0o600))


HANDLERS = {
    "size": """
handler = logging.handlers.RotatingFileHandler('log', maxBytes=100, backupCount=1)
handler.namer = lambda name: f'{name}.{time.time_ns()}'
""",
    "no backups": "handler = logging.handlers.RotatingFileHandler('log', maxBytes=100)",
    "time": "handler = logging.handlers.TimedRotatingFileHandler('log', 's')",
    "watched": "handler = logging.handlers.WatchedFileHandler('log')",
    "removing": "handler = logging.handlers.RotatingFileHandler('log', 'a', 100, 2)",
}
LOGGING = """
import logging, logging.handlers, time
{handler}
logging.getLogger().addHandler(handler)
for number in range(1, 61):
    logging.error('line %d', number)
    time.sleep({pause})
"""


def log_by(handler: str, directory: Path, pause: float = 0.0) -> str:
    """Logs 60 lines by a handler of Python in a process; returns what it says."""
    script = LOGGING.format(handler=HANDLERS[handler], pause=pause)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0
    return done.stderr


@pytest.mark.parametrize("handler", ["size", "no backups", "time", "watched"])
def test_handlers_of_python_that_remove_nothing_lose_nothing(log: Path, handler: str) -> None:
    assert log_by(handler, log.parent, pause=0.03 if handler == "time" else 0.0) == ""
    assert lines_of(log.parent) == sorted(f"line {number}" for number in range(61))
    assert (len(list(log.parent.iterdir())) > 1) == (handler in ("size", "time"))


def test_a_handler_that_would_remove_a_feed_says_so_for_each_line(log: Path) -> None:
    """It drops the lines itself: Python logs nothing whose rollover fails."""
    said = log_by("removing", log.parent)
    lost = {f"line {number}" for number in range(61)} - set(lines_of(log.parent))
    assert lost
    assert said.count("PermissionError: [Errno 1] Operation not permitted") == len(lost)
    assert (log.parent / "log.2").exists()
