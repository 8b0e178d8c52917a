"""The default gateway of this machine: the only host that is ever asked for a port mapping."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

ROUTES_FILE = "/proc/net/route"
# Source: linux/route.h
_RTF_UP = 0x1
_RTF_GATEWAY = 0x2
# Positions in a line: interface, destination, gateway, flags, 3 more, mask. Numbers are hex; those
# of addresses are as in memory. Source: proc(5).
_METRIC = 6
_MASK = 7


class Gateway(NamedTuple):
    """Where packets to the rest of the world go.

    Attributes:
        host: its IPv4 address.
        interface: the name of the interface that it is behind.
    """

    host: str
    interface: str


def find_gateway() -> Gateway | None:
    """The default gateway now; None without a default route."""
    try:
        with open(ROUTES_FILE, encoding="ascii") as routes:
            return parse_routes(routes.read())
    except FileNotFoundError:  # a kernel without IPv4
        return None


def parse_routes(text: str) -> Gateway | None:
    """The gateway of the default route with the smallest metric."""
    found: list[tuple[int, Gateway]] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        interface, destination, gateway, flags = fields[:4]
        is_used = int(flags, 16) & (_RTF_UP | _RTF_GATEWAY) == _RTF_UP | _RTF_GATEWAY
        if is_used and int(destination, 16) == int(fields[_MASK], 16) == 0:
            host = socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
            found.append((int(fields[_METRIC]), Gateway(host, interface)))
    return min(found)[1] if found else None
