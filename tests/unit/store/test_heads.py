from __future__ import annotations

import random

import pytest

from protozorfs.store.heads import (
    PAGE_BYTES,
    SLOT_BYTES,
    HeadKind,
    Slots,
    read_slots,
    slot_offset,
    write_slot,
)
from protozorfs.store.memory_files import MemoryFiles


def record(number: int) -> bytes:
    return b"%d" % number * SLOT_BYTES


EMPTY = bytes(SLOT_BYTES)


def test_a_write_leaves_the_record_before_it_and_the_other_pair() -> None:
    file = MemoryFiles().open("head", create=True)
    none = ((EMPTY, EMPTY), (EMPTY, EMPTY))
    assert read_slots(file) == dict.fromkeys(HeadKind, Slots(none, ((EMPTY,), (EMPTY,))))
    for sequence in range(1, 6):
        write_slot(file, HeadKind.SIGNED, sequence, record(sequence))
        write_slot(file, HeadKind.DURABLE, sequence, record(sequence + 3))
        signed = read_slots(file)[HeadKind.SIGNED].paged
        assert (record(sequence), record(sequence)) in signed
        if sequence > 1:
            assert (record(sequence - 1), record(sequence - 1)) in signed
    durable = read_slots(file)[HeadKind.DURABLE].paged
    assert durable == ((record(7), record(7)), (record(8), record(8)))


def test_no_two_slots_share_a_page() -> None:
    offsets = {slot_offset(kind, parity) for kind in HeadKind for parity in (4, 5)}
    assert offsets == {PAGE_BYTES * number for number in (1, 2, 3, 4)}


def test_slots_of_format_1_are_read() -> None:
    file = MemoryFiles().open("head", create=True)
    file.pwrite(b"".join(map(record, range(1, 5))), 0)
    slots = read_slots(file)
    assert slots[HeadKind.SIGNED].old == ((record(1),), (record(2),))
    assert slots[HeadKind.DURABLE].old == ((record(3),), (record(4),))


@pytest.mark.parametrize("seed", range(10))
def test_a_power_cut_in_a_write_keeps_the_one_before(seed: int) -> None:
    files = MemoryFiles()
    file = files.open("head", create=True)
    files.sync_dir("")
    write_slot(file, HeadKind.DURABLE, 7, record(7))
    file.fdatasync()
    write_slot(file, HeadKind.DURABLE, 8, record(8))
    files.power_cut(random.Random(seed))
    even, odd = read_slots(files.open("head"))[HeadKind.DURABLE].paged
    assert odd == (record(7), record(7))
    assert {*even} <= {EMPTY, record(8)}


def test_a_record_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="512"):
        write_slot(MemoryFiles().open("head", create=True), HeadKind.SIGNED, 1, b"short")
