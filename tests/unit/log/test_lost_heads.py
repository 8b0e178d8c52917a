"""An owned feed whose heads were lost: it neither begins anew nor loses what is left of it."""

from __future__ import annotations

import pytest

from protozorfs.errors import StoreCorrupt
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    content,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
)

BLOCKS = [b"one", b"two", b"three"]
SLOT_BYTES = 512
SLOTS = 4


def closed_feed() -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    for block in BLOCKS:
        log.append([block])
    log.close()
    return files


def head_path() -> str:
    return f"{directory(MemoryFiles()).path}/head"


@pytest.mark.parametrize("left", [b"", bytes(SLOT_BYTES * SLOTS), b"x" * SLOT_BYTES * SLOTS])
def test_it_is_corrupt_and_left_as_it_is(left: bytes) -> None:
    files = closed_feed()
    heads = files.read(head_path())
    files.replace(head_path(), left)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="of 3 blocks no head is left"):
            reopen(files)
    files.replace(head_path(), heads)
    assert content(reopen(files)) == BLOCKS


@pytest.mark.parametrize("slot", range(SLOTS))
def test_one_lost_slot_is_made_up_for_by_the_others(slot: int) -> None:
    files = closed_feed()
    heads = bytearray(files.read(head_path()))
    heads[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES)
    files.replace(head_path(), bytes(heads))
    assert content(reopen(files)) == BLOCKS


def test_what_is_followed_is_fetched_again() -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    fetch(source, reader, 0)
    reader.close()
    files.replace(head_path(), b"")
    again = reopen(files)
    assert again.length == 0
    upgrade(source, again)
    assert again.length == len(BLOCKS)
