"""Node ids: distances, and ids that belong to an address.

A node that may choose its id freely can sit down next to any target. BEP 42 ties the first 21 bits
to the address:

    r         last byte of the id; its low 3 bits go into the top of the masked address
    masked    IPv4 & 03.0f.3f.ff, or the high 8 bytes of IPv6 & 0103.070f.1f3f.7fff
    prefix    first 21 bits of CRC-32C(masked | (r & 7) << 5 in its first byte)
Source: BEP 5, BEP 42.
"""

from __future__ import annotations

from typing import NewType, Protocol

from protozorfs.dht.endpoint import IPV4_BYTES, is_local

NodeId = NewType("NodeId", bytes)  # 20 bytes

ID_BYTES = 20
ID_BITS = 8 * ID_BYTES
_PREFIX_SHIFT = 32 - 21  # of the checksum, its first 21 bits count
_MASK_IPV4 = bytes.fromhex("030f3fff")
_MASK_IPV6 = bytes.fromhex("0103070f1f3f7fff")
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, reflected


class RandomSource(Protocol):
    """Where an engine's random bytes come from: the system, or a seed in tests."""

    def randbytes(self, n: int, /) -> bytes:
        """`n` random bytes."""
        ...

    def random(self) -> float:
        """A random number in [0, 1)."""
        ...


def distance(left: bytes, right: bytes) -> int:
    """The XOR metric: 0 to 2**160 - 1."""
    return int.from_bytes(left, "big") ^ int.from_bytes(right, "big")


def common_prefix_bits(left: bytes, right: bytes) -> int:
    """How many leading bits agree: 0 to 160."""
    return ID_BITS - distance(left, right).bit_length()


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli). Source: RFC 3720, appendix B.4."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _address_checksum(ip: bytes, r: int) -> int:
    mask = _MASK_IPV4 if len(ip) == IPV4_BYTES else _MASK_IPV6
    masked = bytearray(byte & keep for byte, keep in zip(ip, mask, strict=False))
    masked[0] |= (r & 7) << 5
    return crc32c(bytes(masked))


def belongs_to(node_id: bytes, ip: bytes) -> bool:
    """True if the id is valid for the IP address; local addresses go with every id."""
    if is_local(ip):
        return True
    prefix = int.from_bytes(node_id[:4], "big") >> _PREFIX_SHIFT
    return prefix == _address_checksum(ip, node_id[-1]) >> _PREFIX_SHIFT


def make_node_id(ip: bytes | None, random: RandomSource) -> NodeId:
    """A random id, valid for the IP address if that is given and not local."""
    node_id = random.randbytes(ID_BYTES)
    if ip is None or is_local(ip):
        return NodeId(node_id)
    free = (1 << _PREFIX_SHIFT) - 1
    head = int.from_bytes(node_id[:4], "big") & free
    head |= _address_checksum(ip, node_id[-1]) & ~free
    return NodeId(head.to_bytes(4, "big") + node_id[4:])


def random_id_at(own_id: NodeId, prefix_bits: int, random: RandomSource) -> NodeId:
    """A random id that agrees with `own_id` in exactly that many leading bits (below 160)."""
    own = int.from_bytes(own_id, "big")
    free_bits = ID_BITS - prefix_bits - 1  # behind the first bit that differs
    tail = int.from_bytes(random.randbytes(ID_BYTES), "big") & ((1 << free_bits) - 1)
    head = own >> free_bits ^ 1
    return NodeId((head << free_bits | tail).to_bytes(ID_BYTES, "big"))
