"""TCP and UDP on one port, IPv4 and IPv6."""

from __future__ import annotations

import errno
import socket

import pytest
import trio

from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint
from protozorfs.swarm.sockets import open_sockets, resolve
from protozorfs.types import Address


async def test_all_sockets_share_one_port() -> None:
    sockets = await open_sockets(0, None, with_udp=True)
    try:
        ports = {listener.socket.getsockname()[1] for listener in sockets.listeners}
        ports |= {bound.address.port for bound in sockets.udp.values()}
        assert ports == {sockets.port}
        assert set(sockets.udp) <= {IPV4, IPV6}
        assert IPV4 in sockets.udp
    finally:
        sockets.close()
    sockets.close()


async def test_without_dht_there_is_no_udp() -> None:
    sockets = await open_sockets(0, "127.0.0.1", with_udp=False)
    try:
        assert sockets.udp == {}
        assert sockets.listeners[0].socket.getsockname()[0] == "127.0.0.1"
    finally:
        sockets.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_port_that_is_taken_is_refused_and_nothing_stays_open(
    kind: socket.SocketKind,
) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            await open_sockets(port, "127.0.0.1", with_udp=True)
        assert caught.value.errno == errno.EADDRINUSE
    sockets = await open_sockets(port, "127.0.0.1", with_udp=True)
    sockets.close()


async def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        await open_sockets(0, "192.0.2.1", with_udp=False)


async def test_addresses_become_endpoints_and_unknown_names_nothing() -> None:
    found = await resolve([Address("127.0.0.1", 7000), Address("::1", 7001)])
    assert found == [Endpoint(b"\x7f\0\0\1", 7000), Endpoint(bytes(15) + b"\1", 7001)]


class NoNames(trio.abc.HostnameResolver):
    """A resolver that knows no name; asks nobody."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_a_name_that_nobody_knows_is_passed_over() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    assert await resolve([Address("peer.example", 1), Address("127.0.0.1", 2)]) == [
        Endpoint(b"\x7f\0\0\1", 2)
    ]
