"""The links of this machine, and a multicast socket on each.

A link is one interface and one address family. Its socket hears and speaks on that interface only.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ifaddr

from protozorfs.swarm.lan_messages import GROUP_IPV4, GROUP_IPV6, GROUP_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HOPS = 1  # a datagram never leaves its link
# Options of Linux that the socket module has no names for. Source: linux/in.h, linux/in6.h
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One interface and one family.

    Attributes:
        name, index: of the interface.
        family: AF_INET or AF_INET6.
        address: IPv4: what datagrams are sent from. IPv6: the kernel chooses; None.
        networks: of all addresses of the interface.
    """

    name: str
    index: int
    family: socket.AddressFamily
    address: ipaddress.IPv4Address | None
    networks: tuple[IPNetwork, ...]

    def __str__(self) -> str:
        return f"{self.name} {'IPv4' if self.family == socket.AF_INET else 'IPv6'}"

    @property
    def key(self) -> tuple[object, ...]:
        """What a socket of the link depends on; with another key it needs another socket."""
        return self.name, self.index, self.family, self.address

    def is_neighbour(self, source: Sequence[str | int]) -> bool:
        """True for a sender, as of `recvfrom`, of one of the link's own networks."""
        address = ipaddress.ip_address(source[0])
        if address.is_link_local and address.version == 6:
            return source[3] == self.index
        return any(address in network for network in self.networks)


def find_links(bound: Iterable[IPAddress] | None) -> list[Link]:
    """The links of this machine, with one of `bound` as the sender's address if that is given.

    An unspecified address (0.0.0.0, ::) stands for all links of its family.
    """
    links = []
    for adapter in ifaddr.get_adapters():
        if adapter.index is None:  # it went away meanwhile
            continue
        addresses = [
            ipaddress.ip_interface(
                f"{ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip}/{ip.network_prefix}"
            )
            for ip in adapter.ips
        ]
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            own = [address for address in addresses if address.version == version]
            sender = _sender(own, bound)
            # The IPv6 group cannot be reached on loopback: there is no route for it.
            if sender is None or (version == 6 and sender.is_loopback):
                continue
            link = Link(
                name=adapter.name,
                index=adapter.index,
                family=family,
                address=sender if isinstance(sender, ipaddress.IPv4Address) else None,
                networks=tuple(dict.fromkeys(address.network for address in own)),
            )
            links.append(link)
    return list({link.key: link for link in links}.values())


def _sender(
    own: Sequence[ipaddress.IPv4Interface | ipaddress.IPv6Interface],
    bound: Iterable[IPAddress] | None,
) -> IPAddress | None:
    """The address to send from, of one interface and family; None if it is not to be used."""
    if not own:
        return None
    if bound is None:
        return own[0].ip
    for address in bound:
        if address.is_unspecified and address.version == own[0].version:
            return own[0].ip
        for interface in own:
            # All of 127.0.0.0/8 is this machine, not just the address that the interface has.
            is_ours = address.is_loopback and address in interface.network
            if address == interface.ip or is_ours:
                return address
    return None


def open_socket(link: Link) -> socket.socket:
    """A socket that does not block, in the group on that link. Other listeners may have the port.

    Raises:
        OSError: the interface has gone, or has no multicast.
    """
    opened = socket.socket(link.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # The kernel gives each datagram of a group to every socket that has joined it.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        join = _join_ipv4 if link.family == socket.AF_INET else _join_ipv6
        join(opened, link)
    except BaseException:
        opened.close()
        raise
    return opened


def group_address(link: Link) -> tuple[str, int] | tuple[str, int, int, int]:
    """Where a datagram for everybody on the link goes."""
    if link.family == socket.AF_INET:
        return GROUP_IPV4, GROUP_PORT
    return GROUP_IPV6, GROUP_PORT, 0, link.index


def _join_ipv4(opened: socket.socket, link: Link) -> None:
    assert link.address is not None
    group = socket.inet_aton(GROUP_IPV4)
    # struct ip_mreqn: group, address, index. As the outgoing interface only the last two count.
    request = struct.pack("=4s4si", group, link.address.packed, link.index)
    opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    opened.bind((GROUP_IPV4, GROUP_PORT))  # the group's address: nothing else is heard


def _join_ipv6(opened: socket.socket, link: Link) -> None:
    # struct ipv6_mreq: group, index.
    request = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, GROUP_IPV6), link.index)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    opened.bind((GROUP_IPV6, GROUP_PORT, 0, link.index))
