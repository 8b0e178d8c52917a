"""Asks a gateway for port mappings by UPnP IGD.

The search for the gateway's description is ours: only what the gateway itself answers counts, and
only addresses of its own are asked. All after that is miniupnpc, whose calls block: they are for
threads. Each call makes an object of its own, so that one that was given up, and goes on, meets no
other. Source: UPnP Device Architecture 1.1, 1.3.2; UPnP WANIPConnection:1, 2.4.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import miniupnpc
import trio

from protozorfs.errors import DecodeError, ProtozorfsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.swarm.gateway import Gateway

SEARCH_GROUP = "239.255.255.250"
SEARCH_PORT = 1900
SEARCH_TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)
SEARCHES = 2  # datagrams get lost
SEARCH_SECONDS = 2.0  # for the answers to each; what a gateway may take at most is MX
MX_SECONDS = 1
MAX_ANSWER_BYTES = 2048
MAX_LOCATION_BYTES = 127  # what miniupnpc has room for

LEASE_SECONDS = 3600  # a mapping of ours that nobody renews ends by itself
PERMANENT = 0  # the only lease that some gateways know
EXTERNAL_PORTS = 4  # tried one after the other when some other host has them
PROTOCOLS = ("TCP", "UDP")
DESCRIPTION = "protozorfs"

# miniupnpc raises plain Exceptions with these texts for the errors 718 and 714.
_CONFLICT = "ConflictInMappingEntry"
_NO_SUCH_ENTRY = "NoSuchEntryInArray"


class GatewayError(ProtozorfsError):
    """The gateway does not do what it was asked for."""


class _PortTaken(GatewayError):
    """Another host has that external port."""


class _Library(Protocol):
    """What is used of `miniupnpc.UPnP`, which has no types of its own."""

    lanaddr: str

    def selectigd(self, location: str) -> str | None: ...
    def externalipaddress(self) -> str: ...
    def addportmapping(
        self,
        external_port: int,
        protocol: str,
        host: str,
        port: int,
        description: str,
        remote_host: str,
        lease: int,
        /,
    ) -> bool: ...
    def deleteportmapping(self, external_port: int, protocol: str, /) -> bool: ...
    def getspecificportmapping(
        self, external_port: int, protocol: str, /
    ) -> tuple[str, int, str, bool, int] | None: ...


@dataclass(frozen=True, slots=True)
class Mapping:
    """A port of the gateway's that leads to ours, for TCP and UDP.

    Attributes:
        gateway: whose port it is.
        location: of the gateway's description.
        external_host: the gateway's address on its other side.
        external_port: the port there.
    """

    gateway: Gateway
    location: str
    external_host: str
    external_port: int


async def search(gateway: Gateway) -> str:
    """The URL of the gateway's description.

    Raises:
        GatewayError: it does not answer.
        OSError: its link is gone.
    """
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        index = socket.if_nametoindex(gateway.interface)
        request = struct.pack("=4s4si", bytes(4), bytes(4), index)
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        for _ in range(SEARCHES):
            for target in SEARCH_TARGETS:
                # To its own address too: host firewalls let the answer to that in.
                for host in (SEARCH_GROUP, gateway.host):
                    await asking.sendto(search_message(target), (host, SEARCH_PORT))
            with trio.move_on_after(SEARCH_SECONDS):
                return await _receive_location(asking, gateway)
    raise GatewayError("does not answer UPnP")


async def _receive_location(asking: trio.socket.SocketType, gateway: Gateway) -> str:
    while True:
        data, source = await asking.recvfrom(MAX_ANSWER_BYTES)
        if source[0] != gateway.host:
            continue
        try:
            location = decode_answer(data)
        except DecodeError:
            continue  # there may be a better one
        if is_at(location, gateway):
            return location


def search_message(target: str) -> bytes:
    """A search for devices of one kind."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {SEARCH_GROUP}:{SEARCH_PORT}",
        'MAN: "ssdp:discover"',
        f"MX: {MX_SECONDS}",
        f"ST: {target}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def decode_answer(data: bytes) -> str:
    """The URL that an answer to a search names.

    Raises:
        DecodeError
    """
    status, *lines = data.split(b"\r\n")
    if status.split(b" ")[:2] != [b"HTTP/1.1", b"200"]:
        raise DecodeError("not an answer")
    for line in lines:
        name, _, value = line.partition(b":")
        location = value.strip()
        if name.strip().lower() == b"location":
            if not location.isascii() or len(location) > MAX_LOCATION_BYTES:
                raise DecodeError("a location that cannot be used")
            return location.decode("ascii")
    raise DecodeError("without a location")


def is_at(url: str, gateway: Gateway) -> bool:
    """True for an address of the gateway itself."""
    # Stricter than any parser, so that miniupnpc's cannot see another host in it.
    pattern = rf"http://{re.escape(gateway.host)}(:[0-9]{{1,5}})?(/[!-~]*)?"
    return re.fullmatch(pattern, url) is not None


def add_mapping(gateway: Gateway, location: str, port: int, external_port: int) -> Mapping:
    """Makes or renews a mapping of an external port, or one of the next few, to ours. Blocks.

    Raises:
        GatewayError: there is none now that we know of.
    """
    with _errors_of_library():
        library = _open(gateway, location)
        external_host = _external_host(library)
        last = min(external_port + EXTERNAL_PORTS, 65536)
        for candidate in range(external_port, last):
            try:
                _check_free(library, candidate, port)
                _add_all(library, candidate, port)
            except _PortTaken:
                continue
            return Mapping(gateway, location, external_host, candidate)
    raise GatewayError("has given the port to another host")


def remove_mapping(mapping: Mapping) -> None:
    """Removes what `add_mapping` made; no effect if it is gone. Blocks.

    Raises:
        GatewayError
    """
    with _errors_of_library():
        library = _open(mapping.gateway, mapping.location)
        for protocol in PROTOCOLS:
            try:
                library.deleteportmapping(mapping.external_port, protocol)
            except Exception as error:
                if str(error) != _NO_SUCH_ENTRY:
                    raise


def _open(gateway: Gateway, location: str) -> _Library:
    library = cast("_Library", miniupnpc.UPnP())
    control = library.selectigd(location)
    if not control or not is_at(control, gateway):
        raise GatewayError("has no port mapping at its own address")
    return library


def _external_host(library: _Library) -> str:
    text = library.externalipaddress()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise GatewayError(f"says that its address is {text!r}") from None
    if address.is_unspecified:
        raise GatewayError("is not connected itself")
    return text


def _check_free(library: _Library, external_port: int, port: int) -> None:
    """Some gateways give a port away that another host has; that is not ours to take."""
    for protocol in PROTOCOLS:
        entry = library.getspecificportmapping(external_port, protocol)
        if entry is not None and entry[:2] != (library.lanaddr, port):
            raise _PortTaken


def _add_all(library: _Library, external_port: int, port: int) -> None:
    added: list[str] = []
    try:
        for protocol in PROTOCOLS:
            _add(library, external_port, protocol, port)
            added.append(protocol)
    except Exception:
        for protocol in added:  # half a mapping is of no use
            library.deleteportmapping(external_port, protocol)
        raise


def _add(library: _Library, external_port: int, protocol: str, port: int) -> None:
    def add(lease: int) -> None:
        library.addportmapping(
            external_port, protocol, library.lanaddr, port, DESCRIPTION, "", lease
        )

    try:
        add(LEASE_SECONDS)
    except Exception as error:
        if type(error) is not Exception:
            raise
        if str(error) == _CONFLICT:
            raise _PortTaken from error
        # Gateways that know permanent leases only say so in many ways.
        add(PERMANENT)


@contextmanager
def _errors_of_library() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # of what the gateway says, which is taken for UTF-8
        raise GatewayError("answers what is no text") from error
    except Exception as error:
        if type(error) is not Exception:  # miniupnpc raises nothing more special
            raise
        raise GatewayError(f"refuses: {error}") from error
