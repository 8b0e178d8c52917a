"""The files of evidence that a feed's key signed another history, kept beside the feed for ever.

What they mean is for `conflicts`.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from protozorfs.errors import DecodeError, InvalidProof, StoreCorrupt, StoreError
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import Evidence, proven_histories
from protozorfs.log.format import (
    decode_evidence,
    decode_head_slot,
    encode_evidence,
    encode_head_slot,
)
from protozorfs.log.hashing import verify_head
from protozorfs.store.heads import SLOT_BYTES, HeadKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.log.feed import Log
    from protozorfs.store.layout import FeedDirectory
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
    """A head of a later fork than ours, and what ours was (None: we had appended nothing yet)."""

    own: Head | None
    later: Head


def is_conflict(own: Head, other: Head) -> bool:
    """True if two signed heads cannot both be of one history."""
    return (own.fork, own.length) == (other.fork, other.length) and (
        own.tree_hash != other.tree_hash
    )


def load_proofs(directory: FeedDirectory) -> Evidence | None:
    """The proofs of two histories of one fork that are kept, checked again; None if none are.

    Raises:
        StoreCorrupt: a file is there and proves nothing.
    """
    return _load(directory, FILE_NAME, _decode_proofs)


def load_two_heads(directory: FeedDirectory) -> TwoHeads | None:
    """The same, of two heads of one length."""
    return _load(directory, HEADS_FILE_NAME, _decode_heads)


def load_later_fork(directory: FeedDirectory) -> LaterFork | None:
    """The same, of a head of a later fork."""
    return _load(directory, LATER_FILE_NAME, _decode_later)


def file_name(found: Evidence | TwoHeads | LaterFork) -> str:
    """The name of the file that has it."""
    if isinstance(found, Evidence):
        return FILE_NAME
    return LATER_FILE_NAME if isinstance(found, LaterFork) else HEADS_FILE_NAME


def keep(log: Log, found: Evidence | TwoHeads | LaterFork) -> None:
    """Writes evidence, durably.

    Where that cannot be, it counts in this run, and the next one asks again: a full disk is no
    reason to forget it, or to end.
    """
    content = encode_evidence(found) if isinstance(found, Evidence) else _encode_slots(found)
    try:
        log.keep_beside(file_name(found), content)
    except (StoreError, OSError) as error:
        logger.error("the evidence of feed %s cannot be kept: %s", log.feed_id.hex(), error)


def _encode_slots(heads: Iterable[Head | None]) -> bytes:
    return b"".join(
        bytes(SLOT_BYTES) if head is None else encode_head_slot(HeadKind.SIGNED, number, head)
        for number, head in enumerate(heads)
    )


def _load(directory: FeedDirectory, name: str, decode: Callable[[bytes, PublicKey], T]) -> T | None:
    path = f"{directory.path}/{name}"
    try:
        data = directory.files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise StoreCorrupt(path, 0, "the disk cannot read it") from error
    try:
        return decode(data, public_key_of(directory.feed_id))
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
    if own is None and any(data[:SLOT_BYTES]):
        raise DecodeError("a damaged head of our own")
    if later is None or later.head.fork <= (own.head.fork if own is not None else 0):
        raise DecodeError("no head of a later fork")
    for slot in (own, later):
        if slot is not None:
            verify_head(slot.head, public_key)
    return LaterFork(own.head if own is not None else None, later.head)


def _decode_proofs(data: bytes, public_key: PublicKey) -> Evidence:
    evidence = decode_evidence(data)
    if proven_histories(public_key, evidence) is None:
        raise DecodeError("two proofs of one history")
    return evidence
