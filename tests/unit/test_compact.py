"""compact-encoding against vectors of Node, and on any input."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import compact
from protozorfs.errors import DecodeError
from protozorfs.types import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "transport.json").read_text())[
    "compact_encoding"
]

Codec = tuple["Callable[[Any], bytes]", "Callable[[bytes, int], tuple[Any, int]]"]


def fixed(width: int) -> Codec:
    return partial(compact.encode_fixed_uint, width=width), partial(
        compact.decode_fixed_uint, width=width
    )


def array(codec: Codec, min_element_bytes: int) -> Codec:
    encode, decode = codec
    return (
        lambda values: compact.encode_array(values, encode),
        lambda data, pos: compact.decode_array(data, pos, decode, min_element_bytes),
    )


UINT: Codec = (compact.encode_uint, compact.decode_uint)
BUFFER: Codec = (compact.encode_buffer, compact.decode_buffer)
STRING: Codec = (compact.encode_string, compact.decode_string)
FIXED32: Codec = (bytes, compact.decode_fixed32)
CODECS: dict[str, Codec] = {
    "uint": UINT,
    "int": (compact.encode_int, compact.decode_int),
    "uint8": fixed(1),
    "uint16": fixed(2),
    "uint24": fixed(3),
    "uint32": fixed(4),
    "uint64": fixed(8),
    "bool": (compact.encode_bool, compact.decode_bool),
    "buffer": BUFFER,
    "optional_buffer": (compact.encode_optional_buffer, compact.decode_optional_buffer),
    "string": STRING,
    "raw": (bytes, lambda data, pos: (data[pos:], len(data))),
    "fixed32": FIXED32,
    "fixed64": (bytes, compact.decode_fixed64),
    "array_of_uint": array(UINT, 1),
    "array_of_buffer": array(BUFFER, 1),
    "array_of_string": array(STRING, 1),
    "array_of_fixed32": array(FIXED32, 32),
    "uint32array": (
        compact.encode_uint32_array,
        lambda data, pos: (lambda found: (list(found[0]), found[1]))(
            compact.decode_uint32_array(data, pos)
        ),
    ),
}


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if isinstance(value, list):
        return [from_json(element) for element in value]
    return value


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["type"])
def test_encodes_and_decodes_as_node(case: dict[str, Any]) -> None:
    encode, decode = CODECS[case["type"]]
    encoded = bytes.fromhex(case["hex"])
    assert encode(from_json(case["value"])) == encoded
    assert decode(encoded, 0) == (from_json(case["decodes_to"]), len(encoded))
    if case["type"] != "raw":
        assert decode(b"\x01" + encoded + b"\xff", 1) == (
            from_json(case["decodes_to"]),
            len(encoded) + 1,
        )
        for size in range(len(encoded)):
            with pytest.raises(DecodeError):
                decode(encoded[:size], 0)


@pytest.mark.parametrize("case", VECTORS["decode_only"], ids=lambda case: case["type"])
def test_decodes_what_node_decodes(case: dict[str, Any]) -> None:
    _, decode = CODECS[case["type"]]
    assert decode(bytes.fromhex(case["hex"]), 0)[0] == from_json(case["value"])


@pytest.mark.parametrize("case", VECTORS["decode_errors"], ids=lambda case: case["type"])
def test_refuses_what_node_refuses(case: dict[str, Any]) -> None:
    _, decode = CODECS[case["type"]]
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(case["hex"]), 0)


@given(st.integers(0, MAX_SAFE_INTEGER), st.binary(max_size=3), st.binary(max_size=3))
def test_uint_round_trip(value: int, before: bytes, after: bytes) -> None:
    encoded = compact.encode_uint(value)
    assert len(encoded) <= compact.MAX_UINT_BYTES
    end = len(before) + len(encoded)
    assert compact.decode_uint(before + encoded + after, len(before)) == (value, end)


@given(st.integers(-(2**52), 2**52 - 1))
def test_int_round_trip(value: int) -> None:
    assert compact.decode_int(compact.encode_int(value), 0)[0] == value


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=80))
def test_arbitrary_bytes_decode_or_raise_decode_error(kind: str, data: bytes) -> None:
    try:
        _, end = CODECS[kind][1](data, 0)
    except DecodeError:
        return
    assert end <= len(data)


@pytest.mark.parametrize("value", [-1, MAX_SAFE_INTEGER + 1, 2**64])
def test_no_encoding_for_integers_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        compact.encode_uint(value)
    with pytest.raises(ValueError, match="does not go into"):
        compact.encode_fixed_uint(value, 8)


def test_no_encoding_for_an_integer_wider_than_its_field() -> None:
    with pytest.raises(ValueError, match="does not go into"):
        compact.encode_fixed_uint(256, 1)


def test_count_is_checked_before_anything_is_allocated() -> None:
    claimed = compact.encode_uint(compact.MAX_ARRAY_COUNT)
    with pytest.raises(DecodeError):
        compact.decode_count(claimed + bytes(100), 0, 1)
    with pytest.raises(DecodeError):
        compact.decode_count(compact.encode_uint(compact.MAX_ARRAY_COUNT + 1) + bytes(9), 0, 0)
