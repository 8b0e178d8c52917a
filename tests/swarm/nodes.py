"""Nodes on loopback in one process, for tests of the swarm without mounts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from protozorfs.app import Node, open_node
from protozorfs.options import Options
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from protozorfs.feeds.feed import Feed

LOOPBACK = "127.0.0.1"
ALONE = Options(bind=LOOPBACK, nodht=True, nolan=True, noportmap=True)
WAIT_SECONDS = 30.0  # an upper bound for a slow machine, not a delay


@asynccontextmanager
async def node_at(path: Path, *peers: Node, options: Options = ALONE) -> AsyncIterator[Node]:
    """A node on 127.0.0.1 that dials other nodes."""
    addresses = tuple(Address(LOOPBACK, peer.port) for peer in peers)
    async with open_node(path, replace(options, peers=options.peers + addresses)) as node:
        yield node


async def until(condition: Callable[[], bool]) -> None:
    """Returns when something that happens in another task has happened."""
    with trio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110, conditions are about many things
            await trio.sleep(0.005)


async def read_all(feed: Feed, size: int) -> bytes:
    """The first bytes of a feed, waited for."""
    parts: list[bytes] = []
    at = 0
    with trio.fail_after(WAIT_SECONDS):
        while at < size:
            if feed.byte_length <= at:
                await feed.reader.wait_length(feed.length)
                continue
            data = feed.reader.read_nowait(at, size - at)
            if not data:
                await feed.reader.wait_bytes(at, at + 1)
                continue
            parts.append(data)
            at += len(data)
    return b"".join(parts)
