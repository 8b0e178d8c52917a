"""The evidence that a feed's key signed two histories, kept beside the feed for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.errors import DecodeError, InvalidProof, StoreCorrupt
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import check_evidence, find_conflict
from protozorfs.log.format import decode_evidence, encode_evidence
from protozorfs.log.tree import TreeState

if TYPE_CHECKING:
    from protozorfs.log.conflict import Evidence
    from protozorfs.log.feed import Log
    from protozorfs.log.proof_types import Proof

FILE_NAME = "evidence"


def load_evidence(log: Log) -> Evidence | None:
    """What is kept, checked again; None if nothing is.

    Raises:
        StoreCorrupt: the file is there and proves nothing.
    """
    path = f"{log.directory.path}/{FILE_NAME}"
    try:
        data = log.directory.files.read(path)
    except FileNotFoundError:
        return None
    try:
        evidence = decode_evidence(data)
        is_proof = check_evidence(public_key_of(log.feed_id), evidence)
    except (DecodeError, InvalidProof) as error:
        raise StoreCorrupt(path, 0, str(error)) from error
    if not is_proof:
        raise StoreCorrupt(path, 0, "two proofs of one history")
    return evidence


def keep_evidence(log: Log, evidence: Evidence) -> None:
    """Writes it, durably."""
    log.directory.files.replace(f"{log.directory.path}/{FILE_NAME}", encode_evidence(evidence))


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
