"""The head file: two records of what is signed, two of what is also durable.

    offset  size
         0   512   signed, even sequence numbers
       512   512   signed, odd
      1024   512   durable, even
      1536   512   durable, odd

A record is one disk sector and carries its sequence number; the next one goes where the previous is
not, so a torn write never loses that one. What a record holds is its owner's affair (`log.format`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protozorfs.store.files import File

SLOT_BYTES = 512


class HeadKind(IntEnum):
    """Which pair of slots. `SIGNED` survives the end of the process, `DURABLE` a power cut."""

    SIGNED = 0
    DURABLE = 1


def read_slots(file: File, kind: HeadKind) -> tuple[bytes, bytes]:
    """Both records of a kind; a missing one is zeros."""
    start = kind * 2 * SLOT_BYTES
    both = file.pread(2 * SLOT_BYTES, start).ljust(2 * SLOT_BYTES, b"\0")
    return both[:SLOT_BYTES], both[SLOT_BYTES:]


def write_slot(file: File, kind: HeadKind, sequence: int, record: bytes) -> None:
    """Writes one record where the record before it (`sequence - 1`) is not. Does not sync."""
    if len(record) != SLOT_BYTES:
        raise ValueError(f"a head record has {SLOT_BYTES} bytes, not {len(record)}")
    file.pwrite(record, (kind * 2 + sequence % 2) * SLOT_BYTES)
