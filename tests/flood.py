"""Sends a flood of datagrams to a DHT node: `python -m tests.flood HOST PORT COUNT SECONDS`.

They come from 100 addresses of 127/8, evenly over the time: queries of every kind, forged replies,
damaged messages and noise. Prints how many were sent, and in how many seconds.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from typing import TYPE_CHECKING

from protozorfs import bencoding

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = 100
KINDS = 512  # different datagrams that are made before the flood begins: making them takes time
BATCH = 50  # datagrams between two looks at the time


def query(chance: random.Random, method: bytes, **arguments: bencoding.Encodable) -> bytes:
    """A well-formed query."""
    given: dict[bytes, bencoding.Encodable] = {
        key.encode(): value for key, value in arguments.items()
    }
    given[b"id"] = chance.randbytes(20)
    return bencoding.encode({b"t": chance.randbytes(4), b"y": b"q", b"q": method, b"a": given})


def ping(chance: random.Random) -> bytes:
    """The cheapest question."""
    return query(chance, b"ping")


def find_node(chance: random.Random) -> bytes:
    """A question with a larger answer."""
    return query(chance, b"find_node", target=chance.randbytes(20))


def get_peers(chance: random.Random) -> bytes:
    """A question that makes a token."""
    return query(chance, b"get_peers", info_hash=chance.randbytes(20))


def put(chance: random.Random) -> bytes:
    """An item without a token, and with a signature of nobody's."""
    return query(
        chance,
        b"put",
        k=chance.randbytes(32),
        sig=chance.randbytes(64),
        seq=1,
        token=chance.randbytes(8),
        v=chance.randbytes(900),
    )


def forged_reply(chance: random.Random) -> bytes:
    """A reply that nobody asked for."""
    values: dict[bytes, bencoding.Encodable] = {
        b"id": chance.randbytes(20),
        b"nodes": chance.randbytes(208),
    }
    return bencoding.encode({b"t": chance.randbytes(4), b"y": b"r", b"r": values})


def damaged(chance: random.Random) -> bytes:
    """A query with a wrong byte."""
    data = bytearray(find_node(chance))
    data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def noise(chance: random.Random) -> bytes:
    """Anything."""
    return chance.randbytes(chance.randrange(1, 1400))


MAKERS: tuple[Callable[[random.Random], bytes], ...] = (
    *(ping, find_node, get_peers, put),
    *(forged_reply, damaged, noise),
)


def main() -> None:
    """Reads the arguments, and sends."""
    host, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    chance = random.Random(int(port))
    datagrams = [MAKERS[number % len(MAKERS)](chance) for number in range(KINDS)]
    sources = []
    for number in range(SOURCES):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind((f"127.2.{number}.1", 0))
        sources.append(bound)
    start = time.monotonic()
    for number in range(count):
        if number % BATCH == 0:
            time.sleep(max(0.0, start + seconds * number / count - time.monotonic()))
        sources[number % SOURCES].sendto(datagrams[number % KINDS], (host, port))
    print(count, round(time.monotonic() - start, 3))


if __name__ == "__main__":
    main()
