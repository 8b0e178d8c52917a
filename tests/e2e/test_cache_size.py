"""`cache_size`: what followed feeds take on the disk never passes it, and all bytes are right."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import (
    at,
    follow,
    free_port,
    id_of,
    mounted_at,
    number,
    wait_size,
    wait_until,
    xattr,
)
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mounts import Mount

pytestmark = pytest.mark.fuse

MEBIBYTE = 1 << 20
BLOCK_BYTES = 64 * 1024
FEED_BYTES = long_or_short(1024 * MEBIBYTE, 200 * MEBIBYTE)
CACHE_BYTES = 50 * MEBIBYTE
READERS = 4
TREE_BYTES = 2 * 40 * FEED_BYTES // BLOCK_BYTES  # every node of the feed's tree
METADATA_BYTES = TREE_BYTES + MEBIBYTE  # with heads, databases, what is held
LOOK_SECONDS = 0.01


def block(index: int) -> bytes:
    return random.Random(index).randbytes(BLOCK_BYTES)


def append_blocks(feed: Path, count: int) -> None:
    with feed.open("ab", buffering=0) as file:
        for index in range(count):
            file.write(block(index))


def expected(offset: int, size: int) -> bytes:
    first, last = offset // BLOCK_BYTES, (offset + size - 1) // BLOCK_BYTES
    data = b"".join(block(index) for index in range(first, last + 1))
    return data[offset - first * BLOCK_BYTES :][:size]


def pread_all(descriptor: int, size: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.pread(descriptor, size, offset)
        assert part, f"an end at {offset}"
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def taken(path: Path, only: str = "") -> int:
    """Bytes on the disk of all files below a directory, or of those of one name."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            if only in ("", name):
                try:
                    total += os.stat(f"{directory}/{name}").st_blocks * 512
                except FileNotFoundError:  # a temporary file of the store's
                    continue
    return total


class Watch:
    """The most that a store took at any look."""

    def __init__(self, store: Path) -> None:
        self.data = self.whole = self.looks = 0
        self._store = store

    def look(self) -> None:
        self.data = max(self.data, taken(self._store, "data"))
        self.whole = max(self.whole, taken(self._store))
        self.looks += 1


@contextmanager
def watched(store: Path) -> Iterator[Watch]:
    watch, ended = Watch(store), threading.Event()

    def look_often() -> None:
        while not ended.wait(LOOK_SECONDS):
            watch.look()

    thread = threading.Thread(target=look_often)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def read_randomly(feed: Path, seed: int) -> int:
    """Reads every READERS-th block and some ranges anywhere, in random order; returns how many."""
    chance = random.Random(seed)
    wholes = [(index * BLOCK_BYTES, BLOCK_BYTES) for index in range(seed, count(), READERS)]
    anywhere = [
        (chance.randrange(FEED_BYTES - size), size)
        for size in (chance.randrange(1, 300_000) for _ in range(count() // 16))
    ]
    ranges = wholes + anywhere
    chance.shuffle(ranges)
    descriptor = os.open(feed, os.O_RDONLY)
    try:
        for offset, size in ranges:
            assert pread_all(descriptor, size, offset) == expected(offset, size), offset
    finally:
        os.close(descriptor)
    return len(ranges)


def count() -> int:
    return FEED_BYTES // BLOCK_BYTES


def check_limit(watch: Watch) -> None:
    assert watch.looks > 3
    assert watch.data <= CACHE_BYTES
    assert watch.whole <= CACHE_BYTES + METADATA_BYTES


@contextmanager
def follower(tmp_path: Path, port: int, *more: str) -> Iterator[Mount]:
    with mounted_at(tmp_path, "reader", free_port(), at(port), more=more) as mount:
        yield mount


def test_random_readers_of_a_feed_much_larger_than_the_limit(tmp_path: Path) -> None:
    port = free_port()
    limit = f"cache_size={CACHE_BYTES}"
    with mounted_at(tmp_path, "owner", port) as owner:
        append_blocks(owner.path / "big", count())
        feed_id = id_of(owner.path / "big")
        with follower(tmp_path, port, limit) as reader, watched(reader.store) as watch:
            feed = follow(feed_id, reader.path / "big")
            wait_size(feed, FEED_BYTES)
            with ThreadPoolExecutor(READERS) as readers:
                done = readers.map(lambda seed: read_randomly(feed, seed), range(READERS))
                assert sum(done) >= count()
            check_limit(watch)
            assert watch.data > CACHE_BYTES * 0.9, "the room is used"
            assert number(feed, "local") <= CACHE_BYTES
            reader.process.kill()
            reader.process.wait()
        with follower(tmp_path, port, limit) as reader, watched(reader.store) as watch:
            feed = reader.path / "big"
            read_some(feed)
            check_limit(watch)
        smaller = f"cache_size={CACHE_BYTES * 2 // 3}"
        with follower(tmp_path, port, smaller) as reader:
            assert taken(reader.store, "data") <= CACHE_BYTES * 2 // 3
            read_some(reader.path / "big")


def read_some(feed: Path) -> None:
    descriptor = os.open(feed, os.O_RDONLY)
    for index in range(0, count(), 37):
        offset = index * BLOCK_BYTES
        assert pread_all(descriptor, BLOCK_BYTES, offset) == block(index)
    os.close(descriptor)


def test_feeds_are_fetched_whole_as_far_as_there_is_room(tmp_path: Path) -> None:
    """Two that fit, and one that does not any more; when one of them goes, it is fetched on."""
    port = free_port()
    with (
        mounted_at(tmp_path, "owner", port) as owner,
        follower(tmp_path, port, f"cache_size={CACHE_BYTES}") as reader,
        watched(reader.store) as watch,
    ):
        blocks = {"one": 200, "two": 200, "three": 500}
        for name, number_of_blocks in blocks.items():
            append_blocks(owner.path / name, number_of_blocks)
        for name, number_of_blocks in blocks.items():
            feed = follow(id_of(owner.path / name), reader.path / name)
            wait_size(feed, number_of_blocks * BLOCK_BYTES)
            wait_until(lambda feed=feed: xattr(feed, "state") == "current")  # type: ignore[misc]
        held = [number(reader.path / name, "local") // BLOCK_BYTES for name in blocks]
        assert held[:2] == [200, 200]
        assert 200 < held[2] < 500
        feed = reader.path / "three"
        assert feed.read_bytes() == b"".join(block(index) for index in range(500))
        (reader.path / "one").unlink()
        (reader.path / "two").unlink()
        wait_until(lambda: number(feed, "local") == 500 * BLOCK_BYTES)
        check_limit(watch)
