"""Whether a feed's key signed another history than ours, as far as was ever seen here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from protozorfs.errors import StoreCorrupt
from protozorfs.feeds.evidence import (
    FILE_NAME,
    HEADS_FILE_NAME,
    LATER_FILE_NAME,
    LaterFork,
    TwoHeads,
    file_name,
    is_conflict,
    keep,
    load_later_fork,
    load_proofs,
    load_two_heads,
)
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import Evidence, find_conflict, later_head
from protozorfs.log.proof_types import Proof
from protozorfs.log.tree import TreeState

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.log.feed import Log
    from protozorfs.store.layout import FeedDirectory
    from protozorfs.types import Head

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Conflicts:
    """What is proven of one feed; what is kept of it counts once it is loaded."""

    def __init__(self) -> None:
        self._evidence: Evidence | TwoHeads | None = None
        self._later: LaterFork | None = None
        self._damaged: set[str] = set()  # files that have proved it, and do not any more

    @property
    def is_proven(self) -> bool:
        """It did, of one fork: the evidence is kept and never overwritten.

        A file of it that is damaged was whole when it was written: it counts as before, until
        somebody shows the same again.
        """
        return self._evidence is not None or bool(self._damaged - {LATER_FILE_NAME})

    @property
    def other_history(self) -> Proof | None:
        """The proof from nothing of the other history of our fork; None if only its head is known.

        Whoever holds ours finds by it what was found here.
        """
        if not isinstance(self._evidence, Evidence):
            return None
        other = self._evidence.other
        return Proof(other.fork, upgrade=other.upgrade)

    @property
    def later_head(self) -> Head | None:
        """The first head of a later fork that was seen; the evidence is kept, too."""
        return self._later.later if self._later is not None else None

    @property
    def sentence(self) -> str:
        """Why the feed is frozen, as a part of a sentence; empty if it is not."""
        if self._evidence is not None:
            return "two histories of it are signed"
        if self._damaged:
            names = " and ".join(map(repr, sorted(self._damaged)))
            return f"another history is signed, of which the proof in its file {names} is damaged"
        if self._later is not None:
            return (
                "its key signed a later history elsewhere"
                f" (fork {self._later.later.fork}, length {self._later.later.length}),"
                " which is not followed"
            )
        return ""

    def load(self, log: Log) -> None:
        """Reads what is kept. Raises OSError: it cannot be read now."""
        self._damaged.clear()
        proofs = self._load(log, FILE_NAME, load_proofs)
        self._evidence = proofs or self._load(log, HEADS_FILE_NAME, load_two_heads)
        self._later = self._load(log, LATER_FILE_NAME, load_later_fork)

    def _load(self, log: Log, name: str, load: Callable[[FeedDirectory], T | None]) -> T | None:
        try:
            return load(log.directory)
        except StoreCorrupt as error:
            logger.error("%s; the feed is frozen: put the file back from a backup", error)
            self._damaged.add(name)
            return None

    def _keep(self, log: Log, found: Evidence | TwoHeads | LaterFork) -> None:
        keep(log, found)
        self._damaged.discard(file_name(found))

    def check_proof(self, log: Log, proof: Proof) -> bool:
        """True if a peer's proof of a whole tree shows a second history.

        Raises:
            InvalidProof: it shows nothing but a bad peer.
        """
        head = log.head
        if head is None:
            return False
        state = TreeState(public_key_of(log.feed_id), head.fork, head.length, log.roots)
        evidence = find_conflict(state, log.nodes, head.signature, proof)
        if evidence is None:
            return False
        self._take(log, evidence)
        return True

    def check_later_fork(self, log: Log, known: Head | None, proof: Proof) -> bool:
        """True if a peer's proof of a whole tree is the first to show a later fork than ours.

        `known` is a head of our fork that was seen before any of its blocks.

        Raises:
            InvalidProof: it shows nothing but a bad peer.
        """
        head = later_head(public_key_of(log.feed_id), log.fork, proof)
        if head is None or self._later is not None:
            return False
        self._later = LaterFork(log.shown_head or known, head)
        self._keep(log, self._later)
        return True

    def check_head(self, log: Log, known: Head | None, head: Head) -> bool:
        """True if a signed head that was seen is not of our history, or of that of a known one."""
        for own in (log.head, known):
            if own is not None and is_conflict(own, head):
                self._take(log, TwoHeads(own, head))
                return True
        return False

    def _take(self, log: Log, evidence: Evidence | TwoHeads) -> None:
        if self._evidence is None:  # the first is never overwritten
            self._evidence = evidence
            self._keep(log, evidence)
