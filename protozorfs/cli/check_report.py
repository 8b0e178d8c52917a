"""What `protozorfs check` prints: text as it goes on, or one JSON object at the end.

The object (docs/check.md) has these fields and no others; new ones may come, none goes.

    format    "protozorfs check 1"
    store     the directory
    repair    whether a repair was asked for
    exit_code of the command
    feeds     how many were checked
    bytes     of their blocks that were read
    errors, notes   how many findings are of that severity
    findings  a list of: code, severity, remedy, state, feed, name, file, what, meaning, advice
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import click

from protozorfs import ids
from protozorfs.cli.standard_files import complaining
from protozorfs.cli.text import printable, printable_text
from protozorfs.store.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from protozorfs.store.findings import Finding
    from protozorfs.types import FeedId

FORMAT = "protozorfs check 1"
PROGRESS_SECONDS = 0.2  # between two lines of progress
SHOWN_NAME = 24  # characters of a feed's name in such a line, which must fit into a terminal's
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class State(StrEnum):
    """What has become of a finding."""

    FOUND = "found"
    REPAIRED = "repaired"
    LEFT = "left"  # a repair was asked for, and this is still so


class Reported(NamedTuple):
    """A finding, the name of its feed if it has one, and what has become of it."""

    finding: Finding
    name: bytes | None
    state: State


class Summary(NamedTuple):
    """What was checked."""

    store: Path
    is_repair: bool
    feed_count: int
    byte_count: int


def show(feed_id: FeedId | None, name: bytes | None, findings: Sequence[Finding]) -> None:
    """Prints the findings of one feed, or of the store."""
    if not findings:
        return
    if feed_id is None:
        click.echo("the store")
    elif name is None:
        click.echo(f"feed {ids.format_hex(feed_id)}")
    else:
        click.echo(f"{printable(name)} ({ids.format_hex(feed_id)})")
    for finding in findings:
        where = finding.path if feed_id is None else finding.path.rpartition("/")[2]
        what = f"{where}: {finding.what}" if where else finding.what
        click.echo(f"  {finding.kind.severity.value}: {printable_text(what)}")
        click.echo(f"    {finding.kind.meaning}")
        click.echo(f"    {finding.kind.advice}")


def show_summary(summary: Summary, reported: Sequence[Reported], mended_count: int) -> None:
    """Prints the last line, and one more where a repair would correct so many errors."""
    errors, notes = _counts(reported)
    found = f"{_count(errors, 'error')}, {_count(notes, 'note')}"
    if summary.is_repair:
        repaired = [one for one in reported if one.state is State.REPAIRED]
        found += f"; repaired: {_count(_counts(repaired)[0], 'error')}"
    read = size_text(summary.byte_count)
    click.echo(f"{_count(summary.feed_count, 'feed')} and {read} of blocks were checked: {found}")
    if mended_count:
        store = printable_text(shlex.quote(str(summary.store)))
        which = "it" if mended_count == errors == 1 else f"{mended_count} of {errors} errors"
        click.echo(f"to correct {which}: protozorfs check --repair {store}")


def json_text(summary: Summary, reported: Sequence[Reported], exit_code: int) -> str:
    """All of it as one object."""
    errors, notes = _counts(reported)
    return json.dumps(
        {
            "format": FORMAT,
            "store": printable_text(str(summary.store)),
            "repair": summary.is_repair,
            "exit_code": exit_code,
            "feeds": summary.feed_count,
            "bytes": summary.byte_count,
            "errors": errors,
            "notes": notes,
            "findings": [_object(one) for one in reported],
        },
        indent=2,
    )


def size_text(byte_count: float) -> str:
    """A size that is easily read: `1.2 GiB`."""
    unit = 0
    while byte_count >= 1000 and unit + 1 < len(_UNITS):
        byte_count /= 1024
        unit += 1
    return f"{byte_count:.1f} {_UNITS[unit]}" if unit else f"{byte_count:.0f} B"


class ProgressLine:
    """One line on standard error that says how far a check is, if that is a terminal."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._is_shown = sys.stderr.isatty()
        self._told = time.monotonic()
        self._told_bytes = 0
        self.read_bytes = 0

    def add(self, byte_count: int, name: str) -> None:
        """So many more bytes were read, of the feed of that name."""
        self.read_bytes += byte_count
        now = time.monotonic()
        if self._is_shown and now - self._told >= PROGRESS_SECONDS:
            rate = size_text((self.read_bytes - self._told_bytes) / (now - self._told))
            self._told, self._told_bytes = now, self.read_bytes
            so_far, total = size_text(self.read_bytes), size_text(self._total_bytes)
            self._write(f"\r\x1b[K{so_far} of {total}, {rate}/s: {name[:SHOWN_NAME]}")

    def clear(self) -> None:
        """Takes the line away: something else is printed."""
        if self._is_shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with complaining():
            sys.stderr.write(text)


def _object(one: Reported) -> dict[str, str | None]:
    finding, name, state = one
    kind, feed_id = finding.kind, finding.feed_id
    return {
        "code": kind.code,
        "severity": kind.severity.value,
        "remedy": kind.remedy.value,
        "state": state.value,
        "feed": None if feed_id is None else ids.format_hex(feed_id),
        "name": None if name is None else printable(name),
        "file": printable_text(finding.path),
        "what": printable_text(finding.what),
        "meaning": kind.meaning,
        "advice": kind.advice,
    }


def _counts(reported: Sequence[Reported]) -> tuple[int, int]:
    errors = sum(one.finding.kind.severity is Severity.ERROR for one in reported)
    return errors, len(reported) - errors


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
