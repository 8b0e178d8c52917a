"""`protozorfs check`: what is wrong with a store.

| exit code | |
|---|---|
| 0 | nothing is wrong; there may be notes |
| 1 | errors were corrected |
| 4 | errors are left |
| 8 | it could not be checked: one sentence says why |
| 16 | the command line is wrong |
| 32 | cancelled by Ctrl-C |

Codes 1 and 4 add up to 5. Source: fsck(8).
"""

from __future__ import annotations

import signal
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from protozorfs import ids
from protozorfs.cli.check_report import (
    ProgressLine,
    Reported,
    State,
    Summary,
    json_text,
    show,
    show_summary,
)
from protozorfs.cli.text import printable
from protozorfs.errors import ProtozorfsError, StoreLocked, UsageError
from protozorfs.store.beneath import Beneath
from protozorfs.store.findings import Finding, Severity
from protozorfs.store.shared_lock import shared_lock
from protozorfs.store.trust import open_way

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protozorfs.cli.checking import StoreCheck
    from protozorfs.types import FeedId

CORRECTED = 1
LEFT = 4
FAILED = 8
WRONG_USAGE = 16
CANCELLED = 32


class _WrongUsage(click.UsageError):
    exit_code = WRONG_USAGE


class CheckCommand(click.Command):
    """A command whose mistakes in usage have the exit code of fsck(8)."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _WrongUsage(error.message, error.ctx) from None


def check_store(store: Path, *, is_json: bool) -> int:
    """Checks a store and prints what is wrong with it; returns the exit code."""
    try:
        with _stopped_by_interrupt(), closing(_root_of(store)) as root, shared_lock(root):
            return _Run(store, root, is_json=is_json).run()
    except KeyboardInterrupt:
        raise UsageError("cancelled", CANCELLED) from None
    except StoreLocked as error:
        raise UsageError(_what_next(error), FAILED) from None
    except ProtozorfsError as error:
        raise UsageError(str(error), FAILED) from None


def _root_of(store: Path) -> Beneath:
    try:
        return Beneath(open_way(store), str(store))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{store} is no store") from None
    except OSError as error:
        raise UsageError(f"{store}: {error.strerror}") from None


@contextmanager
def _stopped_by_interrupt() -> Iterator[None]:
    """In the body, Ctrl-C raises KeyboardInterrupt, unless the caller has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _what_next(error: StoreLocked) -> str:
    if error.mount_point is None:
        return f"{error}: check it when that has ended"
    return (
        f"{error}: unmount it, then check it; what the mount itself has found is in"
        " .protozorfs/status there"
    )


class _Run:
    """One check."""

    def __init__(self, store: Path, root: Beneath, *, is_json: bool) -> None:
        from protozorfs.cli.checking import StoreCheck

        self._store = store
        self._is_json = is_json
        self._check: StoreCheck = StoreCheck(root)
        self._progress = ProgressLine(self._check.data_bytes)
        self._reported: list[Reported] = []

    def run(self) -> int:
        self._tell(None, list(self._check.of_store()))
        for feed_id in self._check.feed_ids:
            self._tell(feed_id, self._findings(feed_id))
        self._progress.clear()
        exit_code = LEFT if any(map(_is_error_left, self._reported)) else 0
        summary = Summary(self._store, False, len(self._check.feed_ids), self._progress.read_bytes)
        if self._is_json:
            click.echo(json_text(summary, self._reported, exit_code))
        else:
            show_summary(summary, self._reported)
        return exit_code

    def _findings(self, feed_id: FeedId) -> list[Finding]:
        name = printable(self._check.name_of(feed_id) or ids.format_hex(feed_id).encode())
        found = []
        for one in self._check.of_feed(feed_id):
            if isinstance(one, Finding):
                found.append(one)
            else:
                self._progress.add(one.byte_count, name)
        return found

    def _tell(self, feed_id: FeedId | None, found: list[Finding]) -> None:
        reported = [self._reported_of(finding) for finding in found]
        self._reported += reported
        if not self._is_json and reported:
            self._progress.clear()
            name = None if feed_id is None else self._check.name_of(feed_id)
            show(feed_id, name, reported)

    def _reported_of(self, finding: Finding) -> Reported:
        name = None if finding.feed_id is None else self._check.name_of(finding.feed_id)
        return Reported(finding, name, State.FOUND)


def _is_error_left(one: Reported) -> bool:
    return one.finding.kind.severity is Severity.ERROR and one.state is not State.REPAIRED
