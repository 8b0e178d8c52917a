"""Checks the head file of one feed: every copy of every slot, and the signatures in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.ids import public_key_of
from protozorfs.log.at_rest import decode_at_rest
from protozorfs.log.format import decode_head_slot
from protozorfs.log.hashing import UNSIGNED, verify_head
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.heads import HeadKind, read_slots
from protozorfs.store.layout import CLEAN_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.log.format import HeadSlot
    from protozorfs.store import FeedDirectory
    from protozorfs.store.heads import Slots
    from protozorfs.types import Head, PublicKey

HEAD_COPY_DAMAGED = Kind(
    code="head-copy-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="nothing is lost: the head stands there twice",
    advice="a repair writes it again from the other copy",
)
HEAD_DAMAGED = Kind(
    code="head-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.REPAIR,
    meaning="nothing is lost: a newer head, or one as new, is whole",
    advice="a repair writes the newest head there",
)
OWN_HEAD_DAMAGED = Kind(
    code="own-head-damaged",
    severity=Severity.ERROR,
    remedy=Remedy.NONE,
    meaning="it may have been newer than all that are left; blocks that it alone covered are cut"
    " off by the next start, and kept aside",
    advice="mount the store while the network is there: before the first append it asks peers for a"
    " newer head",
)


class _Copy(NamedTuple):
    """One copy of a slot: empty, whole, or, with neither, damaged."""

    is_empty: bool
    slot: HeadSlot | None


def check_heads(directory: FeedDirectory, *, is_owned: bool) -> Iterator[Finding]:
    """Every slot that is damaged, or that the feed's key has not signed.

    `is_owned`: its key is here, so that the newest head may be yet to be signed.
    """
    slots = read_slots(directory.file("head"))
    newest = _newest_length(slots)
    kind_of_loss = HEAD_DAMAGED
    if is_owned and newest < _length_of_mark(directory):
        kind_of_loss = OWN_HEAD_DAMAGED
    public_key = public_key_of(directory.feed_id)
    for kind in HeadKind:
        for number, copies in enumerate(_slots_that_count(slots[kind])):
            found = [_decoded(copy, kind) for copy in copies]
            what = f"the {'odd' if number else 'even'} slot of {_NAMES[kind]} heads"
            finding = _check_slot(found, public_key, kind_of_loss, is_owned=is_owned)
            if finding is not None:
                yield Finding(
                    kind=finding,
                    path=f"{directory.path}/head",
                    what=f"{what} is damaged",
                    feed_id=directory.feed_id,
                )


_NAMES = {HeadKind.SIGNED: "signed", HeadKind.DURABLE: "durable"}


def _check_slot(
    copies: list[_Copy], public_key: PublicKey, kind_of_loss: Kind, *, is_owned: bool
) -> Kind | None:
    whole = [copy.slot for copy in copies if copy.slot is not None]
    may_be_unsigned = is_owned and all(slot.kind is HeadKind.SIGNED for slot in whole)
    if not whole:
        return None if all(copy.is_empty for copy in copies) else kind_of_loss
    newest = max(whole, key=lambda slot: slot.sequence)
    if not _is_signed(newest.head, public_key, may_be_unsigned=may_be_unsigned):
        return kind_of_loss
    return None if all(copy.slot == newest for copy in copies) else HEAD_COPY_DAMAGED


def _decoded(copy: bytes, kind: HeadKind) -> _Copy:
    try:
        slot = decode_head_slot(copy)
    except DecodeError:
        return _Copy(False, None)
    return _Copy(slot is None, slot if slot is not None and slot.kind is kind else None)


def _slots_that_count(slots: Slots) -> tuple[tuple[bytes, ...], ...]:
    """Those with pages of their own; the slots of format 1 where these were never written."""
    is_paged = any(any(copy) for copies in slots.paged for copy in copies)
    return slots.paged if is_paged else slots.old


def _newest_length(slots: dict[HeadKind, Slots]) -> int:
    copies = (
        _decoded(copy, kind).slot
        for kind in HeadKind
        for copies in _slots_that_count(slots[kind])
        for copy in copies
    )
    return max((slot.head.length for slot in copies if slot is not None), default=-1)


def _length_of_mark(directory: FeedDirectory) -> float:
    """How long the feed was at its last clean stop; without one, any length is possible."""
    try:
        return decode_at_rest(directory.files.read(f"{directory.path}/{CLEAN_FILE}")).length
    except (FileNotFoundError, DecodeError):
        return float("inf")


def _is_signed(head: Head, public_key: PublicKey, *, may_be_unsigned: bool) -> bool:
    if may_be_unsigned and head.signature == UNSIGNED:
        return True
    try:
        verify_head(head, public_key)
    except InvalidSignature:
        return False
    return True
