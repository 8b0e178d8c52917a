"""The tailers of docs/tools.md: each shows every line once, whatever happens between its looks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.tailers import TAILERS
from tests.conftest import ROOT
from tests.sizes import long_or_short

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

TABLE_SECONDS = long_or_short(900.0, 140.0)  # it takes 150 s, and 20 s
TRIED: list[str] = long_or_short([], ["logtail", "pygtail", "tail -F"])  # all without one


def test_tailers_show_every_line_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.tailers_table", *TRIED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TABLE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_is_of_these_tailers() -> None:
    page = (ROOT / "docs" / "tools.md").read_text()
    for tailer in TAILERS:
        assert f"\n| `{tailer.name}` | {tailer.origin} | {tailer.keys} |" in page
