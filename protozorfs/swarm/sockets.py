"""The sockets of a node: TCP and UDP, IPv4 and IPv6, all on one port number."""

from __future__ import annotations

import errno
import ipaddress
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from protozorfs.dht.endpoint import IPV4, IPV6, parse_endpoint
from protozorfs.dht.udp import UdpSocket
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.dht.endpoint import Endpoint, Family

MAX_TRIES = 20  # for a port that is free for all of them; one is nearly always found at once
ANY_HOST: dict[Family, str] = {IPV4: "0.0.0.0", IPV6: "::"}
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Sockets:
    """Open sockets; `udp` is empty for a node without DHT."""

    listeners: list[trio.SocketListener] = field(default_factory=list)
    udp: dict[Family, UdpSocket] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Their port number."""
        return int(self.listeners[0].socket.getsockname()[1])

    def close(self) -> None:
        """Closes all of them; a second call does nothing."""
        for listener in self.listeners:
            listener.socket.close()
        for bound in self.udp.values():
            bound.close()


async def open_sockets(port: int, bind: str | None, *, with_udp: bool) -> Sockets:
    """Opens what a node needs.

    Args:
        port: for all of them; 0: any that is free.
        bind: the address or host name to listen on; None: all addresses of both families.
        with_udp: the DHT's sockets, too.

    Raises:
        OSError: the port is taken, the address is not ours, or there is no network at all.
    """
    for _ in range(MAX_TRIES):
        with suppress(_TakenElsewhere):
            return await _open_all(port, bind, with_udp=with_udp)
    raise OSError(errno.EADDRINUSE, "no port is free for both TCP and UDP")


class _TakenElsewhere(Exception):
    """The port that the system chose for one socket is taken for another."""


async def _open_all(port: int, bind: str | None, *, with_udp: bool) -> Sockets:
    sockets = Sockets()
    try:
        for family, host in await _hosts(bind):
            try:
                await _open_family(sockets, family, host, port, with_udp=with_udp)
            except OSError as error:
                if bind is None and error.errno in _NO_SUCH_FAMILY:
                    logger.debug("no IPv%d here: %s", family, error)
                elif port == 0 and sockets.listeners and error.errno == errno.EADDRINUSE:
                    raise _TakenElsewhere from error
                else:
                    raise
    except BaseException:
        sockets.close()
        raise
    if not sockets.listeners:
        raise OSError(errno.EAFNOSUPPORT, "neither IPv4 nor IPv6 can be used")
    return sockets


async def _open_family(
    sockets: Sockets, family: Family, host: str, port: int, *, with_udp: bool
) -> None:
    chosen = sockets.port if sockets.listeners else port
    sockets.listeners += await trio.open_tcp_listeners(chosen, host=host)
    if with_udp:
        sockets.udp[family] = UdpSocket(family, host, sockets.port)


async def _hosts(bind: str | None) -> list[tuple[Family, str]]:
    """The numeric addresses to listen on, at most one of each family."""
    if bind is None:
        return list(ANY_HOST.items())
    hosts: dict[Family, str] = {}
    try:
        found = await trio.socket.getaddrinfo(bind, None, type=trio.socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "that is not the name of a host") from error
    for *_, address in found:
        host = str(address[0])
        version = ipaddress.ip_address(host.partition("%")[0]).version
        hosts.setdefault(IPV4 if version == 4 else IPV6, host)
    return list(hosts.items())


async def resolve(addresses: Iterable[Address]) -> list[Endpoint]:
    """The UDP endpoints that host names or addresses stand for; unknown names are passed over."""
    endpoints = []
    for host, port in addresses:
        try:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            logger.warning("%s was not found: %s", host, error)
            continue
        endpoints += [parse_endpoint(Address(str(at[0]), int(at[1]))) for *_, at in found]
    return endpoints
