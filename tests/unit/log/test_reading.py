"""What a feed says it has, and what of that is shown, where some of it is missing or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import BlockUnavailable, StoreCorrupt
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.hashing import UNSIGNED
from protozorfs.log.held_log import RECORD_BYTES
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.log.sums import PIECE_BYTES, Span
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from protozorfs.log.feed import Log

BLOCKS = [b"%02d" % number * (number + 1) for number in range(8)]
DATA = b"".join(BLOCKS)
STARTS = [sum(map(len, BLOCKS[:number])) for number in range(len(BLOCKS) + 1)]


def path(files: MemoryFiles, name: str) -> str:
    return f"{directory(files).path}/{name}"


def closed_owner(blocks: list[bytes] = BLOCKS) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(blocks)
    log.close()
    return files


def follower_of(blocks: list[bytes], *held: int) -> tuple[MemoryFiles, Log]:
    source, files = owned_with(blocks), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in held])
    return files, log


def damaged_owner(block: int) -> tuple[MemoryFiles, Log]:
    """It has found out that one block is wrong."""
    files = closed_owner()
    files.flip_bit(path(files, "data"), 8 * STARTS[block])
    log = reopen(files)
    with pytest.raises(StoreCorrupt):
        log.read(STARTS[block], 1)
    return files, log


def lose_leaves_2_and_3(files: MemoryFiles) -> None:
    """What these blocks are cannot be told any more."""
    for index in (4, 6):
        files.open(path(files, "tree")).pwrite(bytes(NODE_BYTES), index * NODE_BYTES)


def test_reading_ends_before_a_missing_block_and_goes_on_behind_it() -> None:
    _, log = follower_of(BLOCKS, 0, 1, 2, 4, 5, 7)
    assert log.contiguous_length == 3
    assert log.contiguous_bytes == STARTS[3]
    assert log.read(0, 1000) == DATA[: STARTS[3]]
    assert log.read(5, 3) == DATA[5:8]
    assert log.read(STARTS[3], 1000) == b""
    assert log.read(STARTS[4] + 1, 1000) == DATA[STARTS[4] + 1 : STARTS[6]]
    assert log.read(STARTS[7], 1000) == BLOCKS[7]
    assert log.read(len(DATA), 1000) == b""
    assert log.held_until(0, 1000) == STARTS[3]
    assert log.held_until(STARTS[4], 1000) == STARTS[6]
    assert log.held_until(STARTS[3], 1000) == STARTS[3]
    assert log.held_runs(0, 8) == [(0, 3), (4, 6), (7, 8)]
    assert log.held_runs(1, 5) == [(1, 3), (4, 5)]


def test_missing_empty_blocks_end_no_read() -> None:
    _, log = follower_of([b"a", b"", b"b", b"", b"c"], 0, 2, 4)
    assert log.contiguous_length == 1
    assert log.read(0, 10) == b"abc"
    assert log.held_until(0, 10) == 3


def test_blocks_are_found_in_any_order() -> None:
    _, log = follower_of(BLOCKS, *range(8))
    for index in (0, 1, 2, 7, 3, 3, 4, 0, 6):
        assert log.block_span(index) == (STARTS[index], STARTS[index + 1])
        assert log.block(index) == BLOCKS[index]
    with pytest.raises(BlockUnavailable):
        log.block_span(8)
    log.block_span(7)
    with pytest.raises(BlockUnavailable):
        log.block_span(8)


def test_what_is_not_here_is_unavailable() -> None:
    _, log = follower_of(BLOCKS, 1)
    for index in (0, 7, 8, 100):
        with pytest.raises(BlockUnavailable):
            log.block(index)
    with pytest.raises(BlockUnavailable):
        log.proof(Request(block=BlockRequest(0, 0)))
    assert not log.damaged


def test_an_owner_shows_others_only_what_is_durable() -> None:
    log = create_owned(MemoryFiles())
    log.append(BLOCKS[:3])
    assert log.shown_head is None
    with pytest.raises(BlockUnavailable):
        log.proof(Request(upgrade=UpgradeRequest(0, 3)))
    durable = log.sync()
    log.append(BLOCKS[3:])
    assert log.shown_head == log.durable_head == durable
    assert durable is not None
    assert durable.length == 3
    assert log.length == 8
    upgraded = log.proof(Request(upgrade=UpgradeRequest(0, 3))).upgrade
    assert upgraded is not None
    assert upgraded.signature == durable.signature


def test_a_follower_shows_others_its_newest_head() -> None:
    _, log = follower_of(BLOCKS)
    assert log.shown_head == log.head
    assert log.head is not None
    assert log.durable_head is None


def test_a_head_is_signed_when_it_is_asked_for() -> None:
    log = create_owned(MemoryFiles())
    log.commit(BLOCKS)
    head = log.head
    assert head is not None
    assert head.signature != UNSIGNED
    assert log.head == head


def test_the_figures_of_a_feed_are_those_of_its_blocks() -> None:
    _, log = follower_of(BLOCKS, 2, 3)
    assert (log.length, log.byte_length) == (8, len(DATA))
    assert log.held_bytes == len(BLOCKS[2]) + len(BLOCKS[3])
    assert log.allocated_bytes > 0
    assert (log.contiguous_length, log.contiguous_bytes) == (0, 0)
    assert log.request_hint(3) == 0
    assert log.request_hint(7) == 2


def test_a_wrong_block_is_lost_alone() -> None:
    _, log = damaged_owner(3)
    assert log.damaged is True
    assert log.has_lost
    assert log.take_lost() == [(3, 4)]
    assert not log.has_lost
    assert log.read(0, 1000) == DATA[: STARTS[3]]
    assert log.read(STARTS[4], 1000) == DATA[STARTS[4] :]
    assert log.held_bytes == len(DATA) - len(BLOCKS[3])


def test_of_a_damaged_feed_only_what_it_had_is_corrupt() -> None:
    _, log = damaged_owner(3)
    with pytest.raises(StoreCorrupt):
        log.block(3)
    assert log.read(len(DATA), 1) == b""
    for index in (8, 9):
        with pytest.raises(BlockUnavailable):
            log.block(index)


def test_what_somebody_cut_off_is_lost_and_the_rest_is_read() -> None:
    files = closed_owner()
    log = reopen(files)
    assert log.read(0, 1000) == DATA
    files.open(path(files, "data")).truncate(STARTS[5] + 1)
    assert log.read(0, 1000) == DATA[: STARTS[5]]
    assert log.take_lost() == [(5, 8)]
    assert log.damaged


def test_what_somebody_cut_off_is_lost_when_a_block_of_it_is_asked_for() -> None:
    files = closed_owner()
    log = reopen(files)
    assert log.block(6) == BLOCKS[6]
    files.open(path(files, "data")).truncate(STARTS[6])
    with pytest.raises(StoreCorrupt):
        log.block(6)
    assert log.take_lost() == [(6, 8)]
    assert log.block(5) == BLOCKS[5]


def test_lost_leaves_take_their_blocks_and_no_others() -> None:
    files, log = follower_of(BLOCKS, *range(2, 8))
    log.close()
    lose_leaves_2_and_3(files)
    log = reopen(files)
    assert log.read(STARTS[4], 1000) == DATA[STARTS[4] :]
    assert log.take_lost() == [(2, 4)], "they are told as soon as that is known"
    assert log.read(STARTS[2], 1000) == b""
    assert log.held_runs(0, 8) == [(4, 8)]
    assert log.held_bytes == len(DATA) - STARTS[4]


@pytest.mark.parametrize("left", [b"?", b"\0"], ids=["wrong", "lost"])
def test_a_block_to_which_no_way_leads_is_told_with_all_around_it(left: bytes) -> None:
    files, log = follower_of(BLOCKS, *range(2, 8))
    log.close()
    for index in (4, 6):
        files.open(path(files, "tree")).pwrite(left * NODE_BYTES, index * NODE_BYTES)
    log = reopen(files)
    with pytest.raises(BlockUnavailable):
        log.block(3)
    assert log.take_lost() == [(2, 4)]
    assert log.block(4) == BLOCKS[4]


@pytest.mark.parametrize(
    ("noted", "held"), [([0, 1, 2, 3], [(0, 2)]), ([1, 2, 4, 5, 6], [(1, 2), (4, 7)]), ([3], [])]
)
def test_bytes_held_are_counted_anew_where_a_way_is_lost_and_notes_are_damaged(
    noted: list[int], held: list[tuple[int, int]]
) -> None:
    files, log = follower_of(BLOCKS, *noted)
    files.kill()
    notes = files.open(path(files, "bitfield.log"))
    notes.pwrite(bytes(RECORD_BYTES), notes.size())
    lose_leaves_2_and_3(files)
    log = reopen(files)
    assert log.held_runs(0, 8) == held
    assert log.held_bytes == sum(STARTS[end] - STARTS[start] for start, end in held)


def owner_that_forgot_a_block() -> MemoryFiles:
    """Its newest blocks came back from others; that the last of them did is not noted."""
    whole, files = owned_with(BLOCKS), MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:5])
    log.sync()
    upgrade(whole, log)
    for index in (5, 7, 6):
        fetch(whole, log, index)
    files.kill()
    notes = files.open(path(files, "bitfield.log"))
    notes.truncate(notes.size() - RECORD_BYTES)
    return files


def test_an_owner_is_whole_again_when_the_check_finds_what_was_not_noted() -> None:
    log = reopen(owner_that_forgot_a_block())
    assert log.damaged
    assert not log.has_found
    check_all(log)
    assert log.has_found
    assert log.take_found() == [6]
    assert not log.has_found
    assert not log.damaged
    assert log.read(0, 1000) == DATA
    assert log.held_bytes == len(DATA)


def test_what_was_not_noted_is_found_by_who_reads_it() -> None:
    files = owner_that_forgot_a_block()
    log = reopen(files)
    assert log.read(STARTS[5], 1000) == DATA[STARTS[5] :]
    assert log.take_found() == [6]
    assert not log.damaged
    assert not log.in_doubt.get(6)
    files.kill()
    log = reopen(files)
    assert not log.damaged, "it is noted now"
    assert log.held.contiguous_length == 8


def test_a_wrong_block_that_was_not_noted_is_not_found() -> None:
    files = owner_that_forgot_a_block()
    files.flip_bit(path(files, "data"), 8 * STARTS[6])
    log = reopen(files)
    with pytest.raises(StoreCorrupt):
        log.block(6)
    assert not log.in_doubt.get(6)
    assert log.damaged
    assert not log.has_found


PIECES = [bytes([number]) * (PIECE_BYTES // 4) for number in range(1, 13)]  # four make one piece


@pytest.mark.parametrize(
    ("held", "piece", "span"),
    [
        (range(12), 0, Span(0, PIECE_BYTES)),
        (range(12), 2, Span(0, PIECE_BYTES)),
        (range(4), 0, Span(0, PIECE_BYTES)),
        ([1, 2], 0, Span(PIECE_BYTES // 4, 3 * PIECE_BYTES // 4)),
        ([2, 3, 4], 0, Span(PIECE_BYTES // 2, PIECE_BYTES)),
        ([2, 3, 4], 1, Span(0, PIECE_BYTES // 4)),
        ([11], 2, Span(3 * PIECE_BYTES // 4, PIECE_BYTES)),
        ([0, 2], 0, None),
        ([4], 0, None),
    ],
)
def test_the_bytes_held_of_a_piece_are_one_span_or_told_by_none(
    held: list[int], piece: int, span: Span | None
) -> None:
    _, log = follower_of(PIECES, *held)
    assert log._held_span(piece * PIECE_BYTES) == span
