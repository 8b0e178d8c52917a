"""The command returns when its daemon is ready, or with what the daemon had to say."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(work: str, directory: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `work(ready)` as a daemon, in a process of its own that prints what came of it."""
    script = f"""
import os, signal, sys, time
from pathlib import Path
from protozorfs.cli.daemonize import run_as_daemon
from protozorfs.errors import UsageError
directory = Path({str(directory)!r})
parent = os.getpid()
{before}
def work(ready):
{textwrap.indent(textwrap.dedent(work), "    ")}
try:
    code = run_as_daemon(work)
    if os.getpid() == parent:
        print("returned", code)
except UsageError as error:
    if os.getpid() == parent:
        print("error", error.exit_code, error)
"""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=ROOT,
    )


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def test_it_returns_when_the_daemon_is_ready(tmp_path: Path) -> None:
    done = run(
        """
        ready()
        print("nobody sees this")
        facts = [os.getsid(0) == os.getpid(), os.getcwd(), os.path.realpath("/proc/self/fd/1")]
        while not (directory / "go").exists():
            time.sleep(0.01)
        (directory / "temporary").write_text(repr(facts))
        (directory / "temporary").rename(directory / "facts")
        return 0
        """,
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("returned 0\n", "")
    assert not (tmp_path / "facts").exists()  # the daemon goes on after the command returned
    (tmp_path / "go").touch()
    assert wait_for(tmp_path / "facts") == repr([True, "/", "/dev/null"])


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ("raise UsageError('it is busy: \\u00fc', 32)", "error 32 it is busy: ü\n"),
        ("os._exit(7)", "error 32 the daemon ended before it could answer\n"),
    ],
)
def test_it_says_why_there_is_no_daemon(tmp_path: Path, work: str, expected: str) -> None:
    assert run(work, tmp_path).stdout == expected


def test_who_stops_the_command_stops_what_it_started(tmp_path: Path) -> None:
    work = """
    def end(number, frame):
        (directory / "ended").touch()
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    os.kill(parent, signal.SIGHUP)
    time.sleep(20)
    return 0
    """
    # Whoever runs the tests by nohup has them ignore it.
    heard = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    assert run(work, tmp_path, heard).stdout == f"returned {128 + signal.SIGHUP}\n"
    assert (tmp_path / "ended").exists()


def test_signals_that_are_ignored_stay_ignored(tmp_path: Path) -> None:
    work = """
    os.kill(parent, signal.SIGHUP)
    ready()
    return 0
    """
    assert run(work, tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)").stdout == (
        "returned 0\n"
    )


def test_what_is_ready_when_a_signal_comes_is_mounted(tmp_path: Path) -> None:
    """In the last moments of a command that has done its work nothing says that it has not."""
    work = """
    ready()
    os.kill(parent, signal.SIGSTOP)
    os.kill(parent, signal.SIGHUP)
    os.kill(parent, signal.SIGCONT)
    return 0
    """
    heard = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    for _ in range(5):
        assert run(work, tmp_path, heard).stdout == "returned 0\n"
