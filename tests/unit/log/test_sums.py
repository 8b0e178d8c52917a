"""Sums say what need not be compared with the tree; whatever they say, no wrong byte is shown."""

from __future__ import annotations

import random
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.errors import BlockUnavailable, StoreError
from protozorfs.log import checking, hashing, node_store
from protozorfs.log.feed import Log
from protozorfs.log.sums import CHUNK_SUMS, MAX_GATHERED, PIECE_BYTES, Span, SumFile
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles
from tests.simulation.log_life import run_lives, told
from tests.sizes import long_or_short
from tests.unit.log.feed_tools import (
    FEED_ID,
    check_whole,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCKS = [random.Random(number).randbytes(50 + number % 200) for number in range(2000)]
DATA = b"".join(BLOCKS)
SUM_FILES = ("sums", "tree_sums")
SMALL_PIECE = 64  # of the tests that draw what happens


class Comparisons:
    """How many blocks, and pages of the tree, were compared with what is signed."""

    def __init__(self) -> None:
        self.leaves = self.pages = 0

    def of_opened(self, files: MemoryFiles) -> Log:
        """Opens a feed, and counts from now on."""
        self.leaves = self.pages = 0
        return reopen(files)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    counts = Comparisons()
    leaf_hash, check_page = hashing.leaf_hash, node_store.NodeStore._check_page

    def counted_leaf(block: bytes | memoryview) -> object:
        counts.leaves += 1
        return leaf_hash(block)

    def counted_page(store: node_store.NodeStore, *arguments: object) -> None:
        counts.pages += 1
        check_page(store, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checking, "leaf_hash", counted_leaf)
    monkeypatch.setattr(node_store.NodeStore, "_check_page", counted_page)
    return counts


def left_by_owner(blocks: list[bytes] = BLOCKS) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    for start in range(0, len(blocks), 7):
        log.append(blocks[start : start + 7])
    log.close()
    return files


def left_by_follower(source: Log, order: list[int]) -> MemoryFiles:
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in order:
        fetch(source, reader, index)
    reader.close()
    return files


def read_all(log: Log) -> bytes:
    return log.read(0, log.byte_length)


def use_tree(log: Log) -> None:
    for index in range(log.length):
        log.nodes.node(2 * index)


def path(files: MemoryFiles, name: str) -> str:
    return f"{directory(files).path}/{name}"


def flip(files: MemoryFiles, name: str, bit: int) -> None:
    file = files.open(path(files, name))
    (value,) = file.pread(1, bit // 8)
    file.pwrite(bytes([value ^ 1 << bit % 8]), bit // 8)


def test_what_was_appended_is_read_without_a_comparison(compared: Comparisons) -> None:
    log = compared.of_opened(left_by_owner())
    assert read_all(log) == DATA
    use_tree(log)
    assert (compared.leaves, compared.pages) == (0, 0)


@pytest.mark.parametrize("is_backward", [False, True])
def test_what_was_received_in_order_is_read_without_a_comparison(
    compared: Comparisons, *, is_backward: bool
) -> None:
    order = list(range(len(BLOCKS)))
    files = left_by_follower(owned_with(BLOCKS), order[::-1] if is_backward else order)
    log = compared.of_opened(files)
    assert read_all(log) == DATA
    use_tree(log)
    assert (compared.leaves, compared.pages) == (0, 0)


def test_what_was_compared_once_is_not_in_the_next_run(compared: Comparisons) -> None:
    files = left_by_owner()
    for name in SUM_FILES:
        files.remove(path(files, name))
    for expected in (len(BLOCKS), 0):
        log = compared.of_opened(files)
        assert read_all(log) == DATA
        use_tree(log)
        log.close()
        assert expected <= compared.leaves <= 1.1 * expected  # some have bytes in two steps
        assert bool(compared.pages) == bool(expected)


def test_appends_after_a_restart_go_on_with_the_sum_of_the_last_piece(
    compared: Comparisons,
) -> None:
    files = left_by_owner(BLOCKS[:1000])
    for start in range(1000, len(BLOCKS), 100):
        log = reopen(files)
        log.append(BLOCKS[start : start + 100])
        log.rest()
        log.close()
    assert read_all(reopen(files)) == DATA
    assert compared.leaves == 0


def test_blocks_larger_than_a_piece_are_summed(compared: Comparisons) -> None:
    blocks = [random.Random(size).randbytes(size) for size in (3, 1 << 20, 200_000, 70_000, 9)]
    files = left_by_owner(blocks)
    check_blocks = b"".join(blocks)
    assert read_all(reopen(files)) == check_blocks
    assert compared.leaves == 0
    files.remove(path(files, "sums"))
    for expected in (True, False):
        log = compared.of_opened(files)
        assert read_all(log) == check_blocks
        log.close()
        assert bool(compared.leaves) == expected


def test_a_piece_that_is_held_in_part_is_summed_for_what_is_held(compared: Comparisons) -> None:
    source = owned_with(BLOCKS)
    half = list(range(700, 1400))
    files = left_by_follower(source, half)
    log = reopen(files)
    start, end = log.block_span(half[0])[0], log.block_span(half[-1])[1]
    assert log.read(start, len(DATA)) == DATA[start:end]
    assert compared.leaves == 0


def test_a_sum_of_a_part_does_not_stand_for_what_came_later() -> None:
    """The disk has lost the later writes to `data` and `sums`, and no others."""
    blocks = [bytes([number]) * 50_000 for number in range(1, 5)]
    source = owned_with(blocks)
    files = left_by_follower(source, [0, 1, 2])
    lost = {name: files.read(path(files, name)) for name in ("data", "sums")}
    log = reopen(files)
    fetch(source, log, 3)
    log.close()
    for name, content in lost.items():
        file = files.open(path(files, name))
        file.truncate(0)
        file.pwrite(content, 0)
    files.open(path(files, "data")).truncate(200_000)
    log = reopen(files)
    assert read_all(log) == b"".join(blocks[:3])
    assert log.take_lost() == [(3, 4)]


def test_a_sum_of_a_part_says_nothing_of_others() -> None:
    """The disk has lost the later write to `sums`; of what came later a bit is wrong."""
    blocks = [bytes([number]) * 20_000 for number in range(1, 6)]
    source = owned_with(blocks)
    files = left_by_follower(source, [0, 4])
    sums = files.read(path(files, "sums"))
    log = reopen(files)
    fetch(source, log, 2)  # in the piece of block 0, with a gap between them
    log.close()
    files.open(path(files, "sums")).pwrite(sums, 0)
    flip(files, "data", 8 * 50_000)
    log = reopen(files)
    assert log.read(0, 20_000) == blocks[0]
    assert log.read(40_000, 20_000) == b""
    assert log.take_lost() == [(2, 3)]


def test_a_piece_is_not_gone_on_with_that_has_rotted() -> None:
    files = left_by_owner()
    flip(files, "data", 8 * (len(DATA) - 1))  # in the last piece
    log = reopen(files)
    log.append([bytes(PIECE_BYTES)])
    log.close()
    log = reopen(files)
    with pytest.raises(StoreError):
        log.read(len(DATA) - 1, 1)
    assert log.take_lost() == [(len(BLOCKS) - 1, len(BLOCKS))]


def test_small_feeds_have_no_sums() -> None:
    files = left_by_owner(BLOCKS[:100])
    log = reopen(files)
    assert read_all(log) == b"".join(BLOCKS[:100])
    log.close()
    assert not {*SUM_FILES} & {*files.listdir(directory(files).path)}


def test_reading_goes_on_where_no_sum_can_be_written(compared: Comparisons) -> None:
    files = left_by_owner()
    for name in SUM_FILES:
        files.remove(path(files, name))
    files.fail_at(files.operations, "full", is_lasting=True)
    for _ in range(2):
        log = reopen(files)
        assert read_all(log) == DATA
        use_tree(log)
        log.close()
    files.fail_at(None)
    check_whole(reopen(files), BLOCKS)
    assert compared.leaves > 2 * len(BLOCKS)


def test_a_processor_that_makes_them_slowly_has_none(
    monkeypatch: pytest.MonkeyPatch, compared: Comparisons
) -> None:
    made = left_by_owner()
    monkeypatch.setattr("protozorfs.log.sums.HAS_FAST_CHECKSUM", False)
    monkeypatch.setattr("protozorfs.log.sums.checksum", None)
    log = compared.of_opened(made)
    assert read_all(log) == DATA
    use_tree(log)
    assert compared.leaves >= len(BLOCKS)
    assert compared.pages
    log.append([bytes(3 * PIECE_BYTES)])
    log.close()
    files = left_by_owner()
    assert not {*SUM_FILES} & {*files.listdir(directory(files).path)}


def test_reading_goes_on_where_no_sum_can_be_read() -> None:
    files = left_by_owner()
    for number in range(20):
        log = reopen(files)
        files.fail_look_at(files.looks + number)
        with suppress(OSError):
            assert read_all(log) in (DATA, DATA[: len(read_all(log))])
        files.fail_look_at(None)
        assert read_all(log) == DATA


def test_an_append_that_fails_for_a_read_has_not_happened() -> None:
    """To go on with the sum of the last piece, what is in it already is read."""
    files = left_by_owner()
    has_failed = True
    number = 0
    while has_failed:
        log = reopen(files)
        length, fail_at = log.length, files.looks + number
        files.fail_look_at(fail_at)
        try:
            log.append([b"more"])
        except OSError:
            assert log.length == length
        has_failed = files.looks > fail_at
        files.fail_look_at(None)
        log.close()
        assert reopen(files).length == log.length
        number += 1
    assert log.length == length + 1


@pytest.mark.parametrize("name", [*SUM_FILES, "data", "tree"])
@pytest.mark.parametrize("is_owned", [True, False])
def test_no_flipped_bit_beside_sums_shows_a_wrong_byte(name: str, *, is_owned: bool) -> None:
    source = owned_with(BLOCKS)
    make: Callable[[], MemoryFiles] = (
        left_by_owner if is_owned else lambda: left_by_follower(source, list(range(len(BLOCKS))))
    )
    whole = make()
    for seed in range(long_or_short(1000, 4)):
        files = whole.clone()
        choice = random.Random(seed)
        bit = choice.randrange(8 * len(files.read(path(files, name))))
        flip(files, name, bit)
        log = reopen(files)
        shown = read_all_that_can_be(log)
        assert all(DATA[at : at + len(part)] == part for at, part in shown)
        assert len(shown) == 1 or name == "data"
        if name in SUM_FILES:
            log.close()
            check_whole(reopen(files), BLOCKS)
        elif name == "data":
            bad = next(index for index in range(len(BLOCKS)) if not log.held.get(index))
            assert log.block_span(bad)[0] <= bit // 8 < log.block_span(bad)[1]
            assert sum(len(part) for _, part in shown) == len(DATA) - len(BLOCKS[bad])
        else:
            log.close()


def read_all_that_can_be(log: Log) -> list[tuple[int, bytes]]:
    """What a log shows, and where: in one piece where nothing is missing."""
    shown: list[tuple[int, bytes]] = []
    at = 0
    while at < log.byte_length:
        data = b""
        with suppress(StoreError):
            data = log.read(at, log.byte_length)
        if data:
            shown.append((at, data))
            at += len(data)
        else:
            found = log.locate(at)
            at = getattr(found, "end", at + 1)
    return shown


def test_the_memory_for_pieces_is_bounded() -> None:
    blocks = [b"%06d" % number * 500 for number in range(400)]
    source = owned_with(blocks)
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    order = list(range(len(blocks)))
    random.Random(1).shuffle(order)
    for index in order:
        fetch(source, reader, index)
        sums = reader._files.sums
        assert len(sums._gathered) <= MAX_GATHERED
        assert len(sums._sums._new) <= CHUNK_SUMS
    reader.close()
    check_whole(reopen(files), blocks)


def test_sums_are_written_in_chunks_and_found_again() -> None:
    files = MemoryFiles()
    file = files.open("sums", create=True)
    sums = SumFile(file, bytes(16), least=0)
    part = Span(1, 4)
    before = files.operations
    for number in range(CHUNK_SUMS):
        sums.put(number, part, b"%03d" % number)
        sums.write_if_many()
    assert files.operations == before + 1
    again = SumFile(file, bytes(16), least=0)
    assert all(again.is_right(number, part, b"%03d" % number) for number in range(CHUNK_SUMS))
    assert not again.is_right(3, part, b"004")
    assert not again.is_right(4, part, b"003")
    assert not again.is_right(3, Span(0, 3), b"003")
    assert not again.has(CHUNK_SUMS)
    assert not SumFile(file, b"another feed's ID", least=0).is_right(3, part, b"003")


# what happens, drawn


def small_pieces() -> ExitStack:
    """Pieces of 64 bytes, so that few blocks have many of them."""
    stack = ExitStack()
    for module in ("sums", "checking", "reading", "files"):
        stack.enter_context(patch(f"protozorfs.log.{module}.PIECE_BYTES", SMALL_PIECE))
    return stack


class World:
    """A feed that is owned or followed, and all that may be shown of it."""

    def __init__(self, seed: int, *, is_owned: bool) -> None:
        self.choice = random.Random(seed)
        self.files = MemoryFiles(seed)
        self.blocks: list[bytes] = []
        self.source = create_owned(MemoryFiles())
        self.log = create_owned(self.files) if is_owned else create_followed(self.files)
        self.is_damaged = False

    def grow(self) -> None:
        new = [
            self.choice.randbytes(self.choice.choice((0, 1, 7, 30, 64, 65, 200)))
            for _ in range(self.choice.randrange(1, 6))
        ]
        if self.log.is_owned:
            if self.log.damaged:
                return
            self.log.append(new)
        self.source.append(new)
        self.blocks += new

    def fetch(self) -> None:
        if self.source.length > self.log.length and not self.log.is_owned:
            upgrade(self.source, self.log)
        for _ in range(self.choice.randrange(8)):
            index = self.choice.randrange(self.log.length or 1)
            if index < self.log.length and not self.log.held.get(index):
                with suppress(*([StoreError] if self.is_damaged else [])):  # its roots may be lost
                    fetch(self.source, self.log, index)

    def drop(self) -> None:
        if not self.log.is_owned and self.log.length:
            start = self.choice.randrange(self.log.length)
            self.log.drop(start, start + self.choice.randrange(4))

    def restart(self) -> None:
        self.log.close()
        self.log = self.opened()

    def kill(self) -> None:
        self.files.kill()
        self.log = self.opened()

    def rest(self) -> None:
        self.log.rest()

    def read(self) -> None:
        at = self.choice.randrange(self.log.byte_length + 1)
        with suppress(StoreError):
            data = self.log.read(at, self.choice.randrange(300))
            assert b"".join(self.blocks)[at : at + len(data)] == data

    def spoil_sums(self) -> None:
        self._spoil(self.choice.choice(SUM_FILES))

    def spoil_data(self) -> None:
        self._spoil(self.choice.choice(("data", "tree")))
        self.is_damaged = True

    def _spoil(self, name: str) -> None:
        self.log.close()
        with suppress(FileNotFoundError):
            size = len(self.files.read(path(self.files, name)))
            if size:
                flip(self.files, name, self.choice.randrange(8 * size))
        self.log = self.opened()

    def opened(self) -> Log:
        return Log.open(FeedDirectory(FilePool(self.files, limit=3), FEED_ID))

    def check(self) -> None:
        held = [index for index in range(self.log.length) if self.log.held.get(index)]
        for index in held:
            try:
                assert self.log.block(index) == self.blocks[index]
            except (BlockUnavailable, StoreError):
                assert self.is_damaged
        self.read()
        if self.log.is_owned and not self.is_damaged:
            assert read_all(self.log) == b"".join(self.blocks)


STEPS = ("grow", "fetch", "fetch", "drop", "restart", "kill", "rest", "read", "spoil_sums")


def stories(*more: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from((*STEPS, *more)), min_size=5, max_size=40)


@pytest.mark.parametrize("is_owned", [True, False])
@given(seed=st.integers(0, 1 << 32), story=stories())
@settings(max_examples=long_or_short(2000, 40), deadline=None)
def test_spoiled_sums_lose_nothing(seed: int, story: list[str], *, is_owned: bool) -> None:
    run(World(seed, is_owned=is_owned), story)


@pytest.mark.parametrize("is_owned", [True, False])
@given(seed=st.integers(0, 1 << 32), story=stories("spoil_data"))
@settings(max_examples=long_or_short(2000, 40), deadline=None)
def test_sums_hide_no_damage(seed: int, story: list[str], *, is_owned: bool) -> None:
    run(World(seed, is_owned=is_owned), story)


def run(world: World, story: list[str]) -> None:
    with small_pieces():
        for step in story:
            getattr(world, step)()
        world.restart()
        world.check()


@pytest.mark.crash
def test_no_life_breaks_a_rule_where_all_has_sums() -> None:
    """Kills, power cuts and errors in any order: sums are never synced."""
    first = random.randrange(1 << 32)
    print("seeds from", first)
    with small_pieces():
        found = run_lives(range(first, first + long_or_short(5000, 6)), 30)
    assert not found, "\n".join(f"seed {seed}: {told(violation)}" for seed, violation in found)


def each_bit(count: int) -> Iterator[int]:
    yield from range(8 * count)


def test_each_bit_of_a_sum_counts() -> None:
    file = MemoryFiles().open("sums", create=True)
    sums = SumFile(file, bytes(16), least=0)
    data = random.Random(1).randbytes(PIECE_BYTES)
    span = Span(0, PIECE_BYTES)
    sums.put(0, span, data)
    sums.write()
    kept = file.pread(16, 0)
    for bit in each_bit(16):
        wrong = bytearray(kept)
        wrong[bit // 8] ^= 1 << bit % 8
        file.pwrite(wrong, 0)
        assert not SumFile(file, bytes(16), least=0).is_right(0, span, data)
    file.pwrite(kept, 0)
    for bit in random.Random(2).sample(range(8 * PIECE_BYTES), 500):
        rotten = bytearray(data)
        rotten[bit // 8] ^= 1 << bit % 8
        assert not SumFile(file, bytes(16), least=0).is_right(0, span, rotten)
    assert SumFile(file, bytes(16), least=0).is_right(0, span, data)
