"""A feed after a kill or a power cut: open at once, and checked bit by bit behind that."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreCorrupt
from protozorfs.log import held_log
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.held_log import RECORD_BYTES
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import MemoryFile, Stopped
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    check_whole,
    content,
    create_owned,
    directory,
    fetch,
    keep_progress,
    owned_with,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.log.feed import Log

BLOCKS = [b"%d" % number * (number % 50 + 1) for number in range(200)]


def killed_owner(blocks: list[bytes], tail: int = 3) -> MemoryFiles:
    """All but the last `tail` blocks are durable."""
    files = MemoryFiles()
    log = create_owned(files)
    log.append(blocks[: len(blocks) - tail])
    log.sync()
    log.append(blocks[len(blocks) - tail :])
    files.kill()
    return files


def killed_follower(blocks: list[bytes], *, held: range) -> MemoryFiles:
    files = MemoryFiles()
    source, log = owned_with([b"first"]), reopen(files)
    upgrade(source, log)
    source.append(blocks[1:])
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in held])
    files.kill()
    return files


def source_of(blocks: list[bytes]) -> Log:
    return owned_with(blocks)


def in_doubt(log: Log) -> list[tuple[int, int]]:
    return list(log.in_doubt.ranges(0, log.length))


def held(log: Log) -> list[tuple[int, int]]:
    return list(log.held.ranges(0, log.length))


def step(log: Log) -> bool:
    """One step of the check; False when nothing is left."""
    found = log.begin_check()
    if found is None:
        return False
    found.run()
    log.end_check(found)
    return True


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of files, and bytes read and written, from now on."""
    found: Counter[str] = Counter()
    pread, pwrite = MemoryFile.pread, MemoryFile.pwrite

    def counted_pread(file: MemoryFile, size: int, offset: int) -> bytes:
        data = pread(file, size, offset)
        found.update(calls=1, bytes=len(data))
        return data

    def counted_pwrite(file: MemoryFile, data: bytes | bytearray | memoryview, offset: int) -> None:
        found.update(calls=1, bytes=len(data))
        pwrite(file, data, offset)

    monkeypatch.setattr(MemoryFile, "pread", counted_pread)
    monkeypatch.setattr(MemoryFile, "pwrite", counted_pwrite)
    return found


MAX_CALLS = 40
MAX_BYTES = 120_000  # pages of the tree on the way to its roots, the heads, the tail


@pytest.mark.parametrize(
    "make", [killed_owner, lambda b: killed_follower(b, held=range(1, len(b)))]
)
def test_opening_reads_and_writes_as_much_however_long_a_feed_is(
    cost: Counter[str], make: Callable[[list[bytes]], MemoryFiles]
) -> None:
    costs = []
    for length in (500, 5000):
        files = make([b"%d" % number * 40 for number in range(length)])
        cost.clear()
        log = reopen(files)
        costs.append(dict(cost))
        assert log.length == length
        assert log.byte_length > 40 * length
    assert costs[1]["calls"] <= min(MAX_CALLS, costs[0]["calls"] + 12), costs
    assert costs[1]["bytes"] <= min(MAX_BYTES, costs[0]["bytes"] + 50_000), costs


def test_a_step_of_the_check_is_bounded(cost: Counter[str]) -> None:
    log = reopen(killed_owner([b"x" * 100] * 20_000))
    steps = 0
    while True:
        cost.clear()
        if not step(log):
            break
        steps += 1
        assert cost["bytes"] < 500_000, cost
    assert steps > 10


def test_all_that_returned_shows_at_once_and_is_checked_behind_that() -> None:
    log = reopen(killed_owner(BLOCKS))
    assert log.contiguous_length == len(BLOCKS)
    assert in_doubt(log) == [(0, len(BLOCKS))]
    assert log.block(len(BLOCKS) - 1) == BLOCKS[-1]
    log.append([b"goes on"])
    check_all(log)
    assert in_doubt(log) == []
    check_whole(log, [*BLOCKS, b"goes on"])


def test_only_what_has_changed_since_the_last_clean_stop_is_in_doubt() -> None:
    files = killed_owner(BLOCKS)
    log = check_all(reopen(files))
    log.close()
    log = reopen(files)
    assert in_doubt(log) == []
    log.append([b"one"])
    log.append([b"two"])
    files.kill()
    assert in_doubt(reopen(files)) == [(len(BLOCKS), len(BLOCKS) + 2)]


def test_a_follower_has_in_doubt_what_came_since_the_last_clean_stop() -> None:
    source, files = source_of(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    for index in range(20):
        fetch(source, log, index)
    log.close()
    log = reopen(files)
    for index in (50, 51, 30):
        fetch(source, log, index)
    log.drop(3, 5)
    files.kill()
    log = reopen(files)
    assert held(log) == [(0, 3), (5, 20), (30, 31), (50, 52)]
    assert in_doubt(log) == [(30, 31), (50, 52)]
    size = sum(len(BLOCKS[index]) for start, end in held(log) for index in range(start, end))
    assert log.held_bytes == size
    assert not check_all(log).take_found()
    assert not log.take_lost()


@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_second_kill_loses_no_progress(is_power_cut: bool) -> None:
    files = killed_owner([b"x" * 100] * 5000)
    log = reopen(files)
    for _ in range(2):
        step(log)
    keep_progress(log)
    left = in_doubt(log)
    assert left != [(0, 5000)]
    step(log)  # is done again
    if is_power_cut:
        keep_progress(log)  # the record of the progress before is synced with the next
        files.power_cut(random.Random(1))
        assert in_doubt(reopen(files))[0][0] >= left[0][0]
    else:
        files.kill()
        assert in_doubt(reopen(files)) == left
    log = check_all(reopen(files))
    files.kill()
    assert in_doubt(reopen(files)) == []


def test_a_clean_stop_in_the_middle_of_the_check_keeps_what_was_checked() -> None:
    files = killed_owner([b"x" * 100] * 5000)
    log = reopen(files)
    step(log)
    left = in_doubt(log)
    log.close()
    assert not directory(files).is_marked_clean()
    files.power_cut(random.Random(2))
    log = reopen(files)
    assert in_doubt(log) == left
    check_all(log).close()
    assert directory(files).is_marked_clean()
    assert in_doubt(reopen(files)) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_mark_whose_removal_was_not_synced_does_not_come_back(seed: int) -> None:
    """A run is killed between the removal of the mark and the sync of that; then a power cut."""
    files = killed_owner(BLOCKS)
    check_all(reopen(files)).close()
    log = reopen(files)
    files.fail_at(files.operations + 1)
    with pytest.raises(Stopped):
        log.append([b"not yet"])
    files.kill()
    reopen(files).append([b"goes on"])
    files.power_cut(random.Random(seed))
    assert not directory(files).is_marked_clean()
    assert content(reopen(files))[: len(BLOCKS)] == BLOCKS


def flip(files: MemoryFiles, offset: int) -> None:
    file = files.open(f"{directory(files).path}/data")
    (byte,) = file.pread(1, offset)
    file.pwrite(bytes([byte ^ 4]), offset)


@pytest.mark.parametrize("is_read_first", [False, True])
def test_a_bit_that_rots_in_what_is_not_checked_yet_is_never_shown(is_read_first: bool) -> None:
    files = killed_owner(BLOCKS)
    log = reopen(files)
    start, end = log.block_span(77)
    files.kill()
    flip(files, start + 1)
    log = reopen(files)
    assert not log.damaged
    if is_read_first:
        with pytest.raises(StoreCorrupt):
            log.read(start, 10)
        assert log.read(0, 1 << 20) == b"".join(BLOCKS)[:start]
        assert log.damaged
    check_all(log)
    assert log.damaged
    assert log.take_lost() == [(77, 78)]
    assert held(log) == [(0, 77), (78, len(BLOCKS))]
    files.kill()
    log = reopen(files)
    assert log.damaged, "what was found is noted"
    assert log.read(end, 1 << 20) == b"".join(BLOCKS)[end:]


def test_what_a_follower_finds_wrong_is_fetched_again() -> None:
    files = killed_follower(BLOCKS, held=range(1, 150))
    source = source_of([b"first", *BLOCKS[1:]])
    log = reopen(files)
    assert held(log) == [(1, 150)]
    start = log.block_span(77)[0]
    files.kill()
    flip(files, start)
    log = check_all(reopen(files))
    assert log.take_lost() == [(77, 78)]
    fetch(source, log, 77)
    files.kill()
    log = reopen(files)
    assert held(log) == [(1, 150)]
    assert in_doubt(log) == [(77, 78)]
    assert log.block(77) == BLOCKS[77]


@pytest.mark.parametrize("lost", ["bitfield.log", "bitfield"])
def test_blocks_of_which_nothing_is_noted_are_found(lost: str) -> None:
    """As a store of an older version was killed, or where what was noted is damaged."""
    files = killed_follower(BLOCKS, held=range(1, 150))
    if lost == "bitfield":
        check_all(reopen(files)).close()
        log = reopen(files)
        log.drop(149, 150)
        fetch(source_of([b"first", *BLOCKS[1:]]), log, 149)
    files.remove(f"{directory(files).path}/{lost}")
    files.kill()
    log = reopen(files)
    assert held(log) == []
    assert in_doubt(log) == [(0, len(BLOCKS))]
    start, end = log.block_span(30)
    assert log.read(start, end - start) == BLOCKS[30], "what is read is looked for at once"
    assert log.block(31) == BLOCKS[31]
    assert sorted(log.take_found()) == [30, 31]
    check_all(log)
    assert held(log) == [(1, 150)]
    assert log.held_bytes == sum(map(len, BLOCKS[1:150]))
    assert sorted([30, 31, *log.take_found()]) == list(range(1, 150))
    files.kill()
    log = reopen(files)
    assert (held(log), in_doubt(log)) == ([(1, 150)], [(30, 32)])
    assert not log.take_lost()


def test_a_missing_block_in_doubt_stays_missing() -> None:
    files = killed_follower(BLOCKS, held=range(10, 19))
    files.remove(f"{directory(files).path}/bitfield.log")
    log = reopen(files)
    start = log.block_span(19)[0]
    assert log.read(start, 5) == b""
    assert held(check_all(log)) == [(10, 19)]
    assert not log.take_lost(), "nothing that was not held is damage"


@pytest.mark.parametrize("held_blocks", [range(10, 19), range(1, 200), range(5, 200, 3)])
def test_blocks_to_which_the_way_is_lost_are_told_and_no_others(held_blocks: range) -> None:
    """As their size is counted when the feed is opened: a damaged record has it unknown."""
    files = killed_follower(BLOCKS, held=held_blocks)
    notes = files.open(f"{directory(files).path}/bitfield.log")
    notes.pwrite(bytes(RECORD_BYTES), notes.size())
    tree = files.open(f"{directory(files).path}/tree")
    tree.pwrite(bytes(127 * NODE_BYTES), 0)  # all below the first of three roots
    tree.pwrite(bytes(127 * NODE_BYTES), 128 * NODE_BYTES)
    log = reopen(files)
    left = [block for block in held_blocks if block >= 128]
    lost = [block for start, end in log.take_lost() for block in range(start, end)]
    assert lost == [block for block in held_blocks if block < 128]
    assert [block for block in range(200) if log.held.get(block)] == left
    assert log.held_bytes == sum(len(BLOCKS[block]) for block in left)


def test_notes_are_folded_into_the_bitfield_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_log, "MAX_RECORDS", 10)
    files = killed_follower(BLOCKS, held=range(1, 20))
    source = source_of([b"first", *BLOCKS[1:]])
    log = reopen(files)
    indexes = [30 + index * 37 % 101 for index in range(60)]
    for index in indexes:
        fetch(source, log, index)
    log.drop(3, 4)
    files.kill()
    log = reopen(files)
    expected = ({*range(1, 20), *indexes}) - {3}
    assert {index for index in range(len(BLOCKS)) if log.held.get(index)} == expected
    assert set(range(1, 20)) - {3} <= {i for i in range(200) if log.in_doubt.get(i)}
    assert log.held_bytes == sum(len(BLOCKS[index]) for index in expected)
    assert not check_all(log).take_found()
    assert not log.take_lost()


def test_blocks_that_a_power_cut_took_are_not_claimed_of_later_ones() -> None:
    """An owner got its newest blocks back, one of them is missing; then all of that is gone."""
    whole = owned_with(BLOCKS[:20])
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:10])
    log.sync()
    log.close()
    log = reopen(files)
    before = {name: files.read(f"{log.directory.path}/{name}") for name in ("data", "tree", "head")}
    upgrade(whole, log)
    for index in range(10, 19):
        fetch(whole, log, index)
    files.kill()
    for name, data in before.items():
        files.replace(f"{log.directory.path}/{name}", data)
    log = reopen(files)
    assert log.length == 10
    log.append(BLOCKS[10:20])
    files.kill()
    log = reopen(files)
    assert not log.damaged
    assert in_doubt(log) == [(10, 20)]
    check_whole(check_all(log), BLOCKS[:20])


def test_an_owner_that_was_killed_while_its_blocks_came_back_is_not_whole() -> None:
    whole = owned_with(BLOCKS[:20])
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:10])
    log.sync()
    upgrade(whole, log)
    fetch(whole, log, 12)
    files.kill()
    log = reopen(files)
    assert log.length == 20
    assert held(log) == [(0, 10), (12, 13)]
    assert log.damaged
    check_all(log)
    for index in (*range(10, 12), *range(13, 20)):
        fetch(whole, log, index)
    assert not log.damaged
    assert content(log) == BLOCKS[:20]


def test_what_is_dropped_or_comes_while_a_step_runs_is_as_it_is_then() -> None:
    files = killed_follower(BLOCKS, held=range(1, 100))
    source = source_of([b"first", *BLOCKS[1:]])
    flip(files, reopen(files).block_span(40)[0])
    files.kill()
    log = reopen(files)
    running = log.begin_check()
    assert running is not None
    running.run()
    assert running.wrong >= {40}
    log.drop(40, 41)
    fetch(source, log, 40)
    log.drop(50, 51)
    log.end_check(running)
    assert log.held.get(40)
    assert log.block(40) == BLOCKS[40]
    assert not log.held.get(50)
    assert not log.take_found()
    assert not log.take_lost()


def test_a_way_that_a_power_cut_took_is_no_error_to_who_reads_or_drops() -> None:
    """What was noted of blocks may survive where the nodes that lead to them do not."""
    blocks = [b"%d " % number * 300 for number in range(300)]
    data = b"".join(blocks)
    source, files = source_of(blocks), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in range(100)])
    log.close()
    log = reopen(files)
    for index in range(100, 300):
        fetch(source, log, index)
    for seed in (0, 8, 9, 13, 30):
        disk = files.clone()
        disk.power_cut(random.Random(seed))
        log = reopen(disk.clone())
        log.drop(0, log.length)
        assert not held(log)
        log = reopen(disk.clone())
        for offset in range(0, len(data), 5000):
            assert data.startswith(log.read(offset, 5000), offset)
        log = reopen(disk)
        for start, end in log.held_runs(0, log.length):
            assert data.startswith(blocks[start], log.block_span(start)[0])
            assert log.block_span(end - 1)[1] <= len(data)
