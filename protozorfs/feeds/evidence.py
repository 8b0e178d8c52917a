"""The evidence that a feed's key signed another history, kept beside the feed for ever."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from protozorfs.errors import DecodeError, InvalidProof, StoreCorrupt, StoreError
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import check_evidence, find_conflict, later_head
from protozorfs.log.format import (
    decode_evidence,
    decode_head_slot,
    encode_evidence,
    encode_head_slot,
)
from protozorfs.log.hashing import verify_head
from protozorfs.log.tree import TreeState
from protozorfs.store.heads import SLOT_BYTES, HeadKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.log.conflict import Evidence
    from protozorfs.log.feed import Log
    from protozorfs.log.proof_types import Proof
    from protozorfs.types import Head, PublicKey

FILE_NAME = "evidence"
HEADS_FILE_NAME = "evidence_heads"  # two head slots: heads of one length, seen without their trees
LATER_FILE_NAME = "evidence_later"  # two head slots: ours, and the first one of a later fork

logger = logging.getLogger(__name__)

T = TypeVar("T")


class TwoHeads(NamedTuple):
    """Two heads of one fork and length, signed over different trees."""

    own: Head
    other: Head


class LaterFork(NamedTuple):
    """A head of a later fork than ours, and what ours was (None: nothing was here)."""

    own: Head | None
    later: Head


def is_conflict(own: Head, other: Head) -> bool:
    """True if two signed heads cannot both be of one history."""
    return (own.fork, own.length) == (other.fork, other.length) and (
        own.tree_hash != other.tree_hash
    )


def load_evidence(log: Log) -> Evidence | TwoHeads | None:
    """What is kept, checked again; None if nothing is.

    Raises:
        StoreCorrupt: a file is there and proves nothing.
    """
    proofs = _load(log, FILE_NAME, _decode_proofs)
    return proofs or _load(log, HEADS_FILE_NAME, _decode_heads)


def keep_heads(log: Log, heads: TwoHeads) -> None:
    """Writes the evidence of two heads, durably."""
    _keep_slots(log, HEADS_FILE_NAME, heads)


def _keep_slots(log: Log, name: str, heads: Iterable[Head | None]) -> None:
    slots = (
        bytes(SLOT_BYTES) if head is None else encode_head_slot(HeadKind.SIGNED, number, head)
        for number, head in enumerate(heads)
    )
    log.keep_beside(name, b"".join(slots))


def _load(log: Log, name: str, decode: Callable[[bytes, PublicKey], T]) -> T | None:
    path = f"{log.directory.path}/{name}"
    try:
        data = log.directory.files.read(path)
    except FileNotFoundError:
        return None
    try:
        return decode(data, public_key_of(log.feed_id))
    except (DecodeError, InvalidProof) as error:
        raise StoreCorrupt(path, 0, str(error)) from error


def _decode_heads(data: bytes, public_key: PublicKey) -> TwoHeads:
    own = decode_head_slot(data[:SLOT_BYTES])
    other = decode_head_slot(data[SLOT_BYTES:])
    if own is None or other is None or not is_conflict(own.head, other.head):
        raise DecodeError("two heads of one history")
    for slot in (own, other):
        verify_head(slot.head, public_key)
    return TwoHeads(own.head, other.head)


def _decode_later(data: bytes, public_key: PublicKey) -> LaterFork:
    own = decode_head_slot(data[:SLOT_BYTES])
    later = decode_head_slot(data[SLOT_BYTES:])
    if later is None or later.head.fork <= (own.head.fork if own is not None else 0):
        raise DecodeError("no head of a later fork")
    for slot in (own, later):
        if slot is not None:
            verify_head(slot.head, public_key)
    return LaterFork(own.head if own is not None else None, later.head)


def _decode_proofs(data: bytes, public_key: PublicKey) -> Evidence:
    evidence = decode_evidence(data)
    if not check_evidence(public_key, evidence):
        raise DecodeError("two proofs of one history")
    return evidence


def keep_evidence(log: Log, evidence: Evidence) -> None:
    """Writes it, durably."""
    log.keep_beside(FILE_NAME, encode_evidence(evidence))


def evidence_in(log: Log, proof: Proof) -> Evidence | None:
    """What a peer's proof of a whole tree shows against our own.

    Raises:
        InvalidProof: it does not verify: just a bad peer.
    """
    head = log.head
    if head is None:
        return None
    state = TreeState(public_key_of(log.feed_id), head.fork, head.length, log.roots)
    return find_conflict(state, log.nodes, head.signature, proof)


class Conflicts:
    """Whether a feed's key signed another history than ours, as far as was ever seen here."""

    def __init__(self) -> None:
        self._evidence: Evidence | TwoHeads | None = None
        self._later: LaterFork | None = None

    @property
    def is_proven(self) -> bool:
        """It did, of one fork: the evidence is kept and never overwritten."""
        return self._evidence is not None

    @property
    def later_head(self) -> Head | None:
        """The first head of a later fork that was seen; the evidence is kept, too."""
        return self._later.later if self._later is not None else None

    @property
    def sentence(self) -> str:
        """Why the feed is frozen, as a part of a sentence; empty if it is not."""
        if self._evidence is not None:
            return "two histories of it are signed"
        if self._later is not None:
            return (
                "its key signed a later history elsewhere"
                f" (fork {self._later.later.fork}, length {self._later.later.length}),"
                " which is not followed"
            )
        return ""

    def load(self, log: Log) -> None:
        """Reads what is kept. Raises StoreCorrupt."""
        self._evidence = load_evidence(log)
        self._later = _load(log, LATER_FILE_NAME, _decode_later)

    def check_proof(self, log: Log, proof: Proof) -> bool:
        """True if a peer's proof of a whole tree shows a second history.

        Raises:
            InvalidProof: it shows nothing but a bad peer.
        """
        evidence = evidence_in(log, proof)
        if evidence is not None and not self.is_proven:
            keep_evidence(log, evidence)
            self._evidence = evidence
        return evidence is not None

    def check_later_fork(self, log: Log, proof: Proof) -> bool:
        """True if a peer's proof of a whole tree is the first to show a later fork than ours.

        Raises:
            InvalidProof: it shows nothing but a bad peer.
        """
        head = later_head(public_key_of(log.feed_id), log.fork, proof)
        if head is None or self._later is not None:
            return False
        self._later = LaterFork(log.shown_head, head)
        try:
            _keep_slots(log, LATER_FILE_NAME, self._later)
        except (StoreError, OSError) as error:  # known in this run; the next one asks again
            logger.error("the evidence of %s cannot be kept: %s", log.feed_id.hex(), error)
        return True

    def check_head(self, log: Log, known: Head | None, head: Head) -> bool:
        """True if a signed head that was seen is not of our history, or of that of a known one."""
        for own in (log.head, known):
            if own is not None and is_conflict(own, head):
                if not self.is_proven:
                    self._evidence = TwoHeads(own, head)
                    keep_heads(log, self._evidence)
                return True
        return False
