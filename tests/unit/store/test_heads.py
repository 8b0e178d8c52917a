from __future__ import annotations

import random

import pytest

from protozorfs.store.heads import SLOT_BYTES, HeadKind, read_slots, write_slot
from protozorfs.store.memory_files import MemoryFiles


def test_a_write_leaves_the_record_before_it_and_the_other_pair() -> None:
    file = MemoryFiles().open("head", create=True)
    assert read_slots(file, HeadKind.DURABLE) == (bytes(512), bytes(512))
    for sequence in range(1, 6):
        write_slot(file, HeadKind.SIGNED, sequence, b"%d" % sequence * SLOT_BYTES)
        write_slot(file, HeadKind.DURABLE, sequence, b"%d" % (sequence + 3) * SLOT_BYTES)
        newest = b"%d" % sequence * SLOT_BYTES
        assert newest in read_slots(file, HeadKind.SIGNED)
        if sequence > 1:
            before = b"%d" % (sequence - 1) * SLOT_BYTES
            assert before in read_slots(file, HeadKind.SIGNED)
    assert set(read_slots(file, HeadKind.DURABLE)) == {b"7" * SLOT_BYTES, b"8" * SLOT_BYTES}


@pytest.mark.parametrize("seed", range(10))
def test_a_power_cut_in_a_write_keeps_the_one_before(seed: int) -> None:
    files = MemoryFiles()
    file = files.open("head", create=True)
    files.sync_dir("")
    write_slot(file, HeadKind.DURABLE, 7, b"7" * SLOT_BYTES)
    file.fdatasync()
    write_slot(file, HeadKind.DURABLE, 8, b"8" * SLOT_BYTES)
    files.power_cut(random.Random(seed))
    even, odd = read_slots(files.open("head"), HeadKind.DURABLE)
    assert odd == b"7" * SLOT_BYTES
    assert even in (bytes(SLOT_BYTES), b"8" * SLOT_BYTES)


def test_a_record_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="512"):
        write_slot(MemoryFiles().open("head", create=True), HeadKind.SIGNED, 1, b"short")
