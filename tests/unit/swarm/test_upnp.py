"""Answers to the search for a gateway: who may answer what."""

from __future__ import annotations

import miniupnpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs.errors import DecodeError
from protozorfs.swarm.gateway import Gateway
from protozorfs.swarm.upnp import (
    MAX_LOCATION_BYTES,
    GatewayError,
    Mapping,
    add_mapping,
    decode_answer,
    is_at,
    remove_mapping,
    search_message,
)

GATEWAY = Gateway("192.0.2.1", "eth0")
URL = "http://192.0.2.1:5000/root.xml"


def answer(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


def test_a_search_as_the_standard_has_it() -> None:
    assert search_message("urn:x") == (
        b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\n'
        b"MX: 1\r\nST: urn:x\r\n\r\n"
    )


@pytest.mark.parametrize("line", [f"LOCATION: {URL}", f"location:{URL}  ", f"Location:\t{URL}"])
def test_the_location(line: str) -> None:
    assert decode_answer(answer("ST: x", line, "USN: y")) == URL


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer("ST: x"),
        answer(f"LOCATION: {URL}").replace(b"200", b"404"),
        b"NOTIFY * HTTP/1.1\r\nLOCATION: http://192.0.2.1/\r\n\r\n",
        answer("LOCATION: http://192.0.2.1/\u00e9"),
        answer("LOCATION: http://192.0.2.1/" + "x" * MAX_LOCATION_BYTES),
    ],
)
def test_no_location(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_answer(data)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_arbitrary_bytes(start: bytes, rest: bytes) -> None:
    for data in (start, b"HTTP/1.1 200 OK\r\n" + start, answer("LOCATION: ")[:-4] + rest):
        try:
            location = decode_answer(data)
        except DecodeError:
            continue
        assert len(location) <= MAX_LOCATION_BYTES
        is_at(location, GATEWAY)


@pytest.mark.parametrize("url", [URL, "http://192.0.2.1/", "http://192.0.2.1"])
def test_at_the_gateway(url: str) -> None:
    assert is_at(url, GATEWAY)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://192.0.2.1/",
        "http://192.0.2.10/",
        "http://192a0.2.1/",
        "http://192.0.2.1.example/",
        "http://192.0.2.1@192.0.2.2/",
        "http://192.0.2.1:80@192.0.2.2/",
        "http://192.0.2.2/http://192.0.2.1/",
        "http://192.0.2.1:5000\\@192.0.2.2/",
        "http://192.0.2.1/ x",
        "http://192.0.2.1/\n",
    ],
)
def test_elsewhere(url: str) -> None:
    assert not is_at(url, GATEWAY)


class GatewayThatAnswersNoText:
    """In place of the library, whose strings are UTF-8 or an error."""

    def __init__(self) -> None:
        self.lanaddr = "10.0.0.2"

    def selectigd(self, location: str) -> str:
        return location

    def externalipaddress(self) -> str:
        return b"\xff\xfe".decode()

    def deleteportmapping(self, external_port: int, protocol: str) -> bool:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def test_what_is_no_text_is_the_gateways_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniupnpc, "UPnP", GatewayThatAnswersNoText)
    location = f"http://{GATEWAY.host}:5000/root"
    with pytest.raises(GatewayError, match="no text"):
        add_mapping(GATEWAY, location, 4711, 4711)
    with pytest.raises(GatewayError, match="no text"):
        remove_mapping(Mapping(GATEWAY, location, "192.0.2.1", 4711))
