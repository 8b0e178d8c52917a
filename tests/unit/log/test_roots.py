"""One bit of a root is wrong: nothing is lost by that."""

from __future__ import annotations

import random

import pytest

from protozorfs.log import flat_tree
from protozorfs.log.format import NODE_BYTES
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    check_whole,
    create_followed,
    create_owned,
    directory,
    fetch,
    reopen,
    upgrade,
)

LENGTH = 39  # roots of 32, 4 and 2 blocks, and of one
BLOCKS = [random.Random(size).randbytes(size) for size in range(1, LENGTH + 1)]


def owned(*, is_clean: bool) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.sync()
    if is_clean:
        log.close()
    files.kill()
    return files


def followed(*, is_clean: bool) -> MemoryFiles:
    files = MemoryFiles()
    source, reader = reopen(owned(is_clean=True)), create_followed(files)
    upgrade(source, reader)
    for index in range(LENGTH):
        fetch(source, reader, index)
    reader.sync()
    if is_clean:
        reader.close()
    files.kill()
    return files


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "unclean"])
@pytest.mark.parametrize("byte", [0, 3, 8, 39])
def test_a_damaged_root_is_made_again(byte: int, *, is_clean: bool) -> None:
    for make in (owned, followed):
        whole = make(is_clean=is_clean)
        for root in flat_tree.peaks(LENGTH):
            files = whole.clone()
            tree = files.open(f"{directory(files).path}/tree")
            (value,) = tree.pread(1, root * NODE_BYTES + byte)
            tree.pwrite(bytes([value ^ 1]), root * NODE_BYTES + byte)
            for _ in range(2):
                log = reopen(files)
                check_whole(log, BLOCKS)
                assert log.held.count(0, LENGTH) == LENGTH
                log.close()


def test_all_roots_at_once_are_made_again() -> None:
    for make in (owned, followed):
        files = make(is_clean=True)
        tree = files.open(f"{directory(files).path}/tree")
        for root in flat_tree.peaks(LENGTH):
            tree.pwrite(bytes(NODE_BYTES), root * NODE_BYTES)
        log = reopen(files)
        check_whole(log, BLOCKS)
        log.close()
        check_whole(reopen(files), BLOCKS)
