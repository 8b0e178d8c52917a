"""An owned feed whose heads were lost: it neither begins anew nor loses what is left of it."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreCorrupt
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import PAGE_BYTES
from protozorfs.store.memory_files import Stopped
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

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCKS = [b"one", b"two", b"three"]
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


@pytest.mark.parametrize("left", [b"", bytes(5 * PAGE_BYTES), b"x" * 5 * PAGE_BYTES])
def test_it_is_corrupt_and_left_as_it_is(left: bytes) -> None:
    files = closed_feed()
    heads = files.read(head_path())
    files.replace(head_path(), left)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="no head of the feed is left"):
            reopen(files)
    files.replace(head_path(), heads)
    assert content(reopen(files)) == BLOCKS


@pytest.mark.parametrize("slot", range(SLOTS))
def test_one_lost_slot_is_made_up_for_by_the_others(slot: int) -> None:
    files = closed_feed()
    heads = bytearray(files.read(head_path()))
    heads[(slot + 1) * PAGE_BYTES : (slot + 2) * PAGE_BYTES] = bytes(PAGE_BYTES)
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


def killed_feed() -> MemoryFiles:
    """Two blocks are durable, one is not."""
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"one"])
    log.sync()
    log.append([b"two"])
    log.sync()
    log.append([b"three"])
    files.kill()
    return files


def damage(files: MemoryFiles, slots: Iterable[int]) -> None:
    """Overwrites all copies of these slots, in the order of the file."""
    file = files.open(head_path())
    for slot in slots:
        file.pwrite(b"\xff" * 1024, (1 + slot) * PAGE_BYTES)


@pytest.mark.parametrize("left", [b"", bytes(5 * PAGE_BYTES), b"x" * 5 * PAGE_BYTES])
def test_after_a_kill_a_feed_without_heads_is_corrupt_and_left_as_it_is(left: bytes) -> None:
    files = killed_feed()
    heads = files.read(head_path())
    files.replace(head_path(), left)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="no head of the feed is left"):
            reopen(files)
    files.replace(head_path(), heads)
    assert content(reopen(files)) == BLOCKS


def test_any_one_bad_bit_of_the_heads_loses_nothing() -> None:
    files = killed_feed()
    heads = files.read(head_path())
    for at in range(0, len(heads), 23):
        bad = bytearray(heads)
        bad[at] ^= 1 << at % 8
        files.replace(head_path(), bytes(bad))
        log = reopen(files)
        assert content(log) == BLOCKS
        assert not log.may_lack_heads
        files.kill()


@pytest.mark.parametrize(
    "slots", [(0,), (1,), (0, 1), (2,), (3,), (2, 3), (0, 3), (1, 2), (0, 1, 3)]
)
def test_what_lost_heads_may_have_covered_is_kept_aside(slots: tuple[int, ...]) -> None:
    files = killed_feed()
    data, tree = (files.read(head_path().replace("head", name)) for name in ("data", "tree"))
    damage(files, slots)
    log = reopen(files)
    assert log.may_lack_heads
    assert content(log) == BLOCKS[: log.length]
    for name, before in (("data", data), ("tree", tree)):
        kept = log.directory.files.read(f"{log.directory.path}/{name}")
        aside = [
            entry
            for entry in log.directory.files.listdir(log.directory.path)
            if entry.startswith(f"{name}.")
        ]
        assert len(aside) <= 1
        for entry in aside:
            start = int(entry.split(".")[1])
            cut = log.directory.files.read(f"{log.directory.path}/{entry}")
            kept = kept[:start] + cut
        assert kept == before


def test_an_owned_feed_has_a_durable_head_from_the_start() -> None:
    files = MemoryFiles()
    create_owned(files)
    files.power_cut(random.Random(1))
    log = reopen(files)
    assert (log.length, log.may_lack_heads) == (0, False)
    files.replace(head_path(), b"")
    log.append([b"one"])
    files.kill()
    files.replace(head_path(), b"")
    with pytest.raises(StoreCorrupt):
        reopen(files)


@pytest.mark.parametrize("stop", range(4, 12))
def test_a_head_stays_where_only_the_page_cache_says_that_there_are_no_blocks(stop: int) -> None:
    """A killed recovery has cut off what a first append left, and a power cut brings it back."""
    for seed in range(12):
        files = MemoryFiles()
        log = create_owned(files)
        files.fail_at(files.operations + 1)
        with pytest.raises(Stopped):
            log.append([b"x" * 300] * 5)
        files.kill()
        files.fail_at(files.operations + 7)
        with suppress(Stopped):
            reopen(files)
        files.kill()
        files.fail_at(files.operations + stop)
        with suppress(Stopped):
            reopen(files)
        files.fail_at(None)
        files.power_cut(random.Random(seed))
        reopen(files).append([b"new"])


def test_beside_the_mark_of_a_clean_stop_an_older_head_is_corrupt_and_left_as_it_is() -> None:
    refused: list[str] = []
    for signed, durable in itertools.product((0, 1), (2, 3)):
        files = closed_feed()
        for slot in (signed, durable):
            for at in ((1 + slot) * PAGE_BYTES, (1 + slot) * PAGE_BYTES + 512):  # both copies
                files.flip_bit(head_path(), 8 * at)
        heads = files.read(head_path())
        try:
            assert content(reopen(files)) == BLOCKS
        except StoreCorrupt as error:
            refused.append(str(error))
            assert files.read(head_path()) == heads
    assert len(refused) == 1
    assert "of 3 blocks no head is left" in refused[0]


def test_one_that_was_put_there_is_an_older_state_and_what_it_lacks_is_kept_aside() -> None:
    """As by a backup of a running store, restored over a store that was stopped."""
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"one"])
    log.sync()
    older = files.read(head_path())
    for block in BLOCKS[1:]:
        log.append([block])
    log.close()
    assert not directory(files).displacement()
    files.replace(head_path(), older)
    for _ in range(2):
        log = reopen(files)
        assert content(log) == BLOCKS[:1]
        assert log.displacement()
        log.close()
    aside = f"{directory(files).path}/data.{len(b'one')}.cut"
    assert files.read(aside) == b"twothree"


def test_what_a_run_writes_puts_no_restored_file_back_in_its_place() -> None:
    """A write gives a file that was restored the times of one that was written."""
    files = closed_feed()
    data = files.open(f"{directory(files).path}/data")
    data.set_modified(1)  # as restoring it does
    log = reopen(files)
    assert "has changed its file 'data'" in log.displacement()
    log._files.before_write()
    log.append([b"four"])
    log.close()
    assert "before" in reopen(files).displacement()
