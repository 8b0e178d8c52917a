"""The DHT's sockets on loopback: where replies leave from, batches, and full buffers."""

from __future__ import annotations

import errno
import random
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from protozorfs.bencoding import MAX_DATAGRAM_BYTES
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint, Family
from protozorfs.dht.node import DhtNode
from protozorfs.dht.outbound import Datagram
from protozorfs.dht.udp import ADDRESS_FAMILIES, RECEIVE_BATCH, UdpSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PING = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
ANY: dict[Family, str] = {IPV4: "0.0.0.0", IPV6: "::"}
LOOPBACK: dict[Family, str] = {IPV4: "127.0.0.1", IPV6: "::1"}
COUNT = 50


@pytest.fixture
async def pair() -> AsyncIterator[tuple[UdpSocket, UdpSocket]]:
    """Two sockets of one IPv4 address."""
    with (
        closing(UdpSocket(IPV4, LOOPBACK[IPV4], 0)) as one,
        closing(UdpSocket(IPV4, LOOPBACK[IPV4], 0)) as other,
    ):
        yield one, other


def endpoint(bound: UdpSocket, host: str = "127.0.0.1") -> Endpoint:
    """Where an IPv4 socket is reached."""
    return Endpoint(socket.inet_aton(host), bound.address.port)


@pytest.mark.parametrize(
    ("family", "host"),
    [(IPV4, "127.0.0.1"), (IPV4, "127.0.0.2"), (IPV4, "127.9.8.7"), (IPV6, "::1")],
)
async def test_a_node_of_all_addresses_answers_from_the_one_that_was_asked(
    family: Family, host: str
) -> None:
    """A connected socket takes nothing from any other."""
    bound = UdpSocket(family, ANY[family], 0)
    node = DhtNode({family: bound}, random=random.Random(1), rate=50)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            with trio.socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM) as asking:
                await asking.connect((host, bound.address.port))
                await asking.send(PING)
                assert b"1:t2:aa1:y1:r" in await asking.recv(MAX_DATAGRAM_BYTES)
            nursery.cancel_scope.cancel()


async def test_two_addresses_asked_at_once_by_one_socket(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    """What the socket says with each datagram belongs to that one."""
    asking, _ = pair
    hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.2"]
    with trio.fail_after(10), closing(UdpSocket(IPV4, ANY[IPV4], 0)) as bound:
        for host in hosts:
            await asking.send(Datagram(host.encode(), endpoint(bound, host)))
        received = await bound.receive()
        assert [data.decode() for data, _, _ in received] == hosts
        for data, source, local in received:
            assert source == endpoint(asking)
            await bound.send(Datagram(data, source, local))
        answers = [(data.decode(), source) for data, source, _ in await asking.receive()]
        assert answers == [(host, endpoint(bound, host)) for host in hosts]


@pytest.mark.parametrize("family", [IPV4, IPV6])
async def test_a_socket_of_one_address(family: Family) -> None:
    packed = socket.inet_pton(ADDRESS_FAMILIES[family], LOOPBACK[family])
    with (
        trio.fail_after(10),
        closing(UdpSocket(family, LOOPBACK[family], 0)) as one,
        closing(UdpSocket(family, LOOPBACK[family], 0)) as other,
    ):
        assert one.address.host == LOOPBACK[family]
        await one.send(Datagram(b"question", Endpoint(packed, other.address.port)))
        ((_, source, local),) = await other.receive()
        assert source == Endpoint(packed, one.address.port)
        await other.send(Datagram(b"answer", source, local))
        ((data, source, _),) = await one.receive()
        assert (data, source) == (b"answer", Endpoint(packed, other.address.port))


async def test_what_is_there_comes_at_once_but_not_more_than_a_batch(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    """Nothing is lost, nor out of order; what is too long is cut where that can be seen."""
    one, other = pair
    sent = [number.to_bytes(2, "big") for number in range(COUNT)]
    with trio.fail_after(10):
        for data in [*sent, bytes(2 * MAX_DATAGRAM_BYTES)]:
            await one.send(Datagram(data, endpoint(other)))
        batches = [await other.receive(), await other.receive()]
    assert [len(batch) for batch in batches] == [RECEIVE_BATCH, COUNT + 1 - RECEIVE_BATCH]
    received = [data for batch in batches for data, _, _ in batch]
    assert received[:-1] == sent
    assert len(received[-1]) == MAX_DATAGRAM_BYTES + 1


class Full(socket.socket):
    """A socket without room for what is sent, as long as `refusals` last.

    Loopback has room always: there a datagram belongs to its receiver as soon as it is sent.
    """

    refusals = 2

    def sendmsg(self, *arguments: Any) -> int:
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError
        return super().sendmsg(*arguments)


async def test_sending_waits_for_room_in_the_buffer(pair: tuple[UdpSocket, UdpSocket]) -> None:
    one, other = pair
    full = one._socket = Full(fileno=one._socket.detach())
    with trio.fail_after(10):
        await one.send(Datagram(b"late", endpoint(other)))
        ((data, source, _),) = await other.receive()
    assert (data, source, full.refusals) == (b"late", endpoint(one), 0)


async def test_who_waits_for_a_socket_that_is_closed_is_told(
    pair: tuple[UdpSocket, UdpSocket],
) -> None:
    bound, _ = pair

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await bound.receive()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            bound.close()


@pytest.mark.parametrize(
    ("host", "expected"), [("192.0.2.1", errno.EADDRNOTAVAIL), (LOOPBACK[IPV4], errno.EADDRINUSE)]
)
async def test_an_address_that_cannot_be_had(
    pair: tuple[UdpSocket, UdpSocket], host: str, expected: int
) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        UdpSocket(IPV4, host, pair[0].address.port)
    assert caught.value.errno == expected
