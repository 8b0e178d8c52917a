"""Puts and gets of DHT clients in a network of 300 nodes with 50 ms round trips. See bench-dht.

The nodes are synthetic: true tables of 8-entry buckets, and every reply is late; in the second
network a fifth of them never answers, as in the real one. For each client a fresh network; one node
of it puts fresh items, and a second one, which has never seen them, gets them.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs import bencoding, crypto
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import Endpoint
from protozorfs.dht.items import mutable_target
from protozorfs.dht.node_id import NodeId
from protozorfs.errors import DecodeError
from protozorfs.options import DEFAULT_DHT_RATE
from tests.dht_peers import Swarm, bittorrent_swarm, libtorrent_swarm, own_swarm, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from protozorfs.types import Address

NODES = 300
DELAY_SECONDS = 0.05
DEAD_SHARE = 0.2
ALIVE_FIRST = 3  # nodes that are never dead: clients start from the first
BUCKET_SIZE = 8
OPERATIONS = 60
QUICK_OPERATIONS = 3
PHASE_SECONDS = 90.0  # libtorrent takes 15 s for each operation among dead nodes
SETTLE_SECONDS = 1.0  # for a new client to know the network
WINDOW_SECONDS = 1.0  # of the cap on packets: between two operations of a client that has one
VALUE_BYTES = 100
LOOPBACK = socket.inet_aton("127.0.0.1")


# --- the network ----------------------------------------------------------------------------------


class Network:
    """The synthetic nodes, on real sockets of one process."""

    def __init__(self, dead_share: float, chance: random.Random) -> None:
        self._ids = [NodeId(chance.randbytes(20)) for _ in range(NODES)]
        self._numbers = [int.from_bytes(node_id, "big") for node_id in self._ids]
        dead = range(ALIVE_FIRST, NODES)
        self._dead = set(chance.sample(dead, int(NODES * dead_share)))
        self._tables = [self._table(index, chance) for index in range(NODES)]
        self._items: list[dict[bytes, dict[bytes, bencoding.Encodable]]] = [{} for _ in self._ids]
        self._ports: list[int] = []

    def _table(self, index: int, chance: random.Random) -> list[int]:
        buckets: dict[int, list[int]] = defaultdict(list)
        for other in chance.sample(range(NODES), NODES):
            distance = self._numbers[index] ^ self._numbers[other]
            if other != index and len(buckets[distance.bit_length()]) < BUCKET_SIZE:
                buckets[distance.bit_length()].append(other)
        return [other for bucket in buckets.values() for other in bucket]

    async def run(self) -> None:
        """Serves until standard input ends."""
        async with trio.open_nursery() as nursery:
            for index in range(NODES):
                bound = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                await bound.bind(("127.0.0.1", 0))
                self._ports.append(bound.getsockname()[1])
                nursery.start_soon(self._serve, nursery, index, bound)
            print(json.dumps({"nodes": [{"host": "127.0.0.1", "port": self._ports[0]}]}))
            sys.stdout.flush()
            async for _ in trio.wrap_file(sys.stdin):
                pass
            nursery.cancel_scope.cancel()

    async def _serve(
        self, nursery: trio.Nursery, index: int, bound: trio.socket.SocketType
    ) -> None:
        while True:
            data, source = await bound.recvfrom(2048)
            if index not in self._dead:
                due = trio.current_time() + DELAY_SECONDS
                nursery.start_soon(self._answer_at, due, index, bound, data, source)

    async def _answer_at(
        self,
        due: float,
        index: int,
        bound: trio.socket.SocketType,
        data: bytes,
        source: tuple[str, int],
    ) -> None:
        try:
            query = krpc.decode_message(data)
        except DecodeError:
            return
        if isinstance(query, krpc.Query):
            answer = self._answer(index, query)
            asker = Endpoint(socket.inet_aton(source[0]), source[1])
            await trio.sleep_until(due)
            await bound.sendto(krpc.encode_response(query.transaction, answer, asker), source)

    def _answer(self, index: int, query: krpc.Query) -> dict[bytes, bencoding.Encodable]:
        values: dict[bytes, bencoding.Encodable] = {b"id": self._ids[index]}
        arguments = query.arguments
        target = krpc.read_id(arguments, b"target") or krpc.read_id(arguments, b"info_hash")
        if target is not None:
            values |= {b"nodes": self._nearest(index, target), b"token": b"tokn"}
            if query.method == b"get":
                values |= self._items[index].get(target, {})
        if query.method == b"put" and query.raw_value is not None:
            key = krpc.read_bytes(arguments, b"k") or b""
            self._items[index][mutable_target(key)] = {
                **{name: arguments[name] for name in (b"k", b"seq", b"sig")},
                b"v": bencoding.raw(query.raw_value),
            }
        return values

    def _nearest(self, index: int, target: bytes) -> bytes:
        number = int.from_bytes(target, "big")
        known = sorted(self._tables[index], key=lambda other: self._numbers[other] ^ number)
        return krpc.encode_contacts(
            krpc.Contact(self._ids[other], Endpoint(LOOPBACK, self._ports[other]))
            for other in known[:BUCKET_SIZE]
        )


# --- the measurements -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """A kind of client, and how long it rests between two operations."""

    name: str
    start: Callable[[Address], AbstractContextManager[Swarm]]
    pause_seconds: float = 0.0


CLIENTS = (
    Client("ours", partial(own_swarm, 1)),
    Client(
        f"ours, {DEFAULT_DHT_RATE}/s",
        partial(own_swarm, 1, rate=DEFAULT_DHT_RATE),
        WINDOW_SECONDS,
    ),
    Client("libtorrent", partial(libtorrent_swarm, 1)),
    Client("bittorrent-dht", partial(bittorrent_swarm, 1)),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one client in one network; times in milliseconds."""

    put: list[float]
    get: list[float]
    failures: int


def network(dead_share: float) -> AbstractContextManager[Swarm]:
    """A fresh network in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench_dht", "--serve", str(dead_share)]
    return running(command)


def measure(client: Client, dead_share: float, operations: int) -> Figures:
    """Puts by one node, then gets of the same by another."""
    chance = random.Random(7)
    seeds = [chance.randbytes(32) for _ in range(operations)]
    with ExitStack() as stack:
        start = stack.enter_context(network(dead_share)).addresses[0]
        writer = stack.enter_context(client.start(start))
        puts = run_phase(
            client, writer, [("put", {"seed": seed.hex(), "seq": 1}) for seed in seeds]
        )
        keys = [crypto.key_pair(seed).public_key.hex() for seed in seeds[: len(puts)]]
        reader = stack.enter_context(client.start(start))
        gets = run_phase(client, reader, [("get", {"key": key}) for key in keys])
    good_puts, good_gets = ([took for took in all_ if took is not None] for all_ in (puts, gets))
    failures = len(puts) + len(gets) - len(good_puts) - len(good_gets)
    return Figures(put=good_puts, get=good_gets, failures=failures)


def run_phase(
    client: Client, swarm: Swarm, questions: list[tuple[str, dict[str, str | int]]]
) -> list[float | None]:
    """How long each operation took, None where it failed; ends early when time is up."""
    time.sleep(SETTLE_SECONDS)
    swarm.ask("get", key=bytes(31).hex() + "01")  # so that the first one counted is not the first
    took: list[float | None] = []
    end = time.monotonic() + PHASE_SECONDS
    for op, fields in questions:
        time.sleep(client.pause_seconds)
        more = {"text": "x" * VALUE_BYTES} if op == "put" else {}
        answer = swarm.ask(op, **fields, **more)
        took.append(answer["ms"] if answer.get("ok") else None)
        if time.monotonic() > end:
            break
    return took


def table(figures: dict[str, Figures]) -> str:
    """The medians, and how many times as long as ours the others take."""
    rows = ["| client | put ms (p95) | get ms (p95) | put, ours = 1 | get, ours = 1 | failed |"]
    rows.append("|---|---|---|---|---|---|")
    ours = next(iter(figures.values()))
    for name, figure in figures.items():
        ratios = (
            statistics.median(figure.put) / statistics.median(ours.put),
            statistics.median(figure.get) / statistics.median(ours.get),
        )
        cells = [name, shown(figure.put), shown(figure.get), *(f"{x:.2f}" for x in ratios)]
        rows.append(f"| {' | '.join(cells)} | {figure.failures} |")
    return "\n".join(rows)


def shown(took: list[float]) -> str:
    """Median and 95th percentile."""
    ordered = sorted(took)
    late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return f"{statistics.median(ordered):.0f} ({late:.0f})"


def main() -> None:
    """Reads the arguments; prints one table for each network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="one client")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        trio.run(Network(given.serve, random.Random(1)).run)
        return
    operations = QUICK_OPERATIONS if given.quick else OPERATIONS
    for dead_share in (0.0, DEAD_SHARE):
        figures = {
            client.name: measure(client, dead_share, operations)
            for client in CLIENTS
            if given.only in (None, client.name)
        }
        print(f"\n{NODES} nodes, {DELAY_SECONDS * 1000:.0f} ms, {dead_share:.0%} dead\n")
        print(table(figures), flush=True)


if __name__ == "__main__":
    main()
