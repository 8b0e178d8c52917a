"""What is held is read again in steps, and compared with the roots whatever was checked before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreCorrupt
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.node_store import PAGE_NODES
from protozorfs.store import MemoryFiles
from protozorfs.types import TreeIndex
from tests.unit.log.feed_tools import (
    create_followed,
    create_owned,
    directory,
    fetch,
    reopen,
    scrub,
    upgrade,
)

if TYPE_CHECKING:
    from protozorfs.log.feed import Log

SIZES = random.Random(7)
# More than the blocks of one step, and more bytes; the leaves fill some pages of the tree.
BLOCKS = [SIZES.randbytes(SIZES.choice([0, 1, 50, 8000])) for _ in range(1500)]
DATA = b"".join(BLOCKS)
HIGHEST_ROOT = 1023


def owned(files: MemoryFiles) -> Log:
    log = create_owned(files)
    log.append(BLOCKS)
    log.close()
    return reopen(files)


def followed(files: MemoryFiles, source: Log, blocks: range) -> Log:
    log = create_followed(files)
    upgrade(source, log)
    for index in blocks:
        fetch(source, log, index)
    log.close()
    return reopen(files)


def offset_of(block_index: int) -> int:
    return sum(map(len, BLOCKS[:block_index]))


def flip(files: MemoryFiles, name: str, offset: int) -> None:
    files.flip_bit(f"{directory(files).path}/{name}", 8 * offset)


def flip_block(files: MemoryFiles, block_index: int) -> None:
    flip(files, "data", offset_of(block_index))


def a_block_with_bytes(start: int) -> int:
    return next(index for index in range(start, len(BLOCKS)) if BLOCKS[index])


def state_of(files: MemoryFiles) -> dict[str, bytes]:
    path = directory(files).path
    return {name: files.read(f"{path}/{name}") for name in files.listdir(path)}


def test_all_is_read_and_nothing_is_written() -> None:
    files = MemoryFiles()
    log = owned(files)
    before = state_of(files)
    steps, size, mended = scrub(log)
    assert steps > 2
    assert (size, mended) == (len(DATA), 0)
    assert not log.take_lost()
    assert log.directory.is_marked_clean()
    assert log.writes == 0
    assert state_of(files) == before


def test_a_step_finds_nothing_wrong_where_nothing_is() -> None:
    log = owned(MemoryFiles())
    step = log.begin_scrub(0, log.length)
    assert step is not None
    step.run()
    step.release()
    assert not step.wrong
    assert not step.pages


@pytest.mark.parametrize("node", [0, PAGE_NODES - 1, PAGE_NODES])
def test_a_step_names_the_page_of_a_wrong_node(node: int) -> None:
    files = MemoryFiles()
    log = owned(files)
    flip(files, "tree", node * NODE_BYTES + 20)
    step = log.begin_scrub(0, log.length)
    assert step is not None
    step.run()
    step.release()
    assert not step.wrong
    assert step.pages == {node // PAGE_NODES}


def test_a_read_loses_the_blocks_below_nodes_that_follow_from_nothing() -> None:
    source = owned(MemoryFiles())
    files = MemoryFiles()
    log = followed(files, source, range(64, 128))
    log.drop(65, 66)
    for node in (2 * 64, 2 * 65):
        flip(files, "tree", node * NODE_BYTES + 20)
    log.close()
    log = reopen(files)
    assert log.read(offset_of(66), 1) == DATA[offset_of(66) :][:1]
    assert log.take_lost() == [(64, 65)]


def test_a_wrong_bit_of_a_feed_of_our_own_is_damage() -> None:
    files = MemoryFiles()
    log = owned(files)
    bad = a_block_with_bytes(1100)
    flip_block(files, bad)
    scrub(log)
    assert log.take_lost() == [(bad, bad + 1)]
    assert log.damaged
    with pytest.raises(StoreCorrupt):
        log.read(offset_of(bad), 1)
    assert reopen(files).damaged, "it is kept"


def test_a_wrong_bit_in_what_this_run_has_read_before_is_found() -> None:
    files = MemoryFiles()
    log = owned(files)
    assert log.read(0, len(DATA)) == DATA
    bad = a_block_with_bytes(700)
    flip_block(files, bad)
    scrub(log)
    assert log.take_lost() == [(bad, bad + 1)]


def test_a_wrong_bit_of_a_followed_feed_is_dropped_and_can_be_fetched_again() -> None:
    source = owned(MemoryFiles())
    files = MemoryFiles()
    log = followed(files, source, range(0, 1500, 7))
    bad = next(index for index in range(0, 1500, 7) if index > 800 and BLOCKS[index])
    flip_block(files, bad)
    assert scrub(log)[1] == sum(len(BLOCKS[index]) for index in range(0, 1500, 7))
    assert log.take_lost() == [(bad, bad + 1)]
    assert not log.held.get(bad)
    fetch(source, log, bad)
    assert log.block(bad) == BLOCKS[bad]
    scrub(log)
    assert not log.take_lost()


def test_a_wrong_block_that_is_dropped_meanwhile_hides_no_other() -> None:
    source = owned(MemoryFiles())
    files = MemoryFiles()
    log = followed(files, source, range(64, 128))
    one, other = a_block_with_bytes(70), a_block_with_bytes(100)
    for bad in (one, other):
        flip_block(files, bad)
    step = log.begin_scrub(0, log.length)
    assert step is not None
    step.run()
    log.drop(one, one + 1)
    log.end_scrub(step)
    assert log.take_lost() == [(other, other + 1)]


@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize("node", [HIGHEST_ROOT, 0, 1, 511, 2 * 900])
def test_a_wrong_node_that_follows_from_others_is_written_again(
    node: int, is_read_before: bool
) -> None:
    files = MemoryFiles()
    log = owned(files)
    whole = state_of(files)["tree"]
    if is_read_before:
        assert log.read(0, len(DATA)) == DATA
    flip(files, "tree", node * NODE_BYTES + 20)
    assert scrub(log)[2] == 1
    assert not log.take_lost()
    assert state_of(files)["tree"] == whole
    assert scrub(log)[2] == 0


def test_nodes_that_follow_from_nothing_take_their_blocks_with_them() -> None:
    source = owned(MemoryFiles())
    files = MemoryFiles()
    log = followed(files, source, range(64, 128))
    # The leaf of a block that is not here proves its neighbour: both wrong, nothing is left.
    log.drop(65, 66)
    for node in (2 * 64, 2 * 65):
        flip(files, "tree", node * NODE_BYTES + 20)
    flip(files, "data", offset_of(64))
    scrub(log)
    assert log.take_lost() == [(64, 65)]
    assert list(log.held.ranges(0, len(BLOCKS))) == [(66, 128)]


def test_what_memory_has_right_of_the_tree_is_written_again() -> None:
    """A page that was checked and stays in memory outlasts what the disk made of it."""
    files = MemoryFiles()
    log = owned(files)
    whole = state_of(files)["tree"]
    assert log.nodes.node(TreeIndex(0)) is not None
    for node in (0, 1, 2, 3, 4, 5, 6):
        flip(files, "tree", node * NODE_BYTES + 20)
    flip_block(files, a_block_with_bytes(0))
    scrub(log)
    assert state_of(files)["tree"] == whole
    assert log.damaged


def test_what_changes_during_a_step_is_no_damage() -> None:
    source = owned(MemoryFiles())
    files = MemoryFiles()
    log = followed(files, source, range(200))
    step = log.begin_scrub(0, log.length)
    assert step is not None
    log.drop(0, 100)
    step.run()
    log.end_scrub(step)
    assert not log.take_lost()

    mine = owned(MemoryFiles())
    step = mine.begin_scrub(0, mine.length)
    assert step is not None
    mine.append([b"more"])
    step.run()
    mine.end_scrub(step)
    assert not mine.take_lost()
    assert mine.block(1500) == b"more"


def test_nodes_that_came_in_this_run_are_not_taken_for_wrong() -> None:
    files = MemoryFiles()
    log = owned(files)
    assert log.read(0, 10) == DATA[:10]
    log.append([b"more"] * 700)
    log.sync()
    node = 2 * 1501
    flip(files, "tree", node * NODE_BYTES + 20)
    log.rest()  # nothing stays in memory
    assert scrub(log)[2] == 1
    assert not log.take_lost()
    assert log.block(2199) == b"more"
