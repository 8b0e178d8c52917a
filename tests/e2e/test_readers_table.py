"""The second table in docs/tools.md: no program is misled by a feed that is not all here."""

from __future__ import annotations

import pytest

from scripts.readers import GROUPS
from scripts.tables import PAGE, cell
from tests.e2e.tables import check_table
from tests.sizes import long_or_short

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

FORM = long_or_short((), ("--short",))
TABLE_SECONDS = long_or_short(3000.0, 170.0)  # the short form takes a minute on an idle machine


def test_no_program_is_misled_by_what_is_missing() -> None:
    check_table("scripts.readers_table", *FORM, seconds=TABLE_SECONDS)


def test_the_table_is_of_these_programs() -> None:
    page = PAGE.read_text()
    for programs in GROUPS.values():
        for program in programs:
            assert cell(program.command) in page
