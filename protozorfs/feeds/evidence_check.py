"""Checks the evidence of forks that a store keeps of a feed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from protozorfs.errors import StoreCorrupt
from protozorfs.feeds.evidence import (
    FILE_NAME,
    HEADS_FILE_NAME,
    LATER_FILE_NAME,
    load_later_fork,
    load_proofs,
    load_two_heads,
)
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.pool import FilePool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.store import Files
    from protozorfs.types import FeedId

FORKED = Kind(
    code="forked",
    severity=Severity.NOTE,
    remedy=Remedy.NONE,
    meaning="the feed's key has signed another history than the one that is here: the feed is"
    " frozen",
    advice="`protozorfs check --evidence NAME` prints the proof",
)
EVIDENCE_DAMAGED = Kind(
    code="evidence-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="it has proved another history: the feed can be read, and stays frozen",
    advice="put the file back from a backup; a peer that has seen the fork shows it again",
)


def check_evidence(files: Files, feed_id: FeedId) -> Iterator[Finding]:
    """What the files of evidence prove, or that one proves nothing."""
    with closing(FilePool(files)) as pool:
        directory = FeedDirectory(pool, feed_id)
        for name, load in (
            (FILE_NAME, load_proofs),
            (HEADS_FILE_NAME, load_two_heads),
            (LATER_FILE_NAME, load_later_fork),
        ):
            path = f"{directory.path}/{name}"
            try:
                if load(directory) is not None:
                    what = "it proves a fork"
                    yield Finding(kind=FORKED, path=path, what=what, feed_id=feed_id)
            except StoreCorrupt as error:
                yield Finding(kind=EVIDENCE_DAMAGED, path=path, what=error.what, feed_id=feed_id)
