"""DHT nodes of ours as a process of their own, which obeys like those of other implementations.

    python -m tests.own_dht [--count N] [--rate N] [--host 127.0.0.1] [--bootstrap HOST:PORT ...]

starts the nodes, at HOST or else at 127.0.1.1, 127.0.2.1, ..., prints {"nodes": [...]} when they
know each other, and answers the JSON lines of its standard input, until that ends:

    {"op": "put", "seed": "<64 hex>", "text": "...", "seq": 1, "node": 0}
    {"op": "get", "key": "<64 hex>"}
    {"op": "announce", "infohash": "<40 hex>", "port": 4711}
    {"op": "lookup", "infohash": "<40 hex>"}
    {"op": "stats"}
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from typing import TypeAlias

import trio

from protozorfs import crypto
from protozorfs.dht.endpoint import IPV4, Endpoint, parse_endpoint
from protozorfs.dht.items import SignedItem, sign_item
from protozorfs.dht.node import DhtNode
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.udp import UdpSocket
from protozorfs.types import Address, PublicKey

START_SECONDS = 20.0
ENOUGH_KNOWN = 6  # nodes that each node of a swarm knows when it is ready
LOOK_SECONDS = 0.02

Command: TypeAlias = "dict[str, str]"
Answer: TypeAlias = "dict[str, object]"


async def put(node: DhtNode, command: Command) -> Answer:
    """Stores a text under the given seq, or one more than the newest there is."""
    pair = crypto.key_pair(bytes.fromhex(command["seed"]))
    seq = int(command.get("seq", 0))
    if not seq:
        found = (await node.get_item(pair.public_key)).best
        seq = found.seq + 1 if found is not None else 1
    item = sign_item(pair, seq, command["text"].encode())
    done = await node.put_item(item)
    return {"ok": done.stored_count > 0, "stored": done.stored_count, "seq": seq}


async def get(node: DhtNode, command: Command) -> Answer:
    """The newest item of a key."""
    start = time.perf_counter()
    first: list[float] = []

    def note(item: SignedItem) -> None:
        del item
        first.append(_milliseconds_since(start))

    key = PublicKey(bytes.fromhex(command["key"]))
    found = (await node.get_item(key, on_item=note)).best
    if found is None or found.value is None:
        return {"ok": False}
    return {"ok": True, "seq": found.seq, "text": found.value.decode(), "first_ms": first[0]}


async def announce(node: DhtNode, command: Command) -> Answer:
    """Announces a port under an infohash."""
    infohash = NodeId(bytes.fromhex(command["infohash"]))
    done = await node.announce(infohash, int(command["port"]))
    return {"ok": done.stored_count > 0, "stored": done.stored_count}


async def lookup(node: DhtNode, command: Command) -> Answer:
    """The peers of an infohash."""
    found = await node.get_peers(NodeId(bytes.fromhex(command["infohash"])))
    return {"ok": bool(found.peers), "peers": sorted(str(peer) for peer in found.peers)}


async def stats(node: DhtNode, command: Command) -> Answer:
    """How many nodes it knows."""
    del command
    return {"ok": True, "nodes": len(node.engine.networks[IPV4].table)}


OPERATIONS = {"put": put, "get": get, "announce": announce, "lookup": lookup, "stats": stats}


def _milliseconds_since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)


async def serve(count: int, rate: int, host: str | None, bootstrap: list[Endpoint]) -> None:
    """Runs the nodes until standard input ends."""
    async with trio.open_nursery() as nursery:
        nodes: list[DhtNode] = []
        addresses: list[Address] = []
        known = list(bootstrap)
        for number in range(1, count + 1):
            bound = UdpSocket(IPV4, host or f"127.0.{number}.1", 0)
            addresses.append(bound.address)
            node = DhtNode(
                {IPV4: bound}, random=random.SystemRandom(), rate=rate, bootstrap=known[:3]
            )
            await nursery.start(node.run)
            nodes.append(node)
            known.append(parse_endpoint(addresses[-1]))
        await _wait_known(nodes, min(count - 1 + len(bootstrap), ENOUGH_KNOWN))
        _say({"nodes": [{"host": host, "port": port} for host, port in addresses]})
        async for line in trio.wrap_file(sys.stdin):
            command = json.loads(line)
            start = time.perf_counter()
            answer = await OPERATIONS[command["op"]](nodes[command.get("node", 0)], command)
            _say({"ms": _milliseconds_since(start), **answer})
        nursery.cancel_scope.cancel()


async def _wait_known(nodes: list[DhtNode], count: int) -> None:
    with trio.fail_after(START_SECONDS):
        while any(len(node.engine.networks[IPV4].table) < count for node in nodes):  # noqa: ASYNC110
            await trio.sleep(LOOK_SECONDS)


def _say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--host")
    parser.add_argument("--bootstrap", action="append", default=[])
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # the first node of a network is alone for a moment
    endpoints = [
        parse_endpoint(Address(host, int(port)))
        for host, _, port in (text.rpartition(":") for text in given.bootstrap)
    ]
    trio.run(serve, given.count, given.rate, given.host, endpoints)


if __name__ == "__main__":
    main()
