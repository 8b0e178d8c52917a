"""Discovers on the LAN until its standard input ends: `python -m tests.swarm.lan_client ...`.

    lan_client BIND PORT=INFOHASH...

Each argument behind BIND ("-": none) is a node of its own. A line "PORT=INFOHASH" on standard input
adds one to the first node. Prints "up", then "PORT INFOHASH HOST:PORT" for what a node has found.
"""

from __future__ import annotations

import random
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.swarm.lan import Found, LocalDiscovery
from protozorfs.swarm.lan_node import LanNode, run_lan

if TYPE_CHECKING:
    from collections.abc import Sequence


def report(port: int, found: Sequence[Found]) -> None:
    for infohash, address in found:
        print(port, infohash.hex(), address, flush=True)


async def main() -> None:
    bind = None if sys.argv[1] == "-" else sys.argv[1]
    nodes: list[LanNode] = []
    async with trio.open_nursery() as nursery:
        for argument in sys.argv[2:]:
            port, _, infohash = argument.partition("=")
            engine = LocalDiscovery(crypto.random_bytes(8).hex().encode(), random.random)
            if infohash:
                engine.add(bytes.fromhex(infohash), trio.current_time())
            node = partial(run_lan, engine, int(port), partial(report, int(port)), bind=bind)
            nodes.append(await nursery.start(node))
        print("up", *sorted(nodes[0].links), sep="|", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            nodes[0].engine.add(bytes.fromhex(line.strip()), trio.current_time())
            nodes[0].wake()
        nursery.cancel_scope.cancel()


trio.run(main)
