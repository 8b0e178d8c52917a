"""Recovery on a disk that takes no write, as a full btrfs: feeds are read, and go on with room."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreFull
from protozorfs.store import FreeSpace, MemoryFiles
from protozorfs.store.memory_files import Stopped
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    content,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
    upgrade_pair,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.log.feed import Log

BLOCKS = [b"block %d\n" % number * 50 for number in range(12)]
SYNCED = 5
MOST_WRITES = 40  # of one recovery


def owned_and_killed() -> MemoryFiles:
    """An owned feed of which a part was not synced, and the last append was torn."""
    files = MemoryFiles()
    log = create_owned(files)
    for number, block in enumerate(BLOCKS):
        log.append([block])
        if number == SYNCED:
            log.sync()
    files.fail_at(files.operations + 2)
    with pytest.raises(Stopped):
        log.append([b"torn"])
    files.kill()
    return files


def followed_and_killed(source: Log) -> MemoryFiles:
    files = MemoryFiles()
    log = create_followed(files)
    upgrade(source, log)
    for number in range(SYNCED):
        fetch(source, log, number)
    files.kill()
    return files


def full_from(files: MemoryFiles) -> Iterator[MemoryFiles]:
    """Copies of a disk that is full from each write of a recovery on."""
    for operation in range(MOST_WRITES):
        disk = files.clone()
        disk.fail_at(disk.operations + operation, "full", is_lasting=True)
        yield disk


def test_an_owned_feed_is_read_and_appended_to_as_soon_as_there_is_room() -> None:
    for disk in full_from(owned_and_killed()):
        for _ in range(2):
            log = reopen(disk)
            disk.fail_at(disk.operations, "full", is_lasting=True)
            assert content(log) == BLOCKS
            with pytest.raises(StoreFull):
                log.append([b"no"])
            with pytest.raises(StoreFull):
                log.sync()
            assert content(log) == BLOCKS
            assert log.shown_head is None, "nothing is durable that this run has not synced"
        disk.fail_at(None)
        log.append([b"more"])
        log.sync()
        assert content(log) == [*BLOCKS, b"more"]
        disk.power_cut(random.Random(0))
        assert content(reopen(disk)) == [*BLOCKS, b"more"]


def test_a_sync_alone_makes_the_recovery_good() -> None:
    for disk in full_from(owned_and_killed()):
        log = reopen(disk)
        disk.fail_at(None)
        log.sync()
        assert log.shown_head is not None
        assert log.shown_head.length == len(BLOCKS)
        disk.power_cut(random.Random(0))
        assert content(reopen(disk)) == BLOCKS


def test_a_followed_feed_is_read_and_fetches_as_soon_as_there_is_room() -> None:
    source = owned_with(BLOCKS)
    for disk in full_from(followed_and_killed(source)):
        log = reopen(disk)
        assert [log.block(number) for number in range(SYNCED)] == BLOCKS[:SYNCED]
        assert log.length == len(BLOCKS)
        disk.fail_at(disk.operations, "full", is_lasting=True)
        with pytest.raises(StoreFull):
            log.apply(*block_pair(source, log, SYNCED))
        disk.fail_at(None)
        for number in range(SYNCED, len(BLOCKS)):
            fetch(source, log, number)
        assert content(log) == BLOCKS
        source.append([b"more"])
        log.apply(*upgrade_pair(source, log))
        log.close()
        assert reopen(disk).length == source.length
        source = owned_with(BLOCKS)


def test_a_stop_makes_the_recovery_good_where_there_is_room() -> None:
    for disk in full_from(owned_and_killed()):
        log = reopen(disk)
        if not log.is_recovered:
            check_all(log)
        disk.fail_at(None)
        log.close()
        disk.power_cut(random.Random(0))
        assert disk.open(f"{directory(disk).path}/data").size() == len(b"".join(BLOCKS))
        log = check_all(reopen(disk))
        log.close()
        assert directory(disk).is_marked_clean()
        assert content(reopen(disk)) == BLOCKS


def test_a_stop_without_room_leaves_the_recovery_to_the_next_run() -> None:
    disk = owned_and_killed()
    disk.fail_at(disk.operations, "full", is_lasting=True)
    log = reopen(disk)
    with pytest.raises(StoreFull):
        log.close()
    disk.fail_at(None)
    assert not directory(disk).is_marked_clean()
    assert content(reopen(disk)) == BLOCKS


def test_what_was_checked_in_memory_is_in_doubt_again_on_the_disk() -> None:
    for disk in full_from(owned_and_killed()):
        log = reopen(disk)
        running = log.begin_check()
        assert running is not None
        running.run()
        disk.fail_at(None)
        was_in_memory = not log.is_recovered
        log.recover()
        assert log.is_recovered
        log.end_check(running)
        check_all(log).close()
        assert directory(disk).is_marked_clean()
        log = reopen(disk)
        assert content(log) == BLOCKS
        if was_in_memory:
            return
    pytest.fail("there was space for all of them")


def test_what_is_only_in_memory_is_not_marked_clean() -> None:
    disk = MemoryFiles()
    create_followed(disk)
    disk.kill()
    disk.fail_at(disk.operations, "full", is_lasting=True)
    log = reopen(disk)
    assert not log.is_recovered
    assert log.begin_rest() is None


def test_it_is_not_tried_again_while_there_is_no_space_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = owned_and_killed()
    disk.fail_at(disk.operations, "full", is_lasting=True)
    log = reopen(disk)
    disk.fail_at(None)
    looks = disk.looks
    monkeypatch.setattr(MemoryFiles, "free_space", lambda _: FreeSpace(4096, 1 << 20))
    with pytest.raises(StoreFull):
        log.append([b"no"])
    assert disk.looks == looks
    monkeypatch.undo()
    log.append([b"yes"])
    assert content(log) == [*BLOCKS, b"yes"]
