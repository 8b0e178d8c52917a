"""stress-ng and the tools of the docs, all at once in one mount, for a minute.

Most stressors of stress-ng about files start with `mkdir`, which a mount refuses: those that do
not are here.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from protozorfs.log.feed import Log
from protozorfs.store.layout import Store
from scripts.tools import APPENDING, READING, REFUSED, SOURCE
from tests.e2e.stage import free_port, id_of, mounted_at
from tests.sizes import IS_LONG

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.slow,
    pytest.mark.skipif(not IS_LONG, reason="takes a minute and stress-ng: scripts/long"),
]

SECONDS = 60
STRESSORS = ("fstat", "open", "io", "handle", "getdent")
WORKERS = 4
STUCK_SECONDS = 3.0
COMMAND_SECONDS = 60.0  # for one, while all the others run


def use_tools(directory: Path, out: Path, seed: int, deadline: float) -> int:
    """Runs tools in a random order; returns how many."""
    chance, count = random.Random(seed), 0
    tools = [*APPENDING, *READING, *REFUSED]
    while time.monotonic() < deadline:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "src").write_text(SOURCE)
        subprocess.run(
            ["bash", "-c", chance.choice(tools).command],
            cwd=directory,
            env=os.environ | {"OUT": str(out), "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,  # a process in state D would outlive it
            check=False,
        )
        count += 1
    return count


def in_state_d() -> set[int]:
    """The processes that sleep where no signal reaches them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state = path.read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended meanwhile
            continue
        if state == "D":
            found.add(int(path.parent.name))
    return found


def test_a_mount_under_stress(tmp_path: Path) -> None:
    with mounted_at(tmp_path, "m", free_port()) as mount:
        feed = mount.path / "f"
        feed.write_text("hello\n")
        feed_id = id_of(feed)
        deadline = time.monotonic() + SECONDS
        counts: list[int] = []
        users = [
            threading.Thread(
                target=lambda n=n: counts.append(
                    use_tools(mount.path, tmp_path / f"out{n}", n, deadline)
                )
            )
            for n in range(WORKERS)
        ]
        for user in users:
            user.start()
        options = [word for name in STRESSORS for word in (f"--{name}", "1")]
        stressed = subprocess.run(
            ["stress-ng", *options, "--fstat-dir", mount.path, "-t", str(SECONDS), "-v"],
            cwd=mount.path,
            capture_output=True,
            text=True,
            timeout=SECONDS + COMMAND_SECONDS,
            check=False,
        )
        for user in users:
            user.join(2 * COMMAND_SECONDS)
        stuck = in_state_d()
        time.sleep(STUCK_SECONDS)  # who writes to a real disk is in state D for moments
        assert not stuck & in_state_d()
        assert stressed.returncode == 0, stressed.stdout + stressed.stderr
        assert len(counts) == WORKERS
        assert sum(counts) > SECONDS
        content = feed.read_bytes()
        assert content.startswith(b"hello\n")
        mount.stop()
    store = Store(mount.store)
    log = Log.open(store.feed(feed_id))
    assert log.length > 1
    assert log.read(0, len(content) + 1) == content  # all of it is checked for that
    log.close()
    store.close()
    print(f"{sum(counts)} commands, {log.length} blocks, {len(content)} bytes")
