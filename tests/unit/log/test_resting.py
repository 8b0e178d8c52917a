"""Files that nobody writes to are marked clean while the feed is open."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from protozorfs.log.feed import Log
from protozorfs.log.format import NODE_BYTES
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import Stopped
from tests.simulation.store_scenarios import NOTHING_IS_LEFT
from tests.unit.log.feed_tools import (
    check_all,
    check_whole,
    content,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCKS = [b"%d" % number * 40 for number in range(30)]


def rest(log: Log) -> bool:
    pending = log.begin_rest()
    if pending is None:
        return False
    try:
        pending.run()
    finally:
        log.end_rest(pending)
    return log.directory.is_marked_clean()


def owned(files: MemoryFiles) -> Log:
    log = create_owned(files)
    log.append(BLOCKS)
    log.sync()
    return log


def followed(files: MemoryFiles) -> Log:
    source, log = owned_with(BLOCKS), reopen(files)
    upgrade(source, log)
    for index in range(10):
        fetch(source, log, index)
    log.drop(3, 5)
    log.sync()
    return log


def in_doubt(log: Log) -> list[tuple[int, int]]:
    return list(log.in_doubt.ranges(0, log.length))


def test_a_kill_costs_a_feed_at_rest_nothing() -> None:
    files = MemoryFiles()
    log = owned(files)
    assert rest(log)
    assert not rest(log), "once is enough"
    files.kill()
    log = reopen(files)
    assert in_doubt(log) == []
    assert log.durable_head == log.head
    check_whole(log, BLOCKS)
    files = MemoryFiles()
    assert rest(followed(files))
    files.kill()
    log = reopen(files)
    assert in_doubt(log) == []
    assert list(log.held.ranges(0, 30)) == [(0, 3), (5, 10)]
    assert log.held_bytes == sum(len(BLOCKS[index]) for index in (0, 1, 2, 5, 6, 7, 8, 9))


@pytest.mark.parametrize("make", [owned, followed])
def test_a_power_cut_after_a_clean_stop_costs_a_feed_that_was_at_rest_nothing(
    make: Callable[[MemoryFiles], Log],
) -> None:
    for seed in range(20):
        files = MemoryFiles()
        log = make(files)
        assert rest(log)
        log.close()
        files.power_cut(random.Random(seed))
        log = reopen(files)
        assert directory(files).is_marked_clean()
        assert in_doubt(log) == []


@pytest.mark.parametrize("mark", [rest, Log.close])
def test_no_power_cut_after_a_clean_stop_brings_a_lost_append_back(
    mark: Callable[[Log], object],
) -> None:
    for seed in range(40):
        files, choice = MemoryFiles(), random.Random(seed)
        create_owned(files).append([b"not synced"])
        files.power_cut(choice)
        log = check_all(reopen(files))
        length = log.length
        if length:
            continue
        mark(log)
        log.close()
        assert directory(files).is_marked_clean()
        files.power_cut(choice)
        assert reopen(files).length == length
        assert directory(files).is_marked_clean(), seed


@pytest.mark.parametrize("mark", [rest, Log.close])
def test_nothing_is_marked_clean_beside_a_head_whose_roots_are_gone(
    mark: Callable[[Log], object],
) -> None:
    files = MemoryFiles()
    followed(files)
    files.kill()
    files.open(f"{directory(files).path}/tree").truncate(0)
    files.open(f"{directory(files).path}/data").truncate(0)
    log = reopen(files)
    assert log.length == 0
    log.keep_beside("record", b"written")
    mark(log)
    assert not directory(files).is_marked_clean()
    upgrade(owned_with(BLOCKS), log)
    log.close()
    assert directory(files).is_marked_clean()
    assert reopen(files).length == len(BLOCKS)
    assert directory(files).is_marked_clean()


def test_what_is_written_after_the_mark_takes_it_back() -> None:
    files = MemoryFiles()
    log = owned(files)
    assert rest(log)
    log.append([b"goes on"])
    assert not directory(files).is_marked_clean()
    files.kill()
    log = reopen(files)
    assert in_doubt(log) == [(30, 31)]
    check_whole(log, [*BLOCKS, b"goes on"])


def test_what_is_written_while_the_mark_is_made_voids_it() -> None:
    files = MemoryFiles()
    log = owned(files)
    pending = log.begin_rest()
    assert pending is not None
    pending.run()
    log.append([b"goes on"])
    log.end_rest(pending)
    assert not directory(files).is_marked_clean()
    files.kill()
    log = reopen(files)
    assert in_doubt(log) == [(0, 31)], "what is noted does not say what came when"
    check_whole(check_all(log), [*BLOCKS, b"goes on"])


def test_nothing_is_marked_that_is_not_settled() -> None:
    files = MemoryFiles()
    log = owned(files)
    log.append([b"not durable"])
    assert log.begin_rest() is None
    files.kill()
    log = reopen(files)
    log.sync()
    assert log.begin_rest() is None, "it is not checked"
    check_all(log)
    assert rest(log)


@pytest.mark.parametrize("index", [0, 1, 20])
def test_a_node_that_was_made_good_in_memory_is_written_by_the_mark(index: int) -> None:
    files = MemoryFiles()
    owned(files)
    tree = files.open(f"{directory(files).path}/tree")
    node = tree.pread(NODE_BYTES, index * NODE_BYTES)
    tree.pwrite(bytes(NODE_BYTES), index * NODE_BYTES)
    files.kill()
    log = check_all(reopen(files))
    log.sync()
    assert log.nodes.dirty_pages
    assert rest(log)
    files.kill()
    assert files.open(f"{directory(files).path}/tree").pread(NODE_BYTES, index * NODE_BYTES) == node
    check_whole(reopen(files), BLOCKS)


@pytest.mark.parametrize("make", [owned, followed])
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_stop_while_the_mark_is_made_loses_nothing(make: object, is_power_cut: bool) -> None:
    assert callable(make)
    for operation in range(15):
        for seed in range(4):
            files = MemoryFiles()
            log = make(files)
            held = list(log.held.ranges(0, 30))
            files.fail_at(files.operations + operation)
            with suppress(Stopped):
                rest(log)
                if make is owned:
                    log.append([b"more"])
            if is_power_cut:
                files.power_cut(random.Random(seed))
            else:
                files.kill()
            log = check_all(reopen(files))
            if make is owned or not is_power_cut:
                assert list(log.held.ranges(0, 30)) == held
                assert not log.take_lost()
            else:  # notes of what came are not synced before the mark is
                found = [index for index in range(30) if log.held.get(index)]
                assert all(log.block(index) == BLOCKS[index] for index in found)
            assert not log.damaged
            if make is owned:
                assert content(log)[:30] == BLOCKS
            log.close()


def test_what_is_marked_clean_at_rest_has_a_durable_place_in_the_next_run() -> None:
    """That run takes the mark for one of a clean stop, and has nothing to sync."""
    files = MemoryFiles()
    assert rest(followed(files))
    files.kill()
    log = reopen(files)
    upgrade(owned_with([*BLOCKS, b"more"]), log)
    log.close()
    files.power_cut(random.Random(0), NOTHING_IS_LEFT)
    assert reopen(files).length == len(BLOCKS) + 1
