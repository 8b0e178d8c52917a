"""How fast a feed is read and served for the first time after a restart. See scripts/bench-reads.

What an earlier run has left is checked before it is used: by its sums, where there are any, else by
the leaves of the tree. All files are in the page cache; one process, its own thread only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.log.feed import Log
from protozorfs.log.proof_types import BlockRequest, Request
from protozorfs.store import FeedDirectory, FilePool, RealFiles
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
READ_BYTES = 128 * 1024
BATCH_BLOCKS = 64
SERVED_BLOCKS = 5000
SEED = bytes(range(32))
SUM_FILES = ("sums", "tree_sums")


def directory(root: Path) -> FeedDirectory:
    """That of the feed, in a pool of its own, as after a restart."""
    return FeedDirectory(FilePool(RealFiles(root)), FeedId(crypto.key_pair(SEED).public_key))


def fill(root: Path, block_bytes: int, total_bytes: int) -> None:
    """Makes a feed and closes it cleanly."""
    log = Log.create(directory(root), SEED)
    for _ in range(total_bytes // (block_bytes * BATCH_BLOCKS)):
        log.commit([os.urandom(block_bytes) for _ in range(BATCH_BLOCKS)])
    log.close()


def read(log: Log) -> float:
    """MiB/s of a read from the beginning to the end."""
    start = time.perf_counter()
    at = 0
    while data := log.read(at, READ_BYTES):
        at += len(data)
    assert at == log.byte_length
    return at / MIB / (time.perf_counter() - start)


def serve(log: Log) -> float:
    """Blocks/s that a peer is given with their proofs, in order."""
    count = min(SERVED_BLOCKS, log.length)
    start = time.perf_counter()
    for index in range(count):
        log.proof(Request(block=BlockRequest(index, 0)))
    return count / (time.perf_counter() - start)


def first_and_again(root: Path, use: Callable[[Log], float]) -> tuple[float, float]:
    """The first use of a run, and the second."""
    log = Log.open(directory(root))
    first, again = use(log), use(log)
    log.close()
    return first, again


def without_sums(root: Path, use: Callable[[Log], float]) -> float:
    """The first use where there are no sums, as in a store of 0.1.0."""
    place = root / directory(root).path
    for name in SUM_FILES:
        (place / name).unlink(missing_ok=True)
    return first_and_again(root, use)[0]


def measure(work: Path, block_bytes: int, total_bytes: int, rounds: int) -> None:
    """Prints the rows of one size of blocks: medians."""
    root = work / str(block_bytes)
    root.mkdir()
    fill(root, block_bytes, total_bytes)
    for name, unit, use in (("read", "MiB/s", read), ("served", "blocks/s", serve)):
        pairs = [first_and_again(root, use) for _ in range(rounds)]
        first, again = (statistics.median(column) for column in zip(*pairs, strict=True))
        compared = statistics.median(without_sums(root, use) for _ in range(min(rounds, 3)))
        blocks = f"{name}, blocks of {block_bytes} bytes"
        print(f"| {blocks} | {unit} | {first:.0f} | {compared:.0f} | {again:.0f} |", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller feeds, one round")
    parser.add_argument("--directory", type=Path, help="where the feeds are made (default: /tmp)")
    arguments = parser.parse_args()
    small, large, rounds = (2, 16, 1) if arguments.quick else (32, 256, 5)
    print("| | unit | first, by sums | first, by leaves | again |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as work:
        measure(Path(work), 65536, large * MIB, rounds)
        measure(Path(work), 100, small * MIB, rounds)


if __name__ == "__main__":
    main()
