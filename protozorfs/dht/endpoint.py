"""Where a DHT node is: a packed IP address and a UDP port, and what kind of address that is.

    peer, IPv4   address 4, port 2    =  6 bytes, big-endian
    peer, IPv6   address 16, port 2   = 18 bytes
Source: BEP 5 "Contact Encoding", BEP 32.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal, NamedTuple, NewType, TypeAlias

from protozorfs.errors import DecodeError
from protozorfs.types import Address

Family: TypeAlias = Literal[4, 6]
IPV4: Family = 4
IPV6: Family = 6

# An address of this machine that a datagram was sent to, which the reply has to leave from. What is
# in it is a matter of the sockets alone.
LocalAddress = NewType("LocalAddress", bytes)

IPV4_BYTES = 4
IPV6_BYTES = 16
PORT_BYTES = 2
PEER_BYTES = {IPV4: IPV4_BYTES + PORT_BYTES, IPV6: IPV6_BYTES + PORT_BYTES}

# Ports that only the administrator's services listen on are no DHT nodes: a list that names one
# wants us to send datagrams to such a service.
LOWEST_PORT = 1024

_LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128")
# Addresses that are no business of the public network; BEP 42 exempts the IPv4 ones without
# 100.64/10, libtorrent all of them.
_LOCAL_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "100.64.0.0/10",
    "::1/128",
    "fe80::/10",
    "fec0::/10",
    "fc00::/7",
)
# Unspecified, multicast, reserved and broadcast; IPv6 that would leave as IPv4.
_UNUSABLE_NETWORKS = (
    "0.0.0.0/8",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "ff00::/8",
    "::ffff:0:0/96",
)


class Endpoint(NamedTuple):
    """A packed IP address of 4 or 16 bytes and a UDP port."""

    ip: bytes
    port: int

    @property
    def family(self) -> Family:
        """The one of the two networks (BEP 32) that the address belongs to."""
        return IPV4 if len(self.ip) == IPV4_BYTES else IPV6

    def to_address(self) -> Address:
        """The address as text and the port."""
        return Address(str(ipaddress.ip_address(self.ip)), self.port)

    def __str__(self) -> str:
        return str(self.to_address())


def parse_endpoint(address: Address) -> Endpoint:
    """The endpoint that a numeric address names.

    Raises:
        DecodeError: the host is a name, or no address at all.
    """
    try:
        return Endpoint(ipaddress.ip_address(address.host).packed, address.port)
    except ValueError:
        raise DecodeError(f"not an IP address: {address.host!r}") from None


def encode_peer(endpoint: Endpoint) -> bytes:
    """The compact form, 6 or 18 bytes."""
    return endpoint.ip + endpoint.port.to_bytes(PORT_BYTES, "big")


def decode_peer(compact: bytes) -> Endpoint:
    """The reverse of `encode_peer`.

    Raises:
        DecodeError: not 6 or 18 bytes.
    """
    if len(compact) not in PEER_BYTES.values():
        raise DecodeError(f"a compact peer of {len(compact)} bytes")
    return Endpoint(compact[:-PORT_BYTES], int.from_bytes(compact[-PORT_BYTES:], "big"))


class _Kind(NamedTuple):
    is_loopback: bool
    is_local: bool
    is_usable: bool


_Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def _parse_networks(texts: tuple[str, ...]) -> list[_Network]:
    return [ipaddress.ip_network(text) for text in texts]


_LOOPBACK = _parse_networks(_LOOPBACK_NETWORKS)
_LOCAL = _parse_networks(_LOCAL_NETWORKS)
_UNUSABLE = _parse_networks(_UNUSABLE_NETWORKS)


@lru_cache(maxsize=4096)  # the nodes around us; a classification costs 20 us
def _kind(ip: bytes) -> _Kind:
    address = ipaddress.ip_address(ip)

    def within(networks: list[_Network]) -> bool:
        return any(address in network for network in networks)

    return _Kind(within(_LOOPBACK), within(_LOCAL), not within(_UNUSABLE))


def is_loopback(ip: bytes) -> bool:
    """True for addresses of this machine itself."""
    return _kind(ip).is_loopback


def is_local(ip: bytes) -> bool:
    """True for loopback, private, shared and link-local addresses."""
    return _kind(ip).is_local


def is_usable(endpoint: Endpoint) -> bool:
    """True if a datagram of ours may go there because a stranger named it."""
    return endpoint.port >= LOWEST_PORT and _kind(endpoint.ip).is_usable


def is_plausible(endpoint: Endpoint, named_by: bytes) -> bool:
    """True if the node at IP address `named_by` may name this endpoint.

    A node out there has no business with local addresses; believing it would let it aim at ours.
    """
    return is_usable(endpoint) and (not is_local(endpoint.ip) or is_local(named_by))


def host_key(endpoint: Endpoint) -> bytes:
    """What limits "per IP address" count by.

    Nodes on loopback share an address without being one host, so there the port counts too.
    """
    return encode_peer(endpoint) if is_loopback(endpoint.ip) else endpoint.ip


def subnet_key(endpoint: Endpoint) -> bytes:
    """What limits "per /24" (IPv6: /64) count by: addresses that one owner gets by the dozen.

    A local network is one such subnet, and its nodes are not strangers: there every host counts.
    """
    if is_local(endpoint.ip):
        return host_key(endpoint)
    return endpoint.ip[:3] if len(endpoint.ip) == IPV4_BYTES else endpoint.ip[:8]
