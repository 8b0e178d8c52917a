"""protozorfs and Node hypercore side by side: replication, latency, appends. See scripts/bench.

Every figure is taken from both in turn, several rounds, and the medians are compared: the machine
is the same, and what disturbs one round disturbs both.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from protozorfs.app import open_node
from protozorfs.ids import parse_feed_id
from protozorfs.options import Options
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODE_BENCH = Path(__file__).parents[1] / "tests" / "peers" / "hypercore_bench.js"
LOOPBACK = "127.0.0.1"
LARGE_BYTES = 65536
SMALL_BYTES = 100
BATCH_BLOCKS = 256  # of one append while a source is filled; not measured
POLL_SECONDS = 0.002  # between two looks whether all blocks are here
LOOK_SECONDS = 0.0003  # between two reads at the end of a file; without, they keep its daemon busy
RUN_SECONDS = 300.0  # the longest that one measurement may take
ALONE = "bind=127.0.0.1,nodht,nolan,noportmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much each measurement moves."""

    rounds: int
    large_blocks: int
    small_blocks: int
    appends_large: int
    appends_small: int
    latencies: int


FULL = Amounts(
    rounds=5,
    large_blocks=4096,
    small_blocks=100_000,
    appends_large=4096,
    appends_small=20_000,
    latencies=500,
)
QUICK = Amounts(
    rounds=1,
    large_blocks=256,
    small_blocks=5_000,
    appends_large=256,
    appends_small=2_000,
    latencies=50,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `ratio` is how many times better ours is: above 1 is better."""

    name: str
    unit: str
    is_time: bool  # less is better
    goal: float
    node: Callable[[], float]
    ours: Callable[[], float]

    def ratio(self, node: float, ours: float) -> float:
        return node / ours if self.is_time else ours / node


# Node


def node_bench(mode: str, *arguments: str | int) -> dict[str, float]:
    """The figures of one run of the other side's benchmark."""
    command = ["node", str(NODE_BENCH), mode, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def node_replicate(blocks: int, block_bytes: int) -> float:
    """Blocks per second from one Node process to another."""
    figures = node_bench("replicate", "--blocks", blocks, "--block-bytes", block_bytes)
    return figures["blocks_per_s"]


def node_append(blocks: int, block_bytes: int) -> float:
    """Blocks per second, one append each."""
    figures = node_bench("append", "--blocks", blocks, "--block-bytes", block_bytes)
    return figures["blocks_per_s"]


def node_latency(count: int) -> float:
    """Median milliseconds from an append in one process until the other has the block."""
    return node_bench("latency", "--count", count, "--block-bytes", SMALL_BYTES)["p50"]


# ours: replication between two processes that use the library


def alone(port: int | None = None, peers: tuple[Address, ...] = ()) -> Options:
    """A node on loopback that finds nobody but its given peers."""
    return Options(bind=LOOPBACK, port=port, peers=peers, nodht=True, nolan=True, noportmap=True)


async def serve_source(store: Path, port: int, blocks: int, block_bytes: int) -> None:
    """Fills a new feed, prints its ID, serves it until the process is ended."""
    async with open_node(store, alone(port)) as node:
        feed = await node.feeds.create(b"source")
        for start in range(0, blocks, BATCH_BLOCKS):
            count = min(BATCH_BLOCKS, blocks - start)
            await feed.append(
                [(start + i).to_bytes(4, "little").ljust(block_bytes, b".") for i in range(count)]
            )
        await feed.sync()
        print(feed.feed_id.hex(), flush=True)
        await trio.sleep_forever()


async def fetch_from_source(store: Path, port: int, feed_id: str, byte_length: int) -> float:
    """Seconds from following a feed, dialling included, until all its bytes are here."""
    async with open_node(store, alone(peers=(Address(LOOPBACK, port),))) as node:
        started = time.perf_counter()
        feed = await node.feeds.follow(parse_feed_id(feed_id), b"sink")
        with trio.fail_after(RUN_SECONDS):
            while feed.held_bytes < byte_length:  # noqa: ASYNC110  # a want would change the order
                await trio.sleep(POLL_SECONDS)
        return time.perf_counter() - started


def our_replicate(blocks: int, block_bytes: int) -> float:
    """Blocks per second from one process and store to another."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        port = free_port()
        source = [sys.executable, __file__, "source", f"{directory}/source"]
        with subprocess.Popen(
            [*source, str(port), str(blocks), str(block_bytes)], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                feed_id = process.stdout.readline().strip()
                seconds = trio.run(
                    fetch_from_source,
                    Path(directory, "sink"),
                    port,
                    feed_id,
                    blocks * block_bytes,
                )
            finally:
                process.send_signal(signal.SIGTERM)
    return blocks / seconds


# ours: through mounts


@contextmanager
def mounted(directory: Path, name: str, options: str) -> Iterator[Path]:
    """A store and its mount; at the end the daemon has closed the store."""
    mount_point = directory / name
    mount_point.mkdir()
    store = directory / f"{name}.store"
    command = ["mount.protozorfs", str(store), str(mount_point), "--foreground", "-v"]
    with subprocess.Popen(
        [*command, "-o", f"{ALONE},{options}"], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        if "is mounted at" not in daemon.stdout.readline():
            raise RuntimeError("the mount failed")
        try:
            yield mount_point
        finally:
            daemon.send_signal(signal.SIGTERM)


def our_append(blocks: int, block_bytes: int) -> float:
    """Blocks per second through one open file of a mount, one write each."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        mounted(Path(directory), "owner", f"port={free_port()}") as owner,
        open(owner / "feed", "ab", buffering=0) as feed,
    ):
        block = b"." * block_bytes
        started = time.perf_counter()
        for _ in range(blocks):
            os.write(feed.fileno(), block)
        seconds = time.perf_counter() - started
    return blocks / seconds


def our_latency(count: int) -> float:
    """Median milliseconds from before a write in one mount until a read in the other has it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        owner = stack.enter_context(mounted(Path(directory), "owner", f"port={port}"))
        reader = stack.enter_context(mounted(Path(directory), "reader", f"peer={LOOPBACK}:{port}"))
        feed = stack.enter_context(open(owner / "feed", "ab", buffering=0))
        feed.write(b"." * SMALL_BYTES)
        feed_id = os.getxattr(owner / "feed", "protozorfs.id")
        os.symlink(feed_id, os.fsencode(reader / "feed"))
        copy = stack.enter_context(open(reader / "feed", "rb", buffering=0))
        wait_for_bytes(copy.fileno(), 0)
        samples = []
        for number in range(1, count + 1):
            started = time.perf_counter()
            feed.write(b"." * SMALL_BYTES)
            wait_for_bytes(copy.fileno(), number * SMALL_BYTES)
            samples.append((time.perf_counter() - started) * 1000)
    return statistics.median(samples)


def wait_for_bytes(descriptor: int, offset: int) -> None:
    """Reads at the end of a file until there is something; a regular file cannot be waited for."""
    deadline = time.monotonic() + RUN_SECONDS
    while not os.pread(descriptor, SMALL_BYTES, offset):
        if time.monotonic() > deadline:
            raise TimeoutError("the block never came")
        time.sleep(LOOK_SECONDS)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# the table


def figures(amounts: Amounts) -> list[Figure]:
    """All that is measured, with the goals of docs/speed.md."""
    return [
        Figure(
            name="replication, 64 KiB blocks",
            unit="blocks/s",
            is_time=False,
            goal=1.5,
            node=lambda: node_replicate(amounts.large_blocks, LARGE_BYTES),
            ours=lambda: our_replicate(amounts.large_blocks, LARGE_BYTES),
        ),
        Figure(
            name="replication, 100-byte blocks",
            unit="blocks/s",
            is_time=False,
            goal=1.0,
            node=lambda: node_replicate(amounts.small_blocks, SMALL_BYTES),
            ours=lambda: our_replicate(amounts.small_blocks, SMALL_BYTES),
        ),
        Figure(
            name="append until read elsewhere, p50",
            unit="ms",
            is_time=True,
            goal=0.5,
            node=lambda: node_latency(amounts.latencies),
            ours=lambda: our_latency(amounts.latencies),
        ),
        Figure(
            name="appends through the mount, 64 KiB",
            unit="blocks/s",
            is_time=False,
            goal=0.7,
            node=lambda: node_append(amounts.appends_large, LARGE_BYTES),
            ours=lambda: our_append(amounts.appends_large, LARGE_BYTES),
        ),
        Figure(
            name="appends through the mount, 100 bytes",
            unit="blocks/s",
            is_time=False,
            goal=1.5,
            node=lambda: node_append(amounts.appends_small, SMALL_BYTES),
            ours=lambda: our_append(amounts.appends_small, SMALL_BYTES),
        ),
    ]


def compare(amounts: Amounts, only: str) -> int:
    """Measures and prints; returns how many figures miss their goal."""
    missed = 0
    print("| figure | unit | Node | protozorfs | ratio | goal |\n|---|---|---|---|---|---|")
    for figure in figures(amounts):
        if only not in figure.name:
            continue
        node, ours = [], []
        for _ in range(amounts.rounds):
            node.append(figure.node())
            ours.append(figure.ours())
        typical_node, typical_ours = statistics.median(node), statistics.median(ours)
        ratio = figure.ratio(typical_node, typical_ours)
        missed += ratio < figure.goal
        print(
            f"| {figure.name} | {figure.unit} | {typical_node:.4g} | {typical_ours:.4g} "
            f"| {ratio:.2f} | {figure.goal} |",
            flush=True,
        )
    return missed


def main() -> None:
    if sys.argv[1:2] == ["source"]:
        store, port, blocks, block_bytes = sys.argv[2:]
        trio.run(serve_source, Path(store), int(port), int(blocks), int(block_bytes))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller amounts, one round")
    parser.add_argument("--only", default="", metavar="TEXT", help="figures with this in the name")
    arguments = parser.parse_args()
    missed = compare(QUICK if arguments.quick else FULL, arguments.only)
    if missed:
        print(f"\n{missed} figures miss their goal", file=sys.stderr)


if __name__ == "__main__":
    main()
