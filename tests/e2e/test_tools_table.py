"""The table in docs/tools.md: every tool that it names still says the same."""

from __future__ import annotations

import pytest

from scripts.tables import PAGE, cell
from scripts.tools import GROUPS
from tests.e2e.tables import check_table

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

TABLE_SECONDS = 120.0  # it takes 15 s


def test_every_tool_does_what_the_table_says() -> None:
    check_table("scripts.tools_table", seconds=TABLE_SECONDS)


def test_the_table_is_of_these_tools() -> None:
    page = PAGE.read_text()
    for tools in GROUPS.values():
        for tool in tools:
            assert cell(tool.command) in page
