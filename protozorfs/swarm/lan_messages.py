r"""The datagram of local service discovery: who on this link has which feeds.

    BT-SEARCH * HTTP/1.1\r\n
    Host: 239.192.152.143:6771\r\n      or [ff15::efc0:988f]:6771
    Port: 6881\r\n                      where the sender listens for TCP
    Infohash: <40 hex digits>\r\n       once or more
    cookie: <opaque>\r\n                by which a sender knows its own datagrams
    \r\n
    \r\n

The host of the peer is the datagram's source. Header names are read in any case, unknown ones are
passed over, and one blank line at the end is enough. Source: BEP 14; libtorrent src/lsd.cpp.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP_PORT = 6771
GROUP_IPV4 = "239.192.152.143"
GROUP_IPV6 = "ff15::efc0:988f"
HOST_IPV4 = b"239.192.152.143:6771"
HOST_IPV6 = b"[ff15::efc0:988f]:6771"

INFOHASH_BYTES = 20
MAX_SENT_BYTES = 1400  # of one datagram. Source: BEP 14
MAX_SENT_INFOHASHES = 24  # of one datagram: 24 * 52 bytes and at most 110 of the other lines
# What fits into one frame of an Ethernet link unfragmented; senders keep to MAX_SENT_BYTES.
MAX_RECEIVED_BYTES = 1472
MAX_RECEIVED_INFOHASHES = 28  # more lines of 52 bytes do not fit
MAX_COOKIE_BYTES = 32  # of our own, so that a datagram has room for all of it

_METHOD = b"BT-SEARCH"
_LINE_END = b"\r\n"
_MAX_PORT_DIGITS = 5
_HEX_DIGITS = frozenset(string.hexdigits.encode())


class Heard(NamedTuple):
    """What a datagram says.

    Attributes:
        port: where the sender listens for TCP.
        infohashes: 20 bytes each, at least one.
        cookie: as sent; empty if there was none.
    """

    port: int
    infohashes: tuple[bytes, ...]
    cookie: bytes


def encode_announcement(
    host: bytes, port: int, infohashes: Sequence[bytes], cookie: bytes
) -> bytes:
    """The datagram for a group, named by its `Host` header; at most MAX_SENT_BYTES.

    Args:
        host: HOST_IPV4 or HOST_IPV6.
        port: our TCP port.
        infohashes: 1 to MAX_SENT_INFOHASHES, 20 bytes each.
        cookie: printable, at most MAX_COOKIE_BYTES.
    """
    lines = [b"BT-SEARCH * HTTP/1.1", b"Host: " + host, b"Port: %d" % port]
    lines += [b"Infohash: " + infohash.hex().encode() for infohash in infohashes]
    lines += [b"cookie: " + cookie, b"", b"", b""]
    return _LINE_END.join(lines)


def is_cookie(cookie: bytes) -> bool:
    """Whether it tells a sender, and `decode_announcement` gives it back as it was sent."""
    return 0 < len(cookie) <= MAX_COOKIE_BYTES and all(33 <= byte <= 126 for byte in cookie)


def decode_announcement(data: bytes) -> Heard:
    """The reverse of `encode_announcement`, for whatever arrives.

    Raises:
        DecodeError
    """
    if len(data) > MAX_RECEIVED_BYTES:
        raise DecodeError("longer than one frame")
    head, blank, rest = data.partition(_LINE_END * 2)
    if not blank or rest not in (b"", _LINE_END):
        raise DecodeError("does not end with one or two blank lines")
    request, *lines = head.split(_LINE_END)
    if request.split(b" ")[0].upper() != _METHOD:
        raise DecodeError("not a BT-SEARCH")
    port = 0
    infohashes = []
    cookie = b""
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise DecodeError("a line that is no header")
        match name.strip().lower():
            case b"port":
                port = _decode_port(value.strip())
            case b"infohash":
                infohashes.append(_decode_infohash(value.strip()))
            case b"cookie":
                cookie = value.strip()
    if port == 0 or not infohashes:
        raise DecodeError("without a port or an infohash")
    if len(infohashes) > MAX_RECEIVED_INFOHASHES:
        raise DecodeError(f"{len(infohashes)} infohashes")
    return Heard(port, tuple(infohashes), cookie)


def _decode_port(digits: bytes) -> int:
    # bytes.isdigit knows ASCII digits only.
    port = int(digits) if digits.isdigit() and len(digits) <= _MAX_PORT_DIGITS else 0
    if not 1 <= port <= 65535:
        raise DecodeError("not a port")
    return port


def _decode_infohash(digits: bytes) -> bytes:
    # fromhex alone would pass over blanks between the digits.
    if len(digits) != 2 * INFOHASH_BYTES or not _HEX_DIGITS.issuperset(digits):
        raise DecodeError("not an infohash")
    return bytes.fromhex(digits.decode("ascii"))
