"""Dropping blocks frees every page of the disk that no held block needs any more."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.log.feed import Log
from protozorfs.log.incoming import PAGE_BYTES
from protozorfs.store import FeedDirectory, FilePool
from protozorfs.store.files import RealFiles
from tests.unit.log.feed_tools import FEED_ID, block_pair, fetch, owned_with, upgrade

ENTRY_BYTES = 2 * PAGE_BYTES  # what a file system may count for its own list of a file's pieces


def pages_needed(log: Log) -> int:
    """Bytes of the pages that held blocks lie in."""
    pages: set[int] = set()
    for index in range(log.length):
        if log.held.get(index):
            start, end = log.block_span(index)
            pages.update(range(start // PAGE_BYTES, -(-end // PAGE_BYTES)))
    return len(pages) * PAGE_BYTES


def follower(root: Path) -> Log:
    return Log.create(FeedDirectory(FilePool(RealFiles(root)), FEED_ID))


@given(
    sizes=st.lists(st.sampled_from([0, 1, 700, 4096, 5000, 70_000]), min_size=1, max_size=25),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 24), st.integers(1, 6)), max_size=12),
)
@settings(max_examples=25, deadline=None)
def test_pages_come_free_with_their_last_block(
    sizes: list[int], steps: list[tuple[bool, int, int]]
) -> None:
    source = owned_with([b"x" * size for size in sizes])
    with tempfile.TemporaryDirectory() as root:
        reader = follower(Path(root))
        upgrade(source, reader)
        for is_drop, start, count in steps:
            if is_drop:
                reader.drop(start, start + count)
            for index in range(start, min(len(sizes), start + count)):
                if not is_drop and not reader.held.get(index):
                    fetch(source, reader, index)
            assert reader.allocated_bytes <= pages_needed(reader) + ENTRY_BYTES
        for index in range(len(sizes)):
            if reader.held.get(index):
                assert reader.block(index) == b"x" * sizes[index]
        reader.drop(0, len(sizes))
        assert reader.allocated_bytes <= ENTRY_BYTES
        reader.close()


def test_what_a_kill_left_behind_is_given_back(tmp_path: Path) -> None:
    source = owned_with([b"x" * 100_000] * 20)
    reader = follower(tmp_path)
    upgrade(source, reader)
    for index in (3, 4, 11):
        fetch(source, reader, index)
    data = reader.directory.file("data")
    data.pwrite(b"y" * 300_000, 500_000)
    data.pwrite(b"y" * 300_000, 1_500_000)
    reader.drop_leavings()
    assert reader.allocated_bytes <= pages_needed(reader) + ENTRY_BYTES
    assert [reader.block(index) for index in (3, 4, 11)] == [b"x" * 100_000] * 3
    reader.close()


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    source = owned_with([b"x" * 5000] * 20)
    reader = follower(tmp_path)
    upgrade(source, reader)
    fetch(source, reader, 0)
    asked: list[tuple[int, int]] = []

    def make_room(size: int) -> None:
        reader.drop(0, 1)  # room is made in the same feed
        asked.append((size, reader.allocated_bytes))

    reader.apply_all([block_pair(source, reader, index) for index in (6, 7, 18)], make_room)
    ((size, allocated_then),) = asked
    assert reader.allocated_bytes - allocated_then <= size
    assert size == 3 * PAGE_BYTES + 3 * PAGE_BYTES  # 30 000 to 40 000, and 90 000 to 95 000
    assert [index for index in range(20) if reader.held.get(index)] == [6, 7, 18]
    reader.close()
