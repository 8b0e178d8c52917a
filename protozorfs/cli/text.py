"""What the commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protozorfs.cli.access import FeedLine

HEADINGS = ("NAME", "STATE", "BLOCKS", "BYTES", "HELD", "PEERS", "ID")
LEFT_ALIGNED = {"NAME", "STATE", "ID"}


def printable(name: bytes) -> str:
    """A name as one line of text that no terminal takes for commands: control characters and
    bytes that are not UTF-8 are written as escapes."""
    text = name.decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def table(feeds: Sequence[FeedLine]) -> Iterator[str]:
    """The lines of `protozorfs ls`: headings, then one line a feed."""
    rows = [HEADINGS, *(_cells(feed) for feed in feeds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        cells = (
            cell.ljust(width) if heading in LEFT_ALIGNED else cell.rjust(width)
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _cells(feed: FeedLine) -> tuple[str, ...]:
    return (
        printable(feed.name),
        feed.state,
        str(feed.length),
        str(feed.byte_length),
        str(feed.held_bytes),
        str(feed.peer_count),
        ids.format_hex(feed.feed_id),
    )
