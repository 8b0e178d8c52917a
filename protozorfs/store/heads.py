"""The head file: two records of what is signed, two of what is also durable.

    offset  size
         0  2048   four records of format 1: signed even, signed odd, durable even, durable odd
      4096  4096   signed, even sequence numbers
      8192  4096   signed, odd
     12288  4096   durable, even
     16384  4096   durable, odd

A record has 512 bytes, one disk sector, and its sequence number; the next one goes where the
previous is not, so a torn write never loses that one. Each has a page of its own, so that none is
written again with another, and stands in it twice, at bytes 0 and 512: one bad sector loses none.
Where both are whole and differ, a write was cut off: the reader decides which counts. The records
of format 1 are read where there are no others, and never written again. What a record holds is its
owner's affair (`log.format`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from protozorfs.store.files import File

SLOT_BYTES = 512
PAGE_BYTES = 4096
COPIES = 2
_PAGES = 5


class HeadKind(IntEnum):
    """Which pair of slots. `SIGNED` survives the end of the process, `DURABLE` a power cut."""

    SIGNED = 0
    DURABLE = 1


class Slots(NamedTuple):
    """The slots of one kind; each is a tuple of its copies, and a missing one is zeros."""

    paged: tuple[tuple[bytes, ...], ...]
    old: tuple[tuple[bytes, ...], ...]  # of format 1


def read_slots(file: File) -> dict[HeadKind, Slots]:
    """The slots of each kind, even sequence numbers first."""
    content = file.pread(_PAGES * PAGE_BYTES, 0).ljust(_PAGES * PAGE_BYTES, b"\0")
    return {
        kind: Slots(
            tuple(_copies(content, slot_offset(kind, parity), COPIES) for parity in range(2)),
            tuple(_copies(content, old_slot_offset(kind, parity), 1) for parity in range(2)),
        )
        for kind in HeadKind
    }


def write_slot(file: File, kind: HeadKind, sequence: int, record: bytes) -> None:
    """Writes one record where the record before it (`sequence - 1`) is not. Does not sync."""
    if len(record) != SLOT_BYTES:
        raise ValueError(f"a head record has {SLOT_BYTES} bytes, not {len(record)}")
    file.pwrite(record * COPIES, slot_offset(kind, sequence))


def slot_offset(kind: HeadKind, sequence: int) -> int:
    """Where the record of that sequence number is, in bytes."""
    return (1 + 2 * kind + sequence % 2) * PAGE_BYTES


def old_slot_offset(kind: HeadKind, sequence: int) -> int:
    """Where a store of format 1 has it."""
    return (2 * kind + sequence % 2) * SLOT_BYTES


def _copies(content: bytes, start: int, count: int) -> tuple[bytes, ...]:
    return tuple(
        content[at : at + SLOT_BYTES] for at in range(start, start + count * SLOT_BYTES, SLOT_BYTES)
    )
