"""A DHT node on the sockets that a mount has by default: `python -m tests.swarm.wildcard_dht`.

Prints its port, and ends with its standard input.
"""

from __future__ import annotations

import random
import sys

import trio

from protozorfs.dht.node import DhtNode
from protozorfs.options import DEFAULT_DHT_RATE
from protozorfs.swarm.sockets import open_sockets


async def serve() -> None:
    """Runs the node."""
    sockets = await open_sockets(0, None, with_udp=True)
    node = DhtNode(sockets.udp, random=random.Random(1), rate=DEFAULT_DHT_RATE)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            print(sockets.port, flush=True)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()
    finally:
        sockets.close()


if __name__ == "__main__":
    trio.run(serve)
