"""One bit of a feed's files is another one than was written: nobody is shown a wrong byte.

Nothing that was right is given up for it, and a follower gets back what was not.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import BlockUnavailable, InvalidRequest, StoreCorrupt, StoreError
from protozorfs.log.proof_types import BlockRequest, Request
from protozorfs.store import MemoryFiles
from tests.sizes import long_or_short
from tests.unit.log.feed_tools import (
    block_pair,
    check_whole,
    create_followed,
    create_owned,
    directory,
    fetch,
    reopen,
    upgrade,
    upgrade_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.log.feed import Log

BLOCKS = [random.Random(size).randbytes(size) for size in range(150)]
DATA = b"".join(BLOCKS)
FLIPS = long_or_short(1000, 8)  # in each kind of file


def owned(*, is_clean: bool) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:100])
    log.append(BLOCKS[100:])
    log.sync()
    if is_clean:
        log.close()
    files.kill()
    return files


def followed(*, is_clean: bool) -> MemoryFiles:
    source = reopen(owned(is_clean=True))
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in range(len(BLOCKS)):
        fetch(source, reader, index)
    reader.sync()
    if is_clean:
        reader.close()
    files.kill()
    return files


def flip(files: MemoryFiles, name: str, choice: random.Random) -> None:
    file = files.open(f"{directory(files).path}/{name}")
    bit = choice.randrange(8 * file.size())
    (value,) = file.pread(1, bit // 8)
    file.pwrite(bytes([value ^ 1 << bit % 8]), bit // 8)


def check_shows_nothing_wrong(log: Log) -> None:
    """By bytes, by blocks, and by proofs, which a follower verifies."""
    at = 0
    while at < len(DATA):
        try:
            data = log.read(at, 1000)
        except StoreError:
            data = b""
        assert data == DATA[at : at + len(data)]
        at += max(1, len(data))
    reader = create_followed(MemoryFiles())
    if log.length:
        reader.apply(*upgrade_pair(log, reader))
    for index in range(log.length):
        try:
            assert log.block(index) == BLOCKS[index]
            request = Request(block=BlockRequest(index, reader.request_hint(index)))
            proof = log.proof(request)
        except (BlockUnavailable, InvalidRequest, StoreCorrupt):
            continue
        assert reader.apply(request, proof).block_index == index


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize("name", ["data", "tree", "head", "bitfield"])
@pytest.mark.parametrize("make", [owned, followed], ids=["owned", "followed"])
def test_no_flipped_bit_shows_a_wrong_byte(
    make: Callable[..., MemoryFiles], name: str, *, is_clean: bool
) -> None:
    if name == "bitfield" and not is_clean:
        pytest.skip("there is none before the first clean stop")
    for seed in range(FLIPS):
        files = make(is_clean=is_clean)
        flip(files, name, random.Random(seed))
        for _ in range(2):
            log = reopen(files)
            check_shows_nothing_wrong(log)
            log.close()


def test_a_flipped_bit_in_the_tree_loses_no_block() -> None:
    for seed in range(FLIPS):
        files = owned(is_clean=True)
        flip(files, "tree", random.Random(seed))
        log = reopen(files)
        assert log.read(0, len(DATA)) == DATA
        check_whole(log, BLOCKS)


def test_a_lost_sector_of_the_tree_is_damage_of_a_part_that_a_follower_brings_back() -> None:
    for sector in range(1, 5):
        files = owned(is_clean=True)
        tree = files.open(f"{directory(files).path}/tree")
        tree.pwrite(bytes(512), 512 * sector)
        source = reopen(owned(is_clean=True))
        log = reopen(files)
        check_shows_nothing_wrong(log)
        assert log.damaged
        assert log.held.count(0, len(BLOCKS)) > len(BLOCKS) // 2
        lost = [index for index in range(len(BLOCKS)) if not log.held.get(index)]
        for index in lost:
            log.apply(*block_pair(source, log, index))
        check_whole(log, BLOCKS)
        log.close()
        check_whole(reopen(files), BLOCKS)
