"""What the commands print."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.cli.standard_files import complaining

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protozorfs.cli.access import FeedLine

HEADINGS = ("NAME", "STATE", "BLOCKS", "BYTES", "HELD", "PEERS", "ID")
SEPARATOR = "  "
UNKNOWN = "?"
CUT = ".."  # in place of what does not fit
MIN_ID_DIGITS = 8  # as in the names of feeds that were given none
LEFT_ALIGNED = {"NAME", "STATE", "ID"}


def printable(name: bytes) -> str:
    """A name as one line of text that no terminal takes for commands: control characters and
    bytes that are not UTF-8 are written as escapes."""
    text = name.decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def printable_text(text: str) -> str:
    """The same of a text with names in it as `os.fsdecode` makes them, whatever the locale."""
    try:
        return printable(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half a pair of surrogates that stands for no byte
        return printable(text.encode("utf-8", "backslashreplace"))


def complain(program: str, message: str) -> None:
    """Says one sentence on standard error, if there is anybody to hear it."""
    with complaining():
        print(f"{program}: {printable_text(message)}", file=sys.stderr)


def sentence(error: OSError) -> str:
    """What the system says, and of what."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def table(feeds: Sequence[FeedLine], columns: int | None = None) -> Iterator[str]:
    """The lines of `protozorfs ls`: headings, then one line a feed.

    `columns` is the width of the terminal, into which lines fit by the first digits of IDs, if that
    helps; None: there is none, and all is written out.
    """
    rows = [HEADINGS, *(_cells(feed) for feed in feeds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    if columns is not None:
        missing = sum(widths) + len(SEPARATOR) * (len(widths) - 1) - columns
        id_width = max(widths[-1] - max(missing, 0), MIN_ID_DIGITS + len(CUT))
        rows = [(*row[:-1], _cut(row[-1], id_width)) for row in rows]
    for row in rows:
        cells = (
            cell.ljust(width) if heading in LEFT_ALIGNED else cell.rjust(width)
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        )
        yield SEPARATOR.join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - len(CUT)] + CUT


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


def _cells(feed: FeedLine) -> tuple[str, ...]:
    return (
        printable(feed.name),
        feed.state,
        _count(feed.length),
        _count(feed.byte_length),
        str(feed.held_bytes),
        str(feed.peer_count),
        ids.format_hex(feed.feed_id),
    )
