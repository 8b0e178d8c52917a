"""Our DHT node among those of libtorrent and bittorrent-dht: each stores for, and reads from, ours.

Everything is on loopback, and nobody knows a node beyond it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from protozorfs import crypto
from protozorfs.dht.endpoint import IPV4, parse_endpoint
from protozorfs.dht.items import sign_item
from protozorfs.dht.node import DhtNode
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.udp import UdpSocket
from protozorfs.options import DEFAULT_DHT_RATE
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from protozorfs.dht.endpoint import Endpoint

pytestmark = pytest.mark.interop

MAX_STORES = 60  # of theirs, until two of each kind have come to us; five do nearly always
PEERS = Path(__file__).parents[1] / "peers"
COUNT = 20
COMMANDS = {
    "libtorrent": [sys.executable, str(PEERS / "libtorrent_dht.py"), str(COUNT)],
    "bittorrent-dht": [
        *("node", str(PEERS / "bittorrent_dht.js"), "serve"),
        *("--port", "0", "--spread", "--count", str(COUNT)),
    ],
}
SECONDS = 60.0  # for a whole test; libtorrent waits 15 s for a dead node


class Swarm:
    """The nodes of another implementation, in a process that obeys lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        nodes = self._read()["nodes"]
        self.endpoints = [parse_endpoint(Address(node["host"], node["port"])) for node in nodes]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _ask_blocking(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Its answer to a command."""
        return await trio.to_thread.run_sync(partial(self._ask_blocking, command))


@pytest.fixture(params=list(COMMANDS))
def swarm(request: pytest.FixtureRequest) -> Iterator[Swarm]:
    """A fresh one for each test: they remember nodes of ours that are gone, and wait for them."""
    environment = {**os.environ, "NODE_MODULES": str(PEERS / "node_modules")}
    with subprocess.Popen(
        COMMANDS[request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield Swarm(process)
        finally:
            process.kill()


@asynccontextmanager
async def our_nodes(count: int, bootstrap: list[Endpoint]) -> AsyncIterator[list[DhtNode]]:
    """Nodes of ours that start from one of theirs each, at the default rate."""
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nodes = []
            for number in range(count):
                node = DhtNode(
                    {IPV4: UdpSocket(IPV4, "127.0.0.1", 0)},
                    random=random.SystemRandom(),
                    rate=DEFAULT_DHT_RATE,
                    bootstrap=[bootstrap[number]],
                )
                await nursery.start(node.run)
                nodes.append(node)
            yield nodes
            nursery.cancel_scope.cancel()


def new_pair() -> tuple[bytes, crypto.KeyPair]:
    seed = crypto.random_bytes(32)
    return seed, crypto.key_pair(seed)


async def test_what_we_put_both_read(swarm: Swarm) -> None:
    async with our_nodes(2, swarm.endpoints) as (writer, reader):
        _, pair = new_pair()
        for seq in (1, 2):
            put = await writer.put_item(sign_item(pair, seq, b"value %d" % seq))
            assert put.stored_count >= 8
            assert not put.is_outdated
        again = await writer.put_item(sign_item(pair, 2, b"value 2"))  # 302 of bittorrent-dht
        assert again.stored_count >= 8
        theirs = await swarm.ask(op="get", key=pair.public_key.hex(), node=7)
        assert (theirs["seq"], theirs["text"]) == (2, "value 2")
        found = await reader.get_item(pair.public_key)
        assert found.best == sign_item(pair, 2, b"value 2")
        assert found.copies(2) >= 6  # of the nearest 8; we are nodes too, and may be among them


async def test_an_older_item_is_not_put_over_a_newer_one(swarm: Swarm) -> None:
    async with our_nodes(2, swarm.endpoints) as (writer, other):
        _, pair = new_pair()
        await writer.put_item(sign_item(pair, 5, b"newer"))
        for rival in (sign_item(pair, 4, b"older"), sign_item(pair, 5, b"another")):
            put = await other.put_item(rival)
            assert put.is_outdated
            assert put.stored_count == 0
            assert put.best == sign_item(pair, 5, b"newer")


async def test_what_they_put_we_read(swarm: Swarm) -> None:
    async with our_nodes(1, swarm.endpoints) as (reader,):
        seed, pair = new_pair()
        theirs = await swarm.ask(op="put", seed=seed.hex(), text="theirs", node=3)
        assert theirs["ok"]
        found = await reader.get_item(pair.public_key)
        assert found.best is not None
        assert (found.best.seq, found.best.value) == (theirs["seq"], b"theirs")


async def test_announces_are_found_both_ways(swarm: Swarm) -> None:
    async with our_nodes(2, swarm.endpoints) as (ours, reader):
        infohash = NodeId(crypto.random_bytes(20))
        assert (await ours.announce(infohash, 4711)).stored_count >= 8
        theirs = await swarm.ask(op="lookup", infohash=infohash.hex(), node=5)
        assert theirs["peers"] == ["127.0.0.1:4711"]
        assert (await swarm.ask(op="announce", infohash=infohash.hex(), port=4712, node=6))["ok"]
        found = (await reader.get_peers(infohash)).peers
        assert {str(peer) for peer in found} == {"127.0.0.1:4711", "127.0.7.1:4712"}


async def test_they_store_with_us(swarm: Swarm) -> None:
    """Enough nodes of ours among theirs that some are among the nearest to any target."""
    async with our_nodes(10, swarm.endpoints) as nodes:
        for node in nodes:
            await node.get_peers(NodeId(crypto.random_bytes(20)))  # they get to know us
        # Who is nearest to a target is chance, and who knows us already is theirs to say.
        for number in range(MAX_STORES):
            seed, _ = new_pair()
            node_number = number % len(swarm.endpoints)
            put = await swarm.ask(op="put", seed=seed.hex(), text="x", node=node_number)
            infohash = crypto.random_bytes(20).hex()
            announce = await swarm.ask(
                op="announce", infohash=infohash, port=4713, node=node_number
            )
            assert put["ok"]
            assert announce["ok"]
            items = sum(len(node.engine.answers.items) for node in nodes)
            peers = sum(len(node.engine.answers.peers) for node in nodes)
            if items >= 2 and peers >= 2:
                return
        raise AssertionError(f"{MAX_STORES} stores brought us {items} items and {peers} peers")
