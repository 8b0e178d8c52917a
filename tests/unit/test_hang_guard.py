"""tests.hang_guard: what hangs on a mount is freed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.hang_guard import END, START
from tests.mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_SECONDS = 1.0


@pytest.mark.fuse
def test_a_hanging_call_on_a_mount_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hang_guard", str(tmp_path), str(LIMIT_SECONDS)]
    with (
        mounted(tmp_path, "-o", "bind=127.0.0.1,nodht,nolan") as mount,
        subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, cwd=ROOT) as guard,
    ):
        assert guard.stdin is not None
        guard.stdin.write(START + END + START)
        mount.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(ConnectionAbortedError):
            os.stat(mount.path / "feed")
        assert time.monotonic() - started >= LIMIT_SECONDS / 2
        mount.process.send_signal(signal.SIGCONT)
