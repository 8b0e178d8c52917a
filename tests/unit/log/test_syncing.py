"""What counts as durable: only what this run has synced, whatever earlier runs left in memory."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from protozorfs.errors import StoreError, StoreFull
from protozorfs.log.hashing import tree_hash
from protozorfs.log.tree import roots_of
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import Stopped
from tests.unit.log.feed_tools import check_whole, content, create_owned, reopen

SYNC_STEPS = 6  # data, tree, the last durable head again, that synced, the new one, that synced
BLOCKS = [b"one" * 300, b"two" * 300]


def two_synced_heads() -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    for block in BLOCKS:
        log.append([block])
        log.sync()
    return files


@pytest.mark.parametrize("failure", ["stop", "io"])
@pytest.mark.parametrize("step", range(SYNC_STEPS))
@pytest.mark.parametrize("is_closed_between", [False, True])
def test_a_head_that_an_earlier_run_left_unsynced_is_not_durable(
    step: int, failure: str, is_closed_between: bool
) -> None:
    for seed in range(12):
        files = two_synced_heads()
        log = reopen(files)
        log.append([b"three" * 300])
        files.fail_at(files.operations + step, failure)
        with suppress(Stopped, OSError):
            log.sync()
        files.kill()
        log = reopen(files)
        assert log.durable_head is None
        published = log.sync()
        assert published is not None
        assert published.length == 3
        if is_closed_between:
            log.close()
        files.power_cut(random.Random(seed))
        log = reopen(files)
        assert content(log)[:3] == [*BLOCKS, b"three" * 300]
        roots = roots_of(log.nodes, published.length)
        assert roots is not None
        assert tree_hash(roots) == published.tree_hash


@pytest.mark.parametrize("step", range(SYNC_STEPS))
def test_an_earlier_durable_head_outlives_a_cut_while_a_later_run_syncs(step: int) -> None:
    for seed in range(30):
        choice = random.Random(seed)
        files = two_synced_heads()
        log = reopen(files)  # killed: the head of two blocks may be in memory only
        log.append([b"three"])
        files.fail_at(files.operations + step)
        with suppress(Stopped):
            log.sync()
        files.power_cut(choice)
        log = reopen(files)
        assert content(log)[:2] == BLOCKS
        files.fail_at(files.operations + choice.randrange(6))
        with suppress(Stopped):
            log.sync()
        files.power_cut(choice)
        assert content(reopen(files))[:2] == BLOCKS


@pytest.mark.parametrize("step", range(SYNC_STEPS))
def test_a_sync_that_finds_no_space_is_made_good_when_there_is_room(step: int) -> None:
    for seed in range(12):
        files = two_synced_heads()
        log = reopen(files)
        log.append([b"three" * 300])
        files.fail_at(files.operations + step, "full")
        with pytest.raises(StoreFull):
            log.sync()
        files.fail_at(None)
        assert log.durable_head is None
        log.append([b"four"])
        expected = [*BLOCKS, b"three" * 300, b"four"]
        check_whole(log, expected)
        assert log.sync() == log.head
        files.power_cut(random.Random(seed))
        check_whole(reopen(files), expected)


@pytest.mark.parametrize("failure", ["io", "full"])
@pytest.mark.parametrize("step", [2, 3])  # the data is synced, the tree
def test_a_sync_proves_nothing_if_another_of_the_feed_fails_meanwhile(
    step: int, failure: str
) -> None:
    """The system tells a failure once, and each file has one descriptor for both."""
    for seed in range(12):
        files = two_synced_heads()
        log = reopen(files)
        log.append([b"three" * 300])
        files.fail_at(files.operations + 1, "io")
        with pytest.raises(OSError, match="Input/output"):
            log.append([b"refused"])
        pending = log.begin_sync()
        files.fail_at(files.operations + step, failure)
        with pytest.raises((OSError, StoreFull)):  # it removes what the one before has left
            log.append([b"refused as well"])
        files.fail_at(None)
        with pytest.raises(StoreError, match="another sync of the feed has failed meanwhile"):
            pending.run()
        assert log.end_sync() is None
        expected = [*BLOCKS, b"three" * 300]
        if failure == "full":
            log.append([b"four"])
            expected += [b"four"]
            assert log.sync() == log.head
        files.power_cut(random.Random(seed))
        left = content(reopen(files))
        assert left[:2] == BLOCKS
        assert left == expected[: len(left)]
        assert failure == "io" or len(left) == 4


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_failed_sync_is_final_until_the_next_start(step: int) -> None:
    files = two_synced_heads()
    log = reopen(files)
    log.append([b"three" * 300])
    files.fail_at(files.operations + step, "io")
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    files.fail_at(None)
    for change in (lambda: log.append([b"four"]), log.sync):
        with pytest.raises(StoreError, match="until the next start"):
            change()
    assert content(log) == [*BLOCKS, b"three" * 300]
    log.close()
    assert not log.directory.is_marked_clean()
    files.kill()
    log = reopen(files)
    assert log.sync() == log.head
    files.power_cut(random.Random(step))
    check_whole(reopen(files), [*BLOCKS, b"three" * 300])


def after_a_failed_append() -> tuple[MemoryFiles, int]:
    """A feed whose last append failed for want of space; how many calls the next one makes."""
    files = two_synced_heads()
    log = reopen(files)
    files.fail_at(files.operations + 2, "full")
    with pytest.raises(StoreFull):
        log.append([b"", b"failed" * 200])
    files.fail_at(None)
    before = files.operations
    log.append([b"right"])
    return files, files.operations - before


@pytest.mark.parametrize("failure", ["full", "io"])
def test_what_a_failed_append_left_never_counts_after_a_failed_removal(failure: str) -> None:
    _, calls = after_a_failed_append()
    for number in range(calls):
        for seed in range(30):
            files = two_synced_heads()
            log = reopen(files)
            files.fail_at(files.operations + 2, "full")
            with pytest.raises(StoreFull):
                log.append([b"", b"failed" * 200])
            files.fail_at(files.operations + number, failure)
            with suppress(StoreFull, OSError):
                log.append([b"right"])
            files.fail_at(None)
            published = None
            with suppress(StoreError):
                log.append([b"more" * 300])
                published = log.sync()
            files.power_cut(random.Random(seed))
            blocks = content(reopen(files))
            possible = ([*BLOCKS, b"right", b"more" * 300], [*BLOCKS, b"more" * 300])
            assert any(blocks == some[: len(blocks)] for some in possible)
            if published is not None:
                assert len(blocks) >= published.length


def test_a_directory_whose_mark_could_not_be_removed_durably_is_not_written_to() -> None:
    files = two_synced_heads()
    log = reopen(files)
    log.close()
    log = reopen(files)
    files.fail_at(files.operations + 1, "io")  # the mark is removed; that is synced
    with pytest.raises(OSError, match="Input/output"):
        log.append([b"three"])
    files.fail_at(None)
    with pytest.raises(StoreError, match="until the next start"):
        log.append([b"three"])
    for seed in range(8):
        files.power_cut(random.Random(seed))
        check_whole(reopen(files), BLOCKS)
        files.kill()


@pytest.mark.parametrize("seed", range(6))
def test_what_a_recovery_cut_off_stays_off_behind_a_sync_that_found_no_space(seed: int) -> None:
    """The cache shows the file cut, and the disk does not: a later run cuts it again."""
    files = MemoryFiles(seed)
    log = create_owned(files)
    path = f"{log.directory.path}/data"
    files.kill()
    file = files.open(path)
    file.pwrite(b"left of an append that failed", 0)
    file.fdatasync()
    log = reopen(files)
    files.fail_at(files.operations, "full", is_lasting=True)
    with suppress(StoreFull):
        log.close()
    files.fail_at(None)
    files.kill()
    reopen(files).close()
    files.power_cut(random.Random(seed))
    log = reopen(files)
    assert log.directory.is_marked_clean()
    assert not log.displacement()


@pytest.mark.parametrize("step", range(3, 9))  # of the refused append
def test_a_refused_append_does_not_show_behind_heads_that_a_power_cut_tore(step: int) -> None:
    """Of an older head of more blocks, which are lost, some come back; what was refused never."""
    refused = b"refused" * 50
    for seed in (71, 204, 246, 294, 342, 353, *range(20)):
        choice = random.Random(seed)
        files = two_synced_heads()
        log = reopen(files)
        for count in (1, 5, 2):
            log.append([bytes([97 + number]) * 700 for number in range(count)])
        files.power_cut(choice)
        log = reopen(files)
        if choice.random() < 0.5:
            files.kill()
            log = reopen(files)
        files.fail_at(files.operations + step, "io")
        with suppress(OSError):
            log.append([refused])
            continue
        files.fail_at(None)
        files.power_cut(choice)
        assert refused not in content(reopen(files))
