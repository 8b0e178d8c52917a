"""Exported evidence of every kind, and what each text says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.feeds.evidence import LaterFork, TwoHeads, keep
from protozorfs.feeds.evidence_export import export_evidence
from protozorfs.log.conflict import find_conflict
from protozorfs.log.feed import Log
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.pool import FilePool
from protozorfs.types import FeedId
from tests.unit.log.log_tools import (
    KEY_PAIR,
    VECTOR_BLOCKS,
    Writer,
    other_history,
    upgraded_reader,
    whole_proof,
)

if TYPE_CHECKING:
    from protozorfs.log.conflict import Evidence


def evidence_between(
    own: Writer, other: Writer, asked: int, *, is_sparse: bool = False
) -> Evidence:
    """What a holder of `own` makes of an upgrade to `asked` blocks of the other history."""
    nodes = upgraded_reader(own).nodes if is_sparse else own.nodes
    found = find_conflict(own.state, nodes, own.head.signature, whole_proof(other, asked))
    assert found is not None
    return found


def exported(*kept: Evidence | TwoHeads | LaterFork) -> str:
    log = Log.open(FeedDirectory(FilePool(MemoryFiles()), FeedId(KEY_PAIR.public_key)))
    for found in kept:
        keep(log, found)
    return export_evidence(log.directory)


FIRST, SECOND = Writer(VECTOR_BLOCKS[:7]), other_history(7)
LATER = Writer([b"cut", *VECTOR_BLOCKS[1:4]], fork=2)
TEXTS = {
    "one length": exported(evidence_between(FIRST, SECOND, 7)),
    "two lengths": exported(evidence_between(Writer(VECTOR_BLOCKS[:11]), SECOND, 7)),
    "additional nodes": exported(evidence_between(Writer(VECTOR_BLOCKS[:5]), other_history(13), 3)),
    "one root lower": exported(evidence_between(FIRST, other_history(16), 7)),
    "two heads": exported(TwoHeads(FIRST.head, SECOND.head)),
    "later fork": exported(LaterFork(FIRST.head, LATER.head)),
    "later fork than nothing": exported(LaterFork(None, LATER.head)),
    "two kinds": exported(evidence_between(FIRST, SECOND, 7), LaterFork(FIRST.head, LATER.head)),
}
SAID = {
    "one length": "two histories of fork 0, of lengths 7 and 7, with different trees",
    "two lengths": "two histories of fork 0, of lengths 11 and 7, with different nodes 3",
    "additional nodes": "two histories of fork 0, of lengths 5 and 13, with different nodes 3",
    "one root lower": "two histories of fork 0, of lengths 7 and 16, with different nodes 3",
    "two heads": "two heads of fork 0 and length 7, with different trees",
    "later fork": "fork 0 up to length 7, and the later fork 2 up to length 4",
    "later fork than nothing": "fork 2 up to length 4",
}
