"""The table in docs/tools.md: every tool that it names still says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.tools import GROUPS
from tests.conftest import ROOT

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

TABLE_SECONDS = 120.0  # it takes 15 s


def test_every_tool_does_what_the_table_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.tools_table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TABLE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_is_of_these_tools() -> None:
    page = Path(ROOT / "docs" / "tools.md").read_text()
    for tools in GROUPS.values():
        for tool in tools:
            assert f"`{tool.command}`".replace("|", "\\|") in page
