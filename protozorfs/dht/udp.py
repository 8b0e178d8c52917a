"""A UDP socket that answers from the address that was asked.

A socket of all addresses (0.0.0.0, ::) would send every reply from the address that the routes
prefer. On a host with several, who asked another one takes the reply for a stranger's and drops it.
So the kernel says with each datagram at which address of ours it came, and is told so again with
the reply:

    struct in_pktinfo    interface 4, our address 4, destination 4   = 12 bytes
    struct in6_pktinfo   our address 16, interface 4                 = 20 bytes
Interfaces are numbers in host byte order; 0 leaves the way to the routes. Source: ip(7), ipv6(7),
RFC 3542 section 6.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import trio

from protozorfs.bencoding import MAX_DATAGRAM_BYTES
from protozorfs.dht.endpoint import (
    IPV4,
    IPV4_BYTES,
    IPV6,
    IPV6_BYTES,
    Endpoint,
    Family,
    LocalAddress,
)
from protozorfs.types import Address

if TYPE_CHECKING:
    from protozorfs.dht.outbound import Datagram

ADDRESS_FAMILIES = {IPV4: socket.AF_INET, IPV6: socket.AF_INET6}
IP_PKTINFO = 8  # linux/in.h; Python's socket module has no name for it
# Level, the option that asks for addresses, the kind of message that brings and takes them.
_OPTIONS = {
    IPV4: (socket.IPPROTO_IP, IP_PKTINFO, IP_PKTINFO),
    IPV6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO),
}
_INTERFACE_BYTES = 4
_ANY_INTERFACE = bytes(_INTERFACE_BYTES)
_PKTINFO_BYTES = {IPV4: _INTERFACE_BYTES + 2 * IPV4_BYTES, IPV6: IPV6_BYTES + _INTERFACE_BYTES}
# Datagrams taken at once. At 20 us for each, others have their turn within a millisecond.
RECEIVE_BATCH = 32


class Received(NamedTuple):
    """A datagram, who sent it, and the address of ours that it was sent to."""

    data: bytes
    source: Endpoint
    local: LocalAddress | None


class UdpSocket:
    """A bound socket of one family, for one task that receives and one that sends."""

    def __init__(self, family: Family, host: str, port: int) -> None:
        """Binds a numeric address; port 0: any that is free.

        Raises:
            OSError: the address is not ours, or the port is taken.
        """
        self._level, request, self._kind = _OPTIONS[family]
        self._space = socket.CMSG_SPACE(_PKTINFO_BYTES[family])
        self._socket = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if family == IPV6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(self._level, request, 1)
            self._socket.bind(_numeric(family, host, port))
        except BaseException:
            self._socket.close()
            raise

    @property
    def address(self) -> Address:
        """Where it is bound."""
        host, port, *_ = self._socket.getsockname()
        return Address(host, port)

    def close(self) -> None:
        """Closes it; whoever waits for it gets trio.ClosedResourceError. Again: does nothing."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def receive(self) -> list[Received]:
        """Waits for datagrams and takes those that are there, at most RECEIVE_BATCH.

        Of one that is too long for a message just so much comes that this shows.
        """
        await trio.lowlevel.wait_readable(self._socket)
        received: list[Received] = []
        while len(received) < RECEIVE_BATCH:
            try:
                data, messages, _, address = self._socket.recvmsg(
                    MAX_DATAGRAM_BYTES + 1, self._space
                )
            except BlockingIOError:
                break
            source = Endpoint(_packed(self._socket.family, address[0]), address[1])
            local = _local_address(messages[0][2]) if messages else None
            received.append(Received(data, source, local))
        return received

    async def send(self, datagram: Datagram) -> None:
        """Sends a datagram from the address that it names, or else the one that routes prefer.

        Waits only while the socket's buffer is full; else there is no checkpoint.

        Raises:
            OSError: nothing can be sent there, or no longer from that address.
        """
        data, endpoint, local = datagram
        messages = [] if local is None else [(self._level, self._kind, local)]
        address = (_text(endpoint.ip), endpoint.port)
        while True:
            try:
                self._socket.sendmsg([data], messages, 0, address)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                return


@lru_cache(maxsize=64)  # the addresses of this machine
def _local_address(pktinfo: bytes) -> LocalAddress:
    """What to send with the reply to a datagram that came with `pktinfo`.

    The routes choose the interface, which need not be the one that the datagram came by; but
    link-local addresses mean nothing without theirs.
    """
    if len(pktinfo) == _PKTINFO_BYTES[IPV4]:
        own = pktinfo[_INTERFACE_BYTES : _INTERFACE_BYTES + IPV4_BYTES]
        return LocalAddress(_ANY_INTERFACE + own + bytes(IPV4_BYTES))
    own, interface = pktinfo[:IPV6_BYTES], pktinfo[IPV6_BYTES:]
    is_link_local = own[0] == 0xFE and own[1] & 0xC0 == 0x80
    return LocalAddress(own + (interface if is_link_local else _ANY_INTERFACE))


def _numeric(family: Family, host: str, port: int) -> tuple[object, ...]:
    """The address as the socket module wants it; a link-local one may carry its interface."""
    kind, flags = socket.SOCK_DGRAM, socket.AI_NUMERICHOST
    found = socket.getaddrinfo(host, port, ADDRESS_FAMILIES[family], kind, 0, flags)
    return found[0][4]


@lru_cache(maxsize=4096)
def _packed(family: int, host: str) -> bytes:
    return socket.inet_pton(family, host.partition("%")[0])  # link-local ones carry their interface


@lru_cache(maxsize=4096)
def _text(ip: bytes) -> str:
    return socket.inet_ntop(ADDRESS_FAMILIES[IPV4 if len(ip) == IPV4_BYTES else IPV6], ip)
