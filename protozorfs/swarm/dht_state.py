"""What a node keeps of the DHT between runs: its ids and contacts, as one file of the store.

| bytes | field |
|---|---|
| 8 | magic "pzdht\\0\\0\\1" |
| per network: 1 | family, 4 or 6 |
| 20 | node id |
| 1 + n | size of the external address, 0 if unknown; the address |
| 2 | count of contacts, big-endian |
| per contact: 26 or 38 | compact node info (BEP 5, BEP 32) |

It is a hint: a damaged file is no error, the node then starts like a new one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import IPV4, IPV4_BYTES, IPV6, IPV6_BYTES, Endpoint
from protozorfs.dht.krpc import Contact
from protozorfs.dht.network import MAX_SAVED_CONTACTS, SavedNetwork
from protozorfs.dht.node_id import NodeId
from protozorfs.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.dht.endpoint import Family
    from protozorfs.store.files import Files

FILE_NAME = "dht"
MAGIC = b"pzdht\0\0\1"
ID_BYTES = 20
_PORT = struct.Struct(">H")
_ADDRESS_BYTES: dict[Family, int] = {IPV4: IPV4_BYTES, IPV6: IPV6_BYTES}


def load_state(files: Files) -> tuple[SavedNetwork, ...]:
    """What the last run kept; nothing if there is none, or it is damaged."""
    try:
        return decode_state(files.read(FILE_NAME))
    except (FileNotFoundError, DecodeError):
        return ()


def save_state(files: Files, networks: Iterable[SavedNetwork]) -> None:
    """Keeps it for the next run. Raises StoreFull."""
    files.replace(FILE_NAME, encode_state(networks))


def encode_state(networks: Iterable[SavedNetwork]) -> bytes:
    """The bytes of the file."""
    parts = [MAGIC]
    for network in networks:
        external = network.external_ip or b""
        parts += [bytes([network.family]), network.node_id, bytes([len(external)]), external]
        parts.append(_PORT.pack(len(network.contacts)))
        for node_id, (ip, port) in network.contacts:
            parts += [node_id, ip, _PORT.pack(port)]
    return b"".join(parts)


def decode_state(data: bytes) -> tuple[SavedNetwork, ...]:
    """The reverse of `encode_state`.

    Raises:
        DecodeError: it is not, whatever the bytes.
    """
    reader = _Reader(data)
    if reader.take(len(MAGIC)) != MAGIC:
        raise DecodeError("not the DHT state of this version")
    networks = []
    while reader.left:
        family = _family(reader.take(1)[0])
        node_id = NodeId(reader.take(ID_BYTES))
        external = reader.take(reader.take(1)[0])
        if external and len(external) != _ADDRESS_BYTES[family]:
            raise DecodeError("an external address of another family")
        (count,) = _PORT.unpack(reader.take(_PORT.size))
        if count > MAX_SAVED_CONTACTS:
            raise DecodeError("more contacts than are ever kept")
        contacts = tuple(_contact(reader, family) for _ in range(count))
        networks.append(
            SavedNetwork(
                family=family,
                node_id=node_id,
                external_ip=external or None,
                contacts=contacts,
            )
        )
    return tuple(networks)


def _family(number: int) -> Family:
    if number == IPV4:
        return IPV4
    if number == IPV6:
        return IPV6
    raise DecodeError(f"no network of family {number}")


def _contact(reader: _Reader, family: Family) -> Contact:
    node_id = NodeId(reader.take(ID_BYTES))
    ip = reader.take(_ADDRESS_BYTES[family])
    (port,) = _PORT.unpack(reader.take(_PORT.size))
    return Contact(node_id, Endpoint(ip, port))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise DecodeError("cut short")
        self._at += size
        return self._data[self._at - size : self._at]
