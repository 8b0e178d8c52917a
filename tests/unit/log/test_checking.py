"""Blocks that an earlier run has left are checked before they are read or served."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import BlockUnavailable, StoreCorrupt
from protozorfs.log.check_steps import wrong_or_unreadable
from protozorfs.log.checking import STEP_BYTES, Leaf, Unchecked, wrong_blocks
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.hashing import leaf_hash
from protozorfs.log.proof_types import BlockRequest, Request
from protozorfs.log.sums import PIECE_BYTES
from protozorfs.store import MemoryFiles
from protozorfs.store.memory_files import MemoryFile
from tests.unit.log.feed_tools import (
    block_pair,
    check_whole,
    create_followed,
    create_owned,
    directory,
    fetch,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from protozorfs.log.feed import Log

# Of all sizes: empty, several in a piece, one piece, more than one step.
BLOCKS = [
    b"",
    b"first",
    *(random.Random(size).randbytes(size) for size in (100, 0, 30_000, PIECE_BYTES, 70_000, 9)),
    random.Random(0).randbytes(STEP_BYTES + 5),
    b"",
    b"last",
]
DATA = b"".join(BLOCKS)


def left_by_owner() -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.close()
    return files


def left_by_follower(source: Log) -> MemoryFiles:
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in range(len(BLOCKS)):
        fetch(source, reader, index)
    reader.close()
    return files


def flip(files: MemoryFiles, name: str, bit: int) -> None:
    file = files.open(f"{directory(files).path}/{name}")
    (value,) = file.pread(1, bit // 8)
    file.pwrite(bytes([value ^ 1 << bit % 8]), bit // 8)


def block_of(offset: int) -> int:
    end = 0
    for index, block in enumerate(BLOCKS):
        end += len(block)
        if offset < end:
            return index
    raise AssertionError(offset)


def some_bits(count: int) -> list[int]:
    choice = random.Random(count)
    ends = [sum(map(len, BLOCKS[: index + 1])) for index in range(len(BLOCKS))]
    return [8 * end + by for end in ends if end for by in (-1, 0) if end + by < len(DATA)] + [
        choice.randrange(8 * len(DATA)) for _ in range(count)
    ]


def test_a_clean_feed_is_read_whole_and_each_part_of_it() -> None:
    files = left_by_owner()
    check_whole(reopen(files), BLOCKS)
    choice = random.Random(1)
    log = reopen(files)
    for _ in range(50):
        start = choice.randrange(len(DATA))
        size = choice.randrange(200_000)
        assert log.read(start, size) == DATA[start : start + size]


@pytest.mark.parametrize("bit", some_bits(20))
def test_a_bit_that_rots_in_a_feed_of_ours_is_an_error_and_never_shown(bit: int) -> None:
    files = left_by_owner()
    flip(files, "data", bit)
    log = reopen(files)
    bad = block_of(bit // 8)
    with pytest.raises(BlockUnavailable):
        log.proof(Request(block=BlockRequest(bad, 0)))
    assert log.take_lost() == [(bad, bad + 1)]
    assert log.damaged
    start, end = log.block_span(bad)
    with pytest.raises(StoreCorrupt):
        log.read(bit // 8, 1)
    with pytest.raises(StoreCorrupt):
        log.read(start, 1)
    if start:
        assert log.read(0, len(DATA)) == DATA[:start]
    assert log.read(end, len(DATA)) == DATA[end:]
    assert log.held_bytes == len(DATA) - (end - start)
    log.close()
    assert reopen(files).damaged


@pytest.mark.parametrize("bit", some_bits(20))
def test_a_bit_that_rots_in_a_followed_feed_is_fetched_again(bit: int) -> None:
    source = reopen(left_by_owner())
    files = left_by_follower(source)
    flip(files, "data", bit)
    log = reopen(files)
    bad = block_of(bit // 8)
    start, end = log.block_span(bad)
    assert log.read(0, len(DATA)) == DATA[:start]
    assert log.read(bit // 8, 100) == b""
    assert log.read(end, len(DATA)) == DATA[end:]
    assert log.take_lost() == [(bad, bad + 1)]
    assert not log.take_lost()
    assert not log.damaged
    assert log.apply(*block_pair(source, log, bad)).block_index == bad
    check_whole(log, BLOCKS)
    log.close()
    check_whole(reopen(files), BLOCKS)


def test_a_node_that_was_found_wrong_stays_unknown_when_its_page_is_read_again() -> None:
    source = reopen(left_by_owner())
    files = left_by_follower(source)
    bad = 4
    right = source.nodes.node(2 * bad)
    assert right is not None
    flip(files, "tree", 8 * (2 * bad * NODE_BYTES + 20))
    flip(files, "data", 8 * source.block_span(bad)[0])  # so that it cannot be made again
    log = reopen(files)
    for _ in range(2):
        assert log.nodes.node(2 * bad) is None
        log.nodes.forget_pages()
    log.read(0, len(DATA))
    assert not log.held.get(bad)
    for missing in range(bad, len(BLOCKS)):  # its sibling is lost with it
        if not log.held.get(missing):
            fetch(source, log, missing)
    log.nodes.forget_pages()
    assert log.nodes.node(2 * bad) == right
    log.close()
    check_whole(reopen(files), BLOCKS)


def test_damage_that_cannot_be_noted_is_found_again_by_the_next_run() -> None:
    """The disk takes no writes any more: reading goes on beside the damage."""
    files = left_by_owner()
    flip(files, "data", 8 * 3)
    for _ in range(2):
        log = reopen(files)
        files.fail_at(files.operations, "io")
        with pytest.raises(StoreCorrupt):
            log.read(0, 1)
        assert log.damaged
        assert log.read(5, len(DATA)) == DATA[5:]
        files.fail_at(None)


@pytest.mark.parametrize("has_sums", [True, False])
def test_a_first_read_looks_at_the_pieces_that_it_is_of_and_no_others(
    monkeypatch: pytest.MonkeyPatch, *, has_sums: bool
) -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([bytes([number]) * 1000 for number in range(100)] * 10)
    log.close()
    if not has_sums:
        files.remove(f"{directory(files).path}/sums")
    log = reopen(files)
    looked_at: set[int] = set()
    pread = MemoryFile.pread

    def watched(file: MemoryFile, size: int, offset: int) -> bytes:
        if size >= 1000 and file._inode is data._inode:
            looked_at.update(range(offset, offset + size))
        return pread(file, size, offset)

    data = files.open(f"{directory(files).path}/data")
    monkeypatch.setattr(MemoryFile, "pread", watched)
    for number in (3, 9):
        looked_at.clear()
        log.read(number * PIECE_BYTES + 100, 10)
        assert len(looked_at) < PIECE_BYTES + 2000  # and the rest of the blocks at both ends
        assert set(range(number * PIECE_BYTES, (number + 1) * PIECE_BYTES)) <= looked_at
        looked_at.clear()
        log.read(number * PIECE_BYTES + 5000, 10)
        assert not looked_at


def test_steps_are_whole_pieces_and_none_is_made_twice() -> None:
    unchecked = Unchecked(40 * PIECE_BYTES + 1)
    assert unchecked
    steps = list(unchecked.steps(5, 10))
    assert steps == [(0, PIECE_BYTES)]
    unchecked.discard(*steps[0])
    assert not list(unchecked.steps(0, PIECE_BYTES))
    unchecked.discard(3 * PIECE_BYTES - 1, 5 * PIECE_BYTES - 1)  # the fourth piece
    steps = list(unchecked.steps(0, 60 * PIECE_BYTES))
    assert steps[0] == (PIECE_BYTES, 3 * PIECE_BYTES)
    assert steps[1] == (4 * PIECE_BYTES, 20 * PIECE_BYTES)
    assert steps[-1] == (36 * PIECE_BYTES, 41 * PIECE_BYTES)
    for step in steps:
        unchecked.discard(*step)
    assert not unchecked
    unchecked.add(PIECE_BYTES, PIECE_BYTES + 1)
    assert list(unchecked.steps(0, 1 << 40)) == [(PIECE_BYTES, 2 * PIECE_BYTES)]


def test_a_sector_that_cannot_be_read_makes_only_its_blocks_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = MemoryFiles().open("data", create=True)
    contents = [b"one", b"two", b"three", b"four"]
    file.pwrite(b"".join(contents), 0)
    starts = [0, 3, 6, 11]
    leaves = [
        Leaf(index, start, len(content), leaf_hash(content))
        for index, (start, content) in enumerate(zip(starts, contents, strict=True))
    ]
    leaves[3] = leaves[3]._replace(hash=leaf_hash(b"five"))
    pread = file.pread

    def fail(size: int, offset: int) -> bytes:
        if offset <= 7 < offset + size:
            raise OSError(errno.EIO, "a bad sector")
        return pread(size, offset)

    monkeypatch.setattr(file, "pread", fail)
    assert wrong_or_unreadable(file, leaves) == leaves[2:]


def test_a_leaf_that_claims_more_than_any_block_is_wrong_and_not_read() -> None:
    file = MemoryFiles().open("data", create=True)
    file.pwrite(b"abc", 0)
    right = Leaf(0, 0, 3, leaf_hash(b"abc"))
    vast = Leaf(1, 3, 1 << 50, leaf_hash(b""))
    assert wrong_blocks(file, [right, vast]) == [vast]
