"""The trio driver on loopback: a handful of real nodes on real sockets."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs import crypto
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint, Family
from protozorfs.dht.items import SignedItem, sign_item
from protozorfs.dht.node import DhtNode
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.udp import UdpSocket
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOSTS: dict[Family, str] = {IPV4: "127.0.0.1", IPV6: "::1"}
PAIR = crypto.key_pair(bytes([7]) * 32)
INFOHASH = NodeId(bytes([9]) * 20)


async def _open_node(
    families: tuple[Family, ...],
    bootstrap: list[Endpoint],
    number: int,
    routers: tuple[Address, ...] = (),
) -> tuple[DhtNode, list[Endpoint]]:
    sockets = {family: UdpSocket(family, HOSTS[family], 0) for family in families}
    endpoints = [
        Endpoint(bytes([127, 0, 0, 1]) if family == IPV4 else bytes(15) + b"\1", port)
        for family, port in ((f, s.address.port) for f, s in sockets.items())
    ]
    node = DhtNode(
        sockets, random=random.Random(number), rate=500, bootstrap=bootstrap, routers=routers
    )
    return node, endpoints


async def _wait_known(node: DhtNode, count: int) -> None:
    """Until a node knows so many others in each network; the caller's time limit ends it."""
    for _ in range(500):
        if all(len(network.table) >= count for network in node.engine.networks.values()):
            return
        await trio.sleep(0.02)
    raise AssertionError("the nodes do not find each other")


@asynccontextmanager
async def _swarm(count: int, families: tuple[Family, ...]) -> AsyncIterator[list[DhtNode]]:
    async with trio.open_nursery() as nursery:
        nodes: list[DhtNode] = []
        first: list[Endpoint] = []
        for number in range(count):
            node, endpoints = await _open_node(families, first, number)
            first = first or endpoints
            await nursery.start(node.run)
            nodes.append(node)
        for node in nodes:
            await _wait_known(node, count - 1)
        yield nodes
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("families", [(IPV4,), (IPV6,), (IPV4, IPV6)])
async def test_items_and_peers_travel_between_nodes(families: tuple[Family, ...]) -> None:
    with trio.fail_after(20):
        async with _swarm(6, families) as nodes:
            item = sign_item(PAIR, 3, b"hello")
            put = await nodes[1].put_item(item)
            assert put.stored_count == 5 * len(families)
            seen: list[SignedItem] = []
            found = await nodes[4].get_item(PAIR.public_key, on_item=seen.append)
            assert found.best == item
            assert seen == [item]
            assert (await nodes[2].announce(INFOHASH, 4242)).stored_count == 5 * len(families)
            told: list[tuple[Endpoint, ...]] = []
            peers = (await nodes[5].get_peers(INFOHASH, on_peers=told.append)).peers
            assert {str(peer) for peer in peers} == {
                str(Address(HOSTS[family], 4242)) for family in families
            }
            assert {peer for batch in told for peer in batch} == peers


async def test_alone_an_operation_ends_with_nothing() -> None:
    with trio.fail_after(20):
        async with _swarm(1, (IPV4,)) as nodes:
            assert (await nodes[0].get_item(PAIR.public_key)).best is None
            assert (await nodes[0].put_item(sign_item(PAIR, 1, b""))).stored_count == 0


async def test_a_cancelled_wait_cancels_the_operation() -> None:
    async with trio.open_nursery() as nursery:
        silent = UdpSocket(IPV4, "127.0.0.1", 0)
        nowhere = Endpoint(bytes([127, 0, 0, 1]), silent.address.port)
        node, _ = await _open_node((IPV4,), [nowhere], 1)
        await nursery.start(node.run)
        operation = node.engine.get_item(PAIR.public_key)
        with trio.move_on_after(0.05):
            await node.finish(operation)
        assert operation.is_done
        assert operation.best is None
        nursery.cancel_scope.cancel()
    silent.close()


async def test_routers_are_resolved_and_lead_into_the_network() -> None:
    """By name only where nothing else does; here the name is a loopback address."""
    with trio.fail_after(20):
        async with _swarm(5, (IPV4,)) as nodes, trio.open_nursery() as nursery:
            port = nodes[0]._sockets[IPV4].address.port
            node, _ = await _open_node((IPV4,), [], 99, (Address("127.0.0.1", port),))
            await nursery.start(node.run)
            await _wait_known(node, 3)
            router = Endpoint(bytes([127, 0, 0, 1]), port)
            assert node.engine.networks[IPV4].table.find(router) is None
            nursery.cancel_scope.cancel()


async def test_what_is_no_message_harms_nobody() -> None:
    with trio.fail_after(20):
        async with _swarm(3, (IPV4,)) as nodes:
            address = nodes[0]._sockets[IPV4].address
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
                for data in (b"", b"d1:ai1e-6:", bytes(5000), b"d" * 2048, b"de"):
                    await stranger.sendto(data, address)
                await stranger.sendto(
                    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", address
                )
                reply = await stranger.recv(4096)
            assert b"1:t2:aa1:y1:re" in reply
