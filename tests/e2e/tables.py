"""The scripts that make the tables of docs/tools.md, run to check them."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def check_table(module: str, *arguments: str, seconds: float) -> None:
    """Runs a script; its exit code says whether everything is as its table has it."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
