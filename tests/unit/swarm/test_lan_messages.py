"""The datagram of local discovery: what others send is read, and nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.errors import DecodeError
from protozorfs.swarm.lan_messages import (
    HOST_IPV4,
    HOST_IPV6,
    MAX_COOKIE_BYTES,
    MAX_RECEIVED_BYTES,
    MAX_RECEIVED_INFOHASHES,
    MAX_SENT_BYTES,
    MAX_SENT_INFOHASHES,
    Heard,
    decode_announcement,
    encode_announcement,
    is_cookie,
)

ONE = bytes(range(20))
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126)
OTHER = bytes(range(20, 40))
# As libtorrent 2.1.1 sends it.
OF_LIBTORRENT = (
    b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n"
    b"Infohash: 000102030405060708090a0b0c0d0e0f10111213\r\ncookie: 5bd0ea7f\r\n\r\n\r\n"
)


def datagram(*lines: bytes, end: bytes = b"\r\n\r\n\r\n") -> bytes:
    return b"\r\n".join((b"BT-SEARCH * HTTP/1.1", *lines)) + end


PORT = b"Port: 6881"
INFOHASH = b"Infohash: " + ONE.hex().encode()


def test_libtorrents_datagram() -> None:
    assert decode_announcement(OF_LIBTORRENT) == Heard(6881, (ONE,), b"5bd0ea7f")


def test_the_bytes_that_we_send() -> None:
    assert encode_announcement(HOST_IPV4, 6881, [ONE], b"5bd0ea7f") == OF_LIBTORRENT


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(datagram(PORT, INFOHASH, end=b"\r\n\r\n"), id="one blank line"),
        pytest.param(datagram(b"pOrT:6881", INFOHASH.upper()), id="any case, no blank"),
        pytest.param(datagram(b"X-New: y", INFOHASH, PORT, b"Host: z"), id="unknown, any order"),
        pytest.param(datagram(PORT, INFOHASH).replace(b"BT-S", b"bt-s"), id="method's case"),
    ],
)
def test_other_spellings(data: bytes) -> None:
    assert decode_announcement(data) == Heard(6881, (ONE,), b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(datagram(PORT, INFOHASH, end=b"\r\n"), id="no blank line"),
        pytest.param(datagram(PORT, INFOHASH) + b"x", id="something behind"),
        pytest.param(datagram(PORT, INFOHASH, end=b"\r\n" * 4), id="three blank lines"),
        pytest.param(OF_LIBTORRENT.replace(b"BT-SEARCH", b"M-SEARCH"), id="other method"),
        pytest.param(datagram(PORT), id="no infohash"),
        pytest.param(datagram(INFOHASH), id="no port"),
        pytest.param(datagram(b"Port: 0", INFOHASH), id="port 0"),
        pytest.param(datagram(b"Port: 65536", INFOHASH), id="port too large"),
        pytest.param(datagram(b"Port: -1", INFOHASH), id="port with a sign"),
        pytest.param(datagram(b"Port: 1_0", INFOHASH), id="port with an underscore"),
        pytest.param(datagram(b"Port: " + b"9" * 500, INFOHASH), id="port of 500 digits"),
        pytest.param(datagram("Port: \u0663".encode(), INFOHASH), id="digits of Unicode"),
        pytest.param(datagram(PORT, INFOHASH[:-1]), id="infohash too short"),
        pytest.param(datagram(PORT, INFOHASH + b"00"), id="infohash too long"),
        pytest.param(datagram(PORT, INFOHASH[:-2] + b"zz"), id="infohash not hex"),
        pytest.param(datagram(PORT, INFOHASH[:12] + b" " + INFOHASH[13:]), id="blank in it"),
        pytest.param(datagram(PORT, INFOHASH, b"no header"), id="a line without a colon"),
        pytest.param(datagram(PORT, INFOHASH, b"X: " + b"x" * 1472), id="too long"),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_announcement(data)


def test_as_many_infohashes_as_a_frame_can_hold() -> None:
    line = INFOHASH.replace(b" ", b"")
    most = datagram(b"Port:1", *[line] * MAX_RECEIVED_INFOHASHES, end=b"\r\n\r\n")
    assert len(most) <= MAX_RECEIVED_BYTES
    assert decode_announcement(most).infohashes == (ONE,) * MAX_RECEIVED_INFOHASHES
    assert len(most) + len(line) + 2 > MAX_RECEIVED_BYTES


@given(
    st.sampled_from([HOST_IPV4, HOST_IPV6]),
    st.integers(1, 65535),
    st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=MAX_SENT_INFOHASHES),
    st.text(PRINTABLE, min_size=1, max_size=MAX_COOKIE_BYTES).map(str.encode),
)
def test_what_we_send_can_be_read(
    host: bytes, port: int, infohashes: list[bytes], cookie: bytes
) -> None:
    assert is_cookie(cookie)
    data = encode_announcement(host, port, infohashes, cookie)
    assert len(data) <= MAX_SENT_BYTES
    assert decode_announcement(data) == Heard(port, tuple(infohashes), cookie)


def test_the_longest_that_we_send_fits() -> None:
    infohashes = [OTHER] * MAX_SENT_INFOHASHES
    longest = encode_announcement(HOST_IPV6, 65535, infohashes, b"c" * MAX_COOKIE_BYTES)
    assert len(longest) <= MAX_SENT_BYTES


def decodes_or_refuses(data: bytes) -> None:
    try:
        heard = decode_announcement(data)
    except DecodeError:
        return
    assert 1 <= heard.port <= 65535
    assert 1 <= len(heard.infohashes) <= MAX_RECEIVED_INFOHASHES
    assert all(len(infohash) == 20 for infohash in heard.infohashes)


@given(st.binary(max_size=2000))
def test_arbitrary_bytes(data: bytes) -> None:
    decodes_or_refuses(data)


LINES = st.sampled_from(
    [PORT, INFOHASH, b"", b":", b"cookie:", b"Port:", b"\r", b"\n", b"Infohash: \xff", b"BT-SEARCH"]
)


@given(st.lists(st.one_of(LINES, st.binary(max_size=60)), max_size=40))
def test_arbitrary_lines(lines: list[bytes]) -> None:
    decodes_or_refuses(datagram(*lines))


@given(st.integers(0, len(OF_LIBTORRENT) - 1), st.integers(0, 255))
def test_one_byte_changed_and_the_rest_cut(at: int, value: int) -> None:
    decodes_or_refuses(OF_LIBTORRENT[:at] + bytes([value]) + OF_LIBTORRENT[at + 1 :])
    decodes_or_refuses(OF_LIBTORRENT[:at])
