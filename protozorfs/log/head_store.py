"""The heads of one feed on disk: which are valid, and the order in which they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.log.format import decode_head_slot, encode_head_slot
from protozorfs.log.hashing import UNSIGNED, verify_head
from protozorfs.store.heads import HeadKind, read_slots, write_slot

if TYPE_CHECKING:
    from protozorfs.store import File, PooledFile
    from protozorfs.types import Head, PublicKey


class SlotHead(NamedTuple):
    """A head as it was found in a slot: whole, but its signature may not be checked yet."""

    sequence: int
    head: Head


class StoredHeads(NamedTuple):
    """The whole slots of both kinds, newest first; none, one or two of each."""

    signed: tuple[SlotHead, ...]
    durable: tuple[SlotHead, ...]

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
        )


class HeadStore:
    """Writes heads of one feed, each where the one before it is not."""

    def __init__(self, file: PooledFile) -> None:
        self.file = file
        self._signed_sequence = 0
        self._durable_sequence = 0

    def load(self) -> StoredHeads:
        """Reads the slots that are whole; what is written next follows them."""
        signed, durable = self._whole(HeadKind.SIGNED), self._whole(HeadKind.DURABLE)
        self._signed_sequence = signed[0].sequence if signed else 0
        self._durable_sequence = durable[0].sequence if durable else 0
        return StoredHeads(signed, durable)

    def write_signed(self, head: Head) -> None:
        """Writes the newest head, of an owned feed perhaps yet to be signed.

        Does not sync: it survives the end of the process.
        """
        sequence = self._signed_sequence + 1
        record = encode_head_slot(HeadKind.SIGNED, sequence, head)
        write_slot(self.file, HeadKind.SIGNED, sequence, record)
        self._signed_sequence = sequence

    def write_durable(self, file: File, head: Head) -> None:
        """Writes and syncs the head whose data and tree are synced. One caller at a time."""
        sequence = self._durable_sequence + 1
        record = encode_head_slot(HeadKind.DURABLE, sequence, head)
        write_slot(file, HeadKind.DURABLE, sequence, record)
        file.fdatasync()
        self._durable_sequence = sequence

    def _whole(self, kind: HeadKind) -> tuple[SlotHead, ...]:
        found = [_decoded(kind, record) for record in read_slots(self.file, kind)]
        heads = [slot for slot in found if slot is not None]
        return tuple(sorted(heads, key=lambda slot: slot.sequence, reverse=True))


def _decoded(kind: HeadKind, record: bytes) -> SlotHead | None:
    # A torn slot is what a power cut leaves; the slot beside it, and recovery, make up for it.
    try:
        slot = decode_head_slot(record)
    except DecodeError:
        return None
    return SlotHead(slot.sequence, slot.head) if slot is not None and slot.kind == kind else None


def _is_signed(head: Head, public_key: PublicKey) -> bool:
    try:
        verify_head(head, public_key)
    except InvalidSignature:
        return False
    return True
