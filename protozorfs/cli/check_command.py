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

import logging
import signal
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from protozorfs import ids
from protozorfs.cli.arguments import no_store
from protozorfs.cli.check_report import (
    ProgressLine,
    Reported,
    State,
    Summary,
    json_text,
    show,
    show_summary,
    size_text,
)
from protozorfs.cli.text import complain, printable
from protozorfs.errors import ProtozorfsError, StoreLocked, UsageError
from protozorfs.store.beneath import Beneath
from protozorfs.store.findings import Finding, Severity
from protozorfs.store.shared_lock import shared_lock
from protozorfs.store.trust import open_way

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from protozorfs.log.feed_repair import Cut
    from protozorfs.types import FeedId

CORRECTED = 1
LEFT = 4
FAILED = 8
WRONG_USAGE = 16
CANCELLED = 32


CUT_DANGER = """\
A cut of {name} leaves its first {length} blocks{before} ({size}), and signs a new
head for them. What is cut off is kept beside the feed, in files that end in .cut. If somebody has
blocks of it, the next append begins a second history of the feed: everybody who sees both freezes
it for ever, and nothing mends that. If the feed may have followers, mount the store while the
network is there instead: they bring the blocks back."""

# What the parts of a check log on trial has not happened; what counts, they return.
_SILENCE = logging.NullHandler()
_Found = dict["FeedId | None", list[Finding]]


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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _WrongUsage(error.message, ctx) from None


class Repair(NamedTuple):
    """What is to be repaired, and what may be asked."""

    cuts: frozenset[FeedId]
    says_yes: bool


def check_store(store: Path, *, is_json: bool, repair: Repair | None = None) -> int:
    """Checks a store, repairs it if that is wanted, and prints both; returns the exit code."""
    logging.getLogger("protozorfs").addHandler(_SILENCE)
    try:
        with _stopped_by_interrupt():
            return _Run(store, is_json=is_json, repair=repair).run()
    except (KeyboardInterrupt, click.Abort):  # the second at a question
        raise UsageError("cancelled", CANCELLED) from None
    except StoreLocked as error:
        raise UsageError(_what_next(error), FAILED) from None
    except ProtozorfsError as error:
        raise UsageError(str(error), FAILED) from None


@contextmanager
def _looking_at(store: Path) -> Iterator[Beneath]:
    """The store, which nobody changes in the body."""
    with closing(_root_of(store)) as root, shared_lock(root):
        yield root


def _root_of(store: Path) -> Beneath:
    try:
        return Beneath(open_way(store), str(store))
    except (FileNotFoundError, NotADirectoryError):
        raise no_store(store) from None
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
    """One check, and perhaps a repair and the check after it."""

    def __init__(self, store: Path, *, is_json: bool, repair: Repair | None) -> None:
        self._store = store
        self._is_json = is_json
        self._repair = repair
        self._names: dict[FeedId, bytes | None] = {}
        self._read_bytes = 0

    def run(self) -> int:
        with _looking_at(self._store) as root:
            found = self._check(root)
            cuts = self._cuts(root, found) if self._repair is not None else set()
        if self._repair is None:
            return self._end(found, found)
        from protozorfs.cli.repairing import repair

        for sentence in repair(self._store, found, cuts):
            complain("protozorfs", sentence)
        if not self._is_json:
            click.echo("after the repair:")
        with _looking_at(self._store) as root:
            return self._end(found, self._check(root))

    def _check(self, root: Beneath) -> _Found:
        """Everything that is found, and printed if it is to be text."""
        from protozorfs.cli.checking import StoreCheck

        check = StoreCheck(root)
        progress = ProgressLine(check.data_bytes)
        self._names = {feed_id: check.name_of(feed_id) for feed_id in check.feed_ids}
        found: _Found = {None: list(check.of_store())}
        self._tell(None, found[None])
        for feed_id in check.feed_ids:
            shown = printable(self._names[feed_id] or ids.format_hex(feed_id).encode())
            findings = found[feed_id] = []
            for one in check.of_feed(feed_id):
                if isinstance(one, Finding):
                    findings.append(one)
                else:
                    progress.add(one.byte_count, shown)
            progress.clear()
            self._tell(feed_id, findings)
        self._read_bytes = progress.read_bytes
        return found

    def _tell(self, feed_id: FeedId | None, findings: Sequence[Finding]) -> None:
        if not self._is_json:
            show(feed_id, self._names.get(feed_id) if feed_id else None, findings)

    def _cuts(self, root: Beneath, found: _Found) -> set[FeedId]:
        """The feeds that are to be cut: named on the command line, or on the question."""
        from protozorfs.cli.repairing import may_be_cut, planned_cut

        assert self._repair is not None
        can_be = {feed_id for feed_id, some in found.items() if feed_id and may_be_cut(some)}
        for feed_id in self._repair.cuts - can_be:
            raise UsageError(f"{ids.format_hex(feed_id)}: no damage that a cut would mend")
        cuts = set()
        for feed_id in sorted(can_be):
            is_named = feed_id in self._repair.cuts
            if is_named and self._repair.says_yes:
                cuts.add(feed_id)
            elif is_named or (sys.stdin.isatty() and not self._repair.says_yes):
                name = printable(self._names.get(feed_id) or ids.format_hex(feed_id).encode())
                cut = planned_cut(root, feed_id)
                click.echo(CUT_DANGER.format(name=name, **_told(cut)), err=True)
                if click.confirm(f"Cut {name}?", err=True):
                    cuts.add(feed_id)
        return cuts

    def _end(self, found: _Found, left: _Found) -> int:
        reported = self._reported(found, left)
        summary = Summary(
            self._store.absolute(),
            self._repair is not None,
            len(found) - 1,
            self._read_bytes,
        )
        states = {one.state for one in reported if one.finding.kind.severity is Severity.ERROR}
        exit_code = CORRECTED if State.REPAIRED in states else 0
        exit_code |= LEFT if states - {State.REPAIRED} else 0
        if self._is_json:
            click.echo(json_text(summary, reported, exit_code))
        else:
            show_summary(summary, reported, self._count_mended(found))
        return exit_code

    def _count_mended(self, found: _Found) -> int:
        if self._repair is not None or not any(found.values()):
            return 0
        from protozorfs.cli.repairing import count_mended

        return count_mended(found)

    def _reported(self, found: _Found, left: _Found) -> list[Reported]:
        """Every finding of both checks once, with what has become of it."""
        before, after = _flat(found), _flat(left)
        keys = {_key(finding) for finding in after}
        known = {_key(finding) for finding in before}
        states = [
            (finding, State.LEFT if _key(finding) in keys else State.REPAIRED) for finding in before
        ]
        states += [(finding, State.LEFT) for finding in after if _key(finding) not in known]
        if self._repair is None:
            states = [(finding, State.FOUND) for finding in before]
        return [
            Reported(finding, self._names.get(finding.feed_id) if finding.feed_id else None, state)
            for finding, state in states
        ]


def _flat(found: _Found) -> list[Finding]:
    return [finding for some in found.values() for finding in some]


def _key(finding: Finding) -> tuple[str, str]:
    return finding.kind.code, finding.path


def _told(cut: Cut) -> dict[str, object]:
    before = "" if cut.length_before is None else f" of {cut.length_before} blocks"
    return {"before": before, "length": cut.length, "size": size_text(cut.byte_length)}
