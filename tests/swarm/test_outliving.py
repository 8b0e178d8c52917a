"""A feed outlives its owner: followers keep its head and its peers findable. Loopback only.

The clock of everything here is one that jumps; between jumps it runs as usual.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.dht.endpoint import IPV4, parse_endpoint
from protozorfs.dht.items import mutable_target
from protozorfs.dht.node import DhtNode
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.udp import UdpSocket
from protozorfs.options import DEFAULT_DHT_RATE, Options
from tests.swarm.nodes import LOOPBACK, read_all, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from protozorfs.app import Node
    from protozorfs.types import Address, FeedId

NODES = 12
ENOUGH = 6  # of the 8 nearest: the mounts are nodes too
EXPIRY_SECONDS = 3 * 3600.0  # items live for two hours, announces for 45 minutes


@asynccontextmanager
async def dht() -> AsyncIterator[tuple[list[DhtNode], Options]]:
    """Nodes that store for others, and the options of a node that joins them."""
    async with trio.open_nursery() as nursery:
        nodes: list[DhtNode] = []
        addresses: list[Address] = []
        for _ in range(NODES):
            bound = UdpSocket(IPV4, LOOPBACK, 0)
            node = DhtNode(
                {IPV4: bound},
                random=random.SystemRandom(),
                rate=DEFAULT_DHT_RATE,
                bootstrap=[parse_endpoint(address) for address in addresses[:2]],
            )
            await nursery.start(node.run)
            nodes.append(node)
            addresses.append(bound.address)
        options = Options(bind=LOOPBACK, nolan=True, noportmap=True, bootstrap=(*addresses[:3],))
        yield nodes, options
        nursery.cancel_scope.cancel()


def copies(nodes: list[DhtNode], feed_id: FeedId) -> int:
    """How many nodes would serve the feed's head now."""
    target, now = NodeId(mutable_target(feed_id)), trio.current_time()
    return sum(node.engine.answers.items.get(target, now) is not None for node in nodes)


def rests(node: Node, feed_id: FeedId) -> bool:
    """True while the node does nothing for the feed on the DHT."""
    assert node.swarm.upkeep is not None
    turns = node.swarm.upkeep.schedule.turns_of(feed_id)
    return turns is not None and not turns.is_running


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    """The clock of the test, and of all that runs in it."""
    mock_clock.rate = 1.0
    return mock_clock


async def test_a_follower_keeps_a_feed_findable_when_its_owner_is_gone(
    tmp_path: Path, clock: MockClock
) -> None:
    async with dht() as (nodes, options), open_node(tmp_path / "follower", options) as follower:
        async with open_node(tmp_path / "owner", options) as owner:
            feed = await owner.create(b"journal")
            feed_id = feed.feed_id
            await feed.append([b"hello\n"])
            followed = await follower.feeds.follow(feed_id, b"paul")
            assert await read_all(followed, 6) == b"hello\n"
            await until(lambda: copies(nodes, feed_id) >= ENOUGH)
            await until(lambda: followed.known_head.record is not None)
            await until(lambda: rests(follower, feed_id))
        clock.jump(EXPIRY_SECONDS)
        assert copies(nodes, feed_id) == 0
        await until(lambda: copies(nodes, feed_id) >= ENOUGH)
        async with open_node(tmp_path / "newcomer", options) as newcomer:
            found = await newcomer.feeds.follow(feed_id, b"from paul's reader")
            assert await read_all(found, 6) == b"hello\n"
            assert found.log.length == 1


async def test_what_a_follower_keeps_is_put_again_after_a_restart(
    tmp_path: Path, clock: MockClock
) -> None:
    """It never met the owner: the record alone is what it has, from one run to the next."""
    async with dht() as (nodes, options):
        async with open_node(tmp_path / "owner", options) as owner:
            feed = await owner.create(b"journal")
            feed_id = feed.feed_id
            await feed.append([b"hello\n"])
            await until(lambda: copies(nodes, feed_id) >= ENOUGH)
        async with open_node(tmp_path / "follower", options) as follower:
            followed = await follower.feeds.follow(feed_id, b"paul")
            await until(lambda: followed.length == 1)
        clock.jump(EXPIRY_SECONDS)
        assert copies(nodes, feed_id) == 0
        async with open_node(tmp_path / "follower", replace(options, sparse=True)):
            await until(lambda: copies(nodes, feed_id) >= ENOUGH)
