"""The tailers of docs/tools.md: each shows every line once, whatever happens between its looks."""

from __future__ import annotations

import pytest

from scripts.tables import PAGE
from scripts.tailers import TAILERS
from tests.e2e.tables import check_table
from tests.sizes import long_or_short

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

TABLE_SECONDS = long_or_short(900.0, 140.0)  # it takes 150 s, and 20 s
TRIED: list[str] = long_or_short([], ["logtail", "pygtail", "tail -F"])  # all without one


def test_tailers_show_every_line_once() -> None:
    check_table("scripts.tailers_table", *TRIED, seconds=TABLE_SECONDS)


def test_the_table_is_of_these_tailers() -> None:
    page = PAGE.read_text()
    for tailer in TAILERS:
        assert f"\n| `{tailer.name}` | {tailer.origin} | {tailer.keys} |" in page
