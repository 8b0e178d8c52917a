"""What a feed in use does step by step: the end of a scrub, space given back, syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import InvalidProof, LocalProtocolError, NotWritable, StoreFull, StoreGone
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.proof_types import Proof, Request, UpgradeRequest
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    block_pair,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    scrub,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCKS = [bytes([number]) * 5000 for number in range(1, 9)]


def path(files: MemoryFiles, name: str) -> str:
    return f"{directory(files).path}/{name}"


def closed_owner() -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.close()
    return files


def test_what_is_right_again_when_a_scrub_ends_is_not_lost() -> None:
    files = closed_owner()
    log = reopen(files)
    step = log.begin_scrub(0, log.length)
    assert step is not None
    bit = 8 * 3 * 5000
    files.flip_bit(path(files, "data"), bit)
    step.run()
    assert step.wrong == {3}
    files.flip_bit(path(files, "data"), bit)
    assert log.end_scrub(step) == 0
    assert not log.take_lost()
    assert log.block(3) == BLOCKS[3]


def test_each_block_that_a_scrub_finds_wrong_is_lost() -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in range(8)])
    for block in (2, 4, 6):
        files.flip_bit(path(files, "data"), 8 * block * 5000)
    step = log.begin_scrub(0, log.length)
    assert step is not None
    step.run()
    log.drop(2, 3)
    log.end_scrub(step)
    assert log.take_lost() == [(4, 5), (6, 7)]
    assert log.held_runs(0, 8) == [(0, 2), (3, 4), (5, 6), (7, 8)]


def test_a_node_that_a_scrub_has_mended_is_done_with() -> None:
    files = closed_owner()
    log = reopen(files)
    files.flip_bit(path(files, "tree"), 8 * 5 * NODE_BYTES)
    assert scrub(log)[2] == 1
    log.rest()
    files.fail_at(files.operations, "full", is_lasting=True)
    with pytest.raises(StoreFull):
        log.append([b"more"])
    files.fail_at(None)
    log.append([b"more"])
    log.close()
    assert reopen(files).block(8) == b"more"


@pytest.mark.parametrize("held", [(0,), (0, 5), (5,), (7,), (1, 2, 3)])
def test_dropping_what_a_kill_left_behind_keeps_all_that_is_held(held: tuple[int, ...]) -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in held])
    data = files.open(path(files, "data"))
    for index in set(range(8)) - set(held):
        data.pwrite(b"?" * 4900, index * 5000 + 50)
    before = log.allocated_bytes
    log.drop_leavings()
    assert log.allocated_bytes < before
    assert [log.block(index) for index in held] == [BLOCKS[index] for index in held]
    missing = next(index for index in range(8) if index not in (0, *held))
    assert not any(data.pread(1000, missing * 5000 + 2000))


def test_only_a_followed_feed_gives_blocks_back() -> None:
    log = reopen(closed_owner())
    with pytest.raises(LocalProtocolError):
        log.drop(0, 1)
    with pytest.raises(LocalProtocolError):
        log.drop_leavings()


def test_a_dropped_range_is_not_held_and_its_bytes_do_not_count() -> None:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in range(8)])
    log.drop(2, 4)
    assert log.held_bytes == 6 * 5000
    assert log.contiguous_length == 2
    log.drop(6, 100)
    assert log.held_runs(0, 8) == [(0, 2), (4, 6)]
    fetch(source, log, 2)
    fetch(source, log, 3)
    assert log.contiguous_length == 6
    assert log.read(0, 50_000) == b"".join(BLOCKS[:6])


def displaced_owner() -> MemoryFiles:
    """A file of it was restored after a clean stop."""
    files = closed_owner()
    files.open(path(files, "data")).set_modified(1)
    return files


def test_a_displaced_feed_that_is_settled_is_in_its_place() -> None:
    files = displaced_owner()
    log = reopen(files)
    assert log.displacement()
    log.settle()
    assert not log.displacement()
    log.close()
    assert not reopen(files).displacement()


def test_that_a_feed_is_displaced_is_written_down_once() -> None:
    removed: list[str] = []

    def carry_out(kind: str, path: str, effect: Callable[[], None]) -> None:
        if kind == "remove":
            removed.append(path.rpartition("/")[2])
        effect()

    files = displaced_owner()
    log = reopen(files)
    files.carry_out_by(carry_out)
    log.append([b"more"])
    log.append([b"and more"])
    assert removed.count("place") == 1


def test_an_owner_whose_files_are_gone_is_told_before_it_appends() -> None:
    files = closed_owner()
    log = reopen(files)
    assert log.block(0) == BLOCKS[0]
    log.check_present()
    files.remove(path(files, "data"))
    with pytest.raises(StoreGone):
        log.check_present()
    log.append([b"more"])
    with pytest.raises(StoreGone):
        log.begin_sync()


def test_one_sync_at_a_time() -> None:
    log = create_owned(MemoryFiles())
    with pytest.raises(LocalProtocolError):
        log.end_sync()
    log.append(BLOCKS[:2])
    pending = log.begin_sync()
    assert log.is_syncing
    with pytest.raises(LocalProtocolError):
        log.begin_sync()
    assert pending.head == log.head
    log.append(BLOCKS[2:4])
    pending.run()
    durable = log.end_sync()
    assert not log.is_syncing
    assert durable == log.durable_head == pending.head
    assert log.durable_head != log.head
    assert log.sync() == log.head
    assert log.begin_sync().head is None, "nothing is left to be made durable"
    log.end_sync()


def test_a_sync_that_did_not_run_makes_nothing_durable() -> None:
    log = create_owned(MemoryFiles())
    log.append(BLOCKS)
    log.begin_sync()
    assert log.end_sync() is None
    assert log.durable_head is None
    assert log.sync() == log.head


def test_what_cannot_be_appended_is_refused() -> None:
    log = create_owned(MemoryFiles())
    with pytest.raises(ValueError, match="an append needs a block"):
        log.append([])
    follower = reopen(MemoryFiles())
    with pytest.raises(NotWritable):
        follower.append(BLOCKS)
    assert (log.length, follower.length) == (0, 0)


@pytest.mark.parametrize("operation", range(3))
def test_a_full_disk_takes_back_what_an_append_has_written(operation: int) -> None:
    files = closed_owner()
    log = reopen(files)
    log.append([b"more"])
    log.sync()
    size, head = log.byte_length, log.head
    files.fail_at(files.operations + operation, "full")
    with pytest.raises(StoreFull):
        log.append([bytes(20_000)])
    files.fail_at(None)
    assert (log.byte_length, log.head) == (size, head)
    assert files.open(path(files, "data")).size() == size
    log.append([b"goes on"])
    assert log.read(size - 4, 100) == b"moregoes on"
    log.close()
    assert reopen(files).read(size - 4, 100) == b"moregoes on"


def test_only_a_follower_of_nothing_begins_a_history() -> None:
    source = owned_with(BLOCKS[:3])
    source.sync()
    proof = source.proof(Request(upgrade=UpgradeRequest(0, 3)))
    log = reopen(MemoryFiles())
    with pytest.raises(InvalidProof, match="not an upgrade from nothing"):
        log.begin_history(Proof(0))
    with pytest.raises(InvalidProof):
        log.begin_history(proof._replace(fork=1))
    assert (log.length, log.fork) == (0, 0)
    log.begin_history(proof)
    assert log.length == 3
    with pytest.raises(LocalProtocolError):
        log.begin_history(proof)
    with pytest.raises(LocalProtocolError):
        create_owned(MemoryFiles()).begin_history(proof)
