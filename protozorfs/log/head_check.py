"""Checks the head file of one feed, every copy of every slot and its signature, and mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.ids import public_key_of
from protozorfs.log.at_rest import decode_at_rest
from protozorfs.log.format import decode_head_slot, encode_head_slot
from protozorfs.log.hashing import UNSIGNED, verify_head
from protozorfs.log.head_store import HeadStore
from protozorfs.store.findings import Finding, Kind, Remedy, Severity
from protozorfs.store.heads import (
    SLOT_BYTES,
    HeadKind,
    old_slot_offset,
    read_slots,
    slot_offset,
)
from protozorfs.store.layout import CLEAN_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.log.format import HeadSlot
    from protozorfs.store import FeedDirectory
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


def newest_head(directory: FeedDirectory, *, has_key: bool) -> Head | None:
    """The newest head that the feed's key has signed, or, if it is here, is yet to sign."""
    heads = HeadStore(directory.file("head")).load()
    heads = heads.verified(public_key_of(directory.feed_id), is_owned=has_key)
    whole = [slot.head for slot in heads.signed[:1] + heads.durable[:1]]
    return max(whole, key=lambda head: (head.fork, head.length), default=None)


class _Slot(NamedTuple):
    """One slot of the head file.

    Attributes:
        name: for people.
        offset: of its first copy, in bytes.
        copies: as they are in the file.
        whole: the copy that counts; None if there is none that the feed's key has signed.
        is_lost: something was written there, and nothing of it counts.
    """

    name: str
    offset: int
    copies: tuple[bytes, ...]
    whole: HeadSlot | None
    is_lost: bool


def check_heads(directory: FeedDirectory, *, is_owned: bool) -> Iterator[Finding]:
    """Every slot that is damaged, or that the feed's key has not signed.

    `is_owned`: the newest head may be yet to be signed.
    """
    slots = _slots(directory, is_owned=is_owned)
    kind_of_loss = HEAD_DAMAGED
    if is_owned and _newest_length(slots) < _length_of_mark(directory):
        kind_of_loss = OWN_HEAD_DAMAGED
    for slot in slots:
        if slot.is_lost or _has_bad_copy(slot):
            yield Finding(
                kind=kind_of_loss if slot.is_lost else HEAD_COPY_DAMAGED,
                path=f"{directory.path}/head",
                what=f"{slot.name} is damaged",
                feed_id=directory.feed_id,
            )


def mend_heads(directory: FeedDirectory, *, is_owned: bool) -> None:
    """Writes damaged copies again from whole ones, and erases slots that are lost; durable.

    Only where no lost one can have been the newest. A copy is written where it is damaged only: a
    write that is torn never meets the one that is whole.
    """
    file = directory.file("head")
    is_changed = False
    for slot in _slots(directory, is_owned=is_owned):
        right = bytes(SLOT_BYTES)
        if slot.whole is not None:
            right = encode_head_slot(slot.whole.kind, slot.whole.sequence, slot.whole.head)
        elif not slot.is_lost:
            continue
        for number, copy in enumerate(slot.copies):
            if copy != right:
                file.pwrite(right, slot.offset + number * SLOT_BYTES)
                is_changed = True
    if is_changed:
        file.fdatasync()


def _slots(directory: FeedDirectory, *, is_owned: bool) -> list[_Slot]:
    """All slots that count: those with pages of their own, or of format 1 where there are none."""
    public_key = public_key_of(directory.feed_id)
    found = []
    for kind, slots in read_slots(directory.file("head")).items():
        is_paged = any(any(copy) for copies in slots.paged for copy in copies)
        for parity, copies in enumerate(slots.paged if is_paged else slots.old):
            may_be_unsigned = is_owned and kind is HeadKind.SIGNED
            whole = _whole(copies, kind, public_key, may_be_unsigned=may_be_unsigned)
            is_lost = whole is None and any(map(any, copies))
            name = f"the {_PARITIES[parity]} slot of {kind.name.lower()} heads"
            offset = slot_offset(kind, parity) if is_paged else old_slot_offset(kind, parity)
            found.append(_Slot(name, offset, copies, whole, is_lost))
    return found


_PARITIES = ("even", "odd")


def _whole(
    copies: tuple[bytes, ...], kind: HeadKind, public_key: PublicKey, *, may_be_unsigned: bool
) -> HeadSlot | None:
    decoded = (_decoded(copy) for copy in copies)
    whole = [
        slot
        for slot in decoded
        if slot is not None
        and slot.kind is kind
        and _is_signed(slot.head, public_key, may_be_unsigned=may_be_unsigned)
    ]
    return max(whole, key=lambda slot: slot.sequence, default=None)


def _has_bad_copy(slot: _Slot) -> bool:
    return slot.whole is not None and any(_decoded(copy) != slot.whole for copy in slot.copies)


def _decoded(copy: bytes) -> HeadSlot | None:
    try:
        return decode_head_slot(copy)
    except DecodeError:
        return None


def _newest_length(slots: list[_Slot]) -> int:
    return max((slot.whole.head.length for slot in slots if slot.whole is not None), default=-1)


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
