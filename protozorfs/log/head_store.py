"""The heads of one feed on disk: which are valid, and the order in which they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.log.format import decode_head_slot, encode_head_slot
from protozorfs.log.hashing import UNSIGNED, verify_head
from protozorfs.store.heads import HeadKind, read_slots, write_slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.store import File, PooledFile
    from protozorfs.store.heads import Slots
    from protozorfs.types import Head, PublicKey


class SlotHead(NamedTuple):
    """A head as it was found in a slot: whole, but its signature may not be checked yet.

    `is_paged`: it has a page of its own, which the next but one of its kind is written over.
    """

    sequence: int
    head: Head
    is_paged: bool


class StoredHeads(NamedTuple):
    """The whole slots of both kinds, newest first.

    `lost_slots` counts those that were written and of which no copy is whole: any of them may have
    held a newer head than all that are left.
    """

    signed: tuple[SlotHead, ...]
    durable: tuple[SlotHead, ...]
    lost_slots: int

    def verified(self, public_key: PublicKey, *, is_owned: bool) -> StoredHeads:
        """Those among them that the feed's key signed, or, if it is ours, was yet to sign."""
        return StoredHeads(
            tuple(
                slot
                for slot in self.signed
                if (is_owned and slot.head.signature == UNSIGNED)
                or _is_signed(slot.head, public_key)
            ),
            tuple(slot for slot in self.durable if _is_signed(slot.head, public_key)),
            self.lost_slots,
        )


class HeadStore:
    """Writes heads of one feed, each where the one before it is not."""

    def __init__(self, file: PooledFile) -> None:
        self.file = file
        self._signed_sequence = 0
        self._durable_sequence = 0
        self._unsure: SlotHead | None = None
        self._newest: SlotHead | None = None  # of signed ones, when they were read
        self._bare: list[int] = []  # parities of signed slots that do not hold one head twice

    def load(self) -> StoredHeads:
        """Reads the slots that are whole; what is written next follows them."""
        slots = read_slots(self.file)
        signed, lost_signed = _whole(HeadKind.SIGNED, slots[HeadKind.SIGNED])
        durable, lost_durable = _whole(HeadKind.DURABLE, slots[HeadKind.DURABLE])
        self._signed_sequence = signed[0].sequence if signed else 0
        self._durable_sequence = durable[0].sequence if durable else 0
        self._newest = signed[0] if signed else None
        paged = slots[HeadKind.SIGNED].paged
        self._bare = [parity for parity in range(2) if not _is_one_head(paged[parity])]
        return StoredHeads(signed, durable, lost_signed + lost_durable)

    def newest_length(self) -> int:
        """Of the newest signed head in the file; 0 without one. Raises OSError."""
        signed, _ = _whole(HeadKind.SIGNED, read_slots(self.file)[HeadKind.SIGNED])
        return signed[0].head.length if signed else 0

    @property
    def must_fill(self) -> bool:
        """Whether a write may fail in a slot without an older head, and then count all the same.

        What stands beside it may be of a later number, if it was torn by a power cut.
        """
        return bool(self._bare) and self._newest is not None

    def fill(self) -> None:
        """Writes the newest signed head there, before any other is written.

        Does not sync; `confirm_fill` is next. Feeds of format 1 have slots in which none ever was.
        """
        assert self._newest is not None
        sequence, head, _ = self._newest
        for parity in self._bare:
            record = encode_head_slot(HeadKind.SIGNED, sequence, head)
            write_slot(self.file, HeadKind.SIGNED, parity, record)

    def confirm_fill(self) -> None:
        """What `fill` wrote was synced."""
        self._bare = []

    def distrust(self, durable: SlotHead | None) -> None:
        """The durable head that an unclean run left may be in the page cache only.

        Then the slot beside it holds the newest one that is on the disk, and is not written before
        this one is safe.
        """
        self._unsure = durable if durable is not None and durable.is_paged else None

    def write_signed(self, head: Head) -> None:
        """Writes the newest head, of an owned feed perhaps yet to be signed.

        Does not sync: it survives the end of the process.
        """
        sequence = self._signed_sequence + 1
        record = encode_head_slot(HeadKind.SIGNED, sequence, head)
        write_slot(self.file, HeadKind.SIGNED, sequence, record)
        self._signed_sequence = sequence

    def rewrite_unsure(self, file: File) -> bool:
        """Writes the durable head that is not trusted again, where it is; False if there is none.

        Does not sync; `confirm_unsure` is next.
        """
        if self._unsure is None:
            return False
        sequence, head, _ = self._unsure
        write_slot(
            file,
            HeadKind.DURABLE,
            sequence,
            encode_head_slot(HeadKind.DURABLE, sequence, head),
        )
        return True

    def confirm_unsure(self) -> None:
        """What `rewrite_unsure` wrote was synced."""
        self._unsure = None

    def write_durable(self, file: File, head: Head) -> None:
        """Writes the head whose data and tree are synced, and does not sync it.

        One caller at a time; `confirm_durable` is next. Until then the same slot is written again.
        """
        sequence = self._durable_sequence + 1
        record = encode_head_slot(HeadKind.DURABLE, sequence, head)
        write_slot(file, HeadKind.DURABLE, sequence, record)

    def confirm_durable(self) -> None:
        """What `write_durable` wrote was synced."""
        self._durable_sequence += 1


def _whole(kind: HeadKind, slots: Slots) -> tuple[tuple[SlotHead, ...], int]:
    """The whole slots of a kind, newest first, and how many were lost."""
    found, lost = _decoded(kind, slots.paged, is_paged=True)
    old, lost_old = _decoded(kind, slots.old, is_paged=False)
    if not found and not lost:
        lost = lost_old  # else these are of no interest any more
    return tuple(sorted(found + old, key=lambda slot: slot.sequence, reverse=True)), lost


def _decoded(
    kind: HeadKind, slots: Iterable[tuple[bytes, ...]], *, is_paged: bool
) -> tuple[list[SlotHead], int]:
    found: list[SlotHead] = []
    lost = 0
    for copies in slots:
        whole = [slot for slot in (_decoded_copy(kind, copy) for copy in copies) if slot]
        if whole:
            found += [SlotHead(*slot, is_paged) for slot in _that_count(kind, whole)]
        else:
            lost += any(map(any, copies))
    return found, lost


def _that_count(kind: HeadKind, copies: list[tuple[int, Head]]) -> list[tuple[int, Head]]:
    """The one of a slot's whole copies that counts, if any. They differ where a write was cut off.

    Of signed heads the older: a write that failed in the middle was refused, and whoever appended
    was told so. Of durable ones the newer: all that it says was synced before it was written.
    """
    older, newer = sorted((copies[0], copies[-1]), key=_sequence_and_length)
    if kind is HeadKind.DURABLE:
        return [newer]
    is_told_apart = older[0] != newer[0] or older == newer
    return [older] if is_told_apart else []  # a refused one, and one that a power cut tore


def _sequence_and_length(copy: tuple[int, Head]) -> tuple[int, int]:
    sequence, head = copy
    return sequence, head.length


def _is_one_head(copies: tuple[bytes, ...]) -> bool:
    """Whether all copies of a signed slot are whole, and the same."""
    first = _decoded_copy(HeadKind.SIGNED, copies[0])
    return first is not None and all(copy == copies[0] for copy in copies)


def _decoded_copy(kind: HeadKind, record: bytes) -> tuple[int, Head] | None:
    try:
        slot = decode_head_slot(record)
    except DecodeError:
        return None
    return (slot.sequence, slot.head) if slot is not None and slot.kind == kind else None


def _is_signed(head: Head, public_key: PublicKey) -> bool:
    try:
        verify_head(head, public_key)
    except InvalidSignature:
        return False
    return True
