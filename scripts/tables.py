"""The tables of docs/tools.md, which scripts make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"
END = "<!-- end -->"


def put_table(script: str, lines: Sequence[str]) -> None:
    """Puts a table in the place of the one that the script has made before."""
    start = f"<!-- made by {script} -->"
    before, rest = PAGE.read_text().split(start)
    table = "\n".join([start, "", *lines, "", END])
    PAGE.write_text(before + table + rest.split(END, 1)[1])


def cell(text: str) -> str:
    """As code in a cell of a table."""
    return "`" + text.replace("|", "\\|") + "`" if text else ""
