"""Repairs and cuts of one feed's files."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import NotWritable
from protozorfs.log.feed_repair import cut_feed, plan_cut, repair_feed
from protozorfs.log.format import NODE_BYTES
from protozorfs.store.heads import PAGE_BYTES, SLOT_BYTES
from protozorfs.store.memory_files import MemoryFiles, Stopped
from tests.unit.log.feed_tools import (
    FEED_ID,
    check_whole,
    create_followed,
    directory,
    fetch,
    reopen,
)
from tests.unit.log.test_feed_check import (
    BLOCKS,
    DATA,
    PATH,
    damage,
    findings,
    followed,
    owned,
    start_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = len(BLOCKS)


def repair(files: MemoryFiles) -> None:
    """Repairs; a kill afterwards takes nothing of it back, nor does a power cut."""
    repair_feed(directory(files))
    files.power_cut(random.Random(0))
    assert findings(files) == {}


@pytest.mark.parametrize("make", [owned, followed])
@pytest.mark.parametrize("is_clean", [True, False])
def test_what_can_be_computed_is_made_again(
    make: Callable[..., MemoryFiles], *, is_clean: bool
) -> None:
    for name, offset in (
        ("tree", 20 * NODE_BYTES + 9),
        ("tree", 255 * NODE_BYTES + 9),
        ("tree", 596 * NODE_BYTES + 9),
        ("head", 2 * PAGE_BYTES + 9),
        ("head", 2 * PAGE_BYTES + SLOT_BYTES + 9),
        ("bitfield", 50),
        ("clean", 50),
    ):
        files = make(is_clean=is_clean)
        if not files.exists(f"{PATH}/{name}"):
            continue
        damage(files, name, offset)
        assert set(findings(files)) - {"unclean"}, (name, offset)
        repair(files)
        check_whole(reopen(files), BLOCKS)


def test_nodes_all_over_the_tree_are_made_again() -> None:
    files = owned()
    for node in range(0, 2 * LENGTH - 1, 4):
        damage(files, "tree", node * NODE_BYTES + 9)
    repair(files)
    check_whole(reopen(files), BLOCKS)


def test_a_lost_head_that_was_not_the_newest_is_erased() -> None:
    files = owned()
    log = reopen(files)
    log.append([b"more"])
    log.close()
    pages = [page for page in (1, 2) if any(files.read(f"{PATH}/head")[page * PAGE_BYTES :][:512])]
    for page in pages:
        changed = files.clone()
        damage(changed, "head", page * PAGE_BYTES, SLOT_BYTES)
        damage(changed, "head", page * PAGE_BYTES + SLOT_BYTES, SLOT_BYTES)
        if "head-damaged" in findings(changed):
            repair(changed)
            check_whole(reopen(changed), [*BLOCKS, b"more"])


def test_blocks_of_others_are_dropped_and_can_be_fetched_again() -> None:
    source = reopen(owned())
    for is_clean in (True, False):
        files = followed(is_clean=is_clean)
        damage(files, "data", start_of(100), start_of(103) - start_of(100))
        repair(files)
        log = reopen(files)
        assert log.held.count(0, LENGTH) == LENGTH - 3
        for block in range(100, 103):
            fetch(source, log, block)
        check_whole(log, BLOCKS)


def test_nodes_that_are_lost_go_with_what_is_below_them_and_can_be_fetched_again() -> None:
    source, files = reopen(owned()), followed()
    damage(files, "tree", 21 * NODE_BYTES, 4 * NODE_BYTES)
    repair(files)
    log = reopen(files)
    for block in range(LENGTH):
        if not log.held.get(block):
            fetch(source, log, block)
    check_whole(log, BLOCKS)


def test_an_unclean_feed_is_closed_by_a_repair() -> None:
    for make in (owned, followed):
        files = make(is_clean=False)
        repair(files)
        check_whole(reopen(files), BLOCKS)


def cut_at(block: int, *, is_clean: bool = True) -> MemoryFiles:
    files = owned(is_clean=is_clean)
    damage(files, "data", start_of(block))
    return files


@pytest.mark.parametrize("block", [0, 1, 7, 128, 298])
def test_a_cut_leaves_the_whole_beginning_and_keeps_the_rest_aside(block: int) -> None:
    for is_clean in (True, False):
        files = cut_at(block, is_clean=is_clean)
        before = files.read(f"{PATH}/data")
        planned = plan_cut(directory(files))
        assert planned == (block, start_of(block), LENGTH)
        assert files.read(f"{PATH}/data") == before
        assert cut_feed(directory(files)) == planned
        files.power_cut(random.Random(0))
        assert findings(files) == {}
        assert files.read(f"{PATH}/data.{start_of(block)}.cut") == before[start_of(block) :]
        log = reopen(files)
        check_whole(log, BLOCKS[:block])
        log.append([b"on and on"])
        log.close()
        check_whole(reopen(files), [*BLOCKS[:block], b"on and on"])


def test_a_feed_without_heads_is_cut_to_the_blocks_that_fit_their_leaves() -> None:
    for damaged in (None, 200):
        files = owned() if damaged is None else cut_at(damaged)
        files.open(f"{PATH}/head").truncate(0)
        length = LENGTH if damaged is None else damaged
        assert plan_cut(directory(files)) == (length, start_of(length), None)
        cut_feed(directory(files))
        check_whole(reopen(files), BLOCKS[:length])
        assert findings(files) == {}


def test_a_feed_without_roots_is_cut_to_what_is_whole() -> None:
    files = owned()
    damage(files, "tree", 127 * NODE_BYTES, 200 * NODE_BYTES)
    cut_feed(directory(files))
    check_whole(reopen(files), BLOCKS[:64])


def test_a_cut_that_is_interrupted_leaves_the_feed_as_it_was_or_as_it_will_be() -> None:
    whole = cut_at(100)
    before = whole.operations
    cut_feed(directory(done := whole.clone()))
    for operation in range(before, done.operations):
        for cuts_power in (False, True):
            files = whole.clone()
            files.fail_at(operation)
            with pytest.raises(Stopped):
                cut_feed(directory(files))
            files.power_cut(random.Random(operation)) if cuts_power else files.kill()
            log = reopen(files)
            assert log.length in (100, LENGTH)
            assert [log.block(index) for index in range(100)] == BLOCKS[:100]
            aside = files.exists(f"{PATH}/data.{start_of(100)}.cut")
            assert aside or files.read(f"{PATH}/data")[start_of(101) :] == DATA[start_of(101) :]


def test_only_ones_own_feed_can_be_cut() -> None:
    with pytest.raises(NotWritable):
        cut_feed(directory(followed()))
    with pytest.raises(NotWritable):
        plan_cut(create_followed(MemoryFiles()).directory)
    assert directory(followed()).feed_id == FEED_ID


def test_a_repair_of_an_older_state_does_not_make_it_the_newest() -> None:
    files = owned(is_clean=True)
    file = files.open(f"{PATH}/data")
    file.pwrite(DATA, 0)
    assert directory(files).displacement()
    repair(files)
    assert directory(files).displacement()
    assert reopen(files).displacement()
