"""compact-encoding: the value formats of the hypercore wire protocol and of its files.

| type | encoding |
|---|---|
| uint | 0..0xfc: that byte; up to 0xffff: fd + 2 bytes; up to 0xffffffff: fe + 4; else ff + 8 |
| int | zigzag as a uint: n >= 0 is 2n, n < 0 is -2n - 1 |
| uint8, 16, 24, 32, 64 | fixed width |
| bool | one byte, only 1 is true |
| buffer | uint length, the bytes; "optional": length 0 is none |
| string | a buffer of UTF-8 |
| fixed32, fixed64 | exactly that many bytes |
| array | uint count, the elements |
| uint32array | uint count, 4 bytes each |

All integers are little-endian and at most 2**53 - 1. Decoders take the data and a position and
return the value and the position behind it. Longer forms of a uint than needed are accepted; bytes
behind a value are the caller's. Whatever the input, a decoder raises nothing but `DecodeError`; an
encoder raises `ValueError` for a value that has no encoding. Source: compact-encoding 3.5.2.

The functions are plain and short because Python pays per call: in CPython 3.11 a uint of one byte
takes 0.05 us to decode. The messages' codecs still inline that case.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, TypeVar

from protozorfs.errors import DecodeError
from protozorfs.types import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

MAX_ARRAY_COUNT = 2**20  # Node refuses more, and so do we
MAX_UINT_BYTES = 9
ONE_BYTE_MAX = 0xFC  # the largest uint that is its own single byte

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TAG_AND_U16 = struct.Struct("<BH")
_TAG_AND_U32 = struct.Struct("<BI")
_TAG_AND_U64 = struct.Struct("<BQ")
_SINGLE = tuple(bytes([value]) for value in range(ONE_BYTE_MAX + 1))

_CUT_SHORT = "ends in the middle of a value"


def encode_uint(value: int) -> bytes:
    """1, 3, 5 or 9 bytes: the shortest form."""
    if 0 <= value <= 0xFC:
        return _SINGLE[value]
    if 0 <= value <= 0xFFFF:
        return _TAG_AND_U16.pack(0xFD, value)
    if 0 <= value <= 0xFFFFFFFF:
        return _TAG_AND_U32.pack(0xFE, value)
    if 0 <= value <= MAX_SAFE_INTEGER:
        return _TAG_AND_U64.pack(0xFF, value)
    raise ValueError(f"{value} is not in 0..2**53 - 1")


def decode_uint(data: bytes | bytearray, pos: int) -> tuple[int, int]:
    """The integer at `pos`, and the position behind it."""
    try:
        first = data[pos]
        if first <= 0xFC:
            return first, pos + 1
        if first == 0xFD:
            return _U16.unpack_from(data, pos + 1)[0], pos + 3
        if first == 0xFE:
            return _U32.unpack_from(data, pos + 1)[0], pos + 5
        value: int = _U64.unpack_from(data, pos + 1)[0]
    except (IndexError, struct.error):
        raise DecodeError(_CUT_SHORT) from None
    if value > MAX_SAFE_INTEGER:
        raise DecodeError("an integer above 2**53 - 1")
    return value, pos + 9


def encode_int(value: int) -> bytes:
    """-2**52 .. 2**52 - 1, zigzag."""
    return encode_uint(value << 1 if value >= 0 else -(value << 1) - 1)


def decode_int(data: bytes, pos: int) -> tuple[int, int]:
    """The reverse of `encode_int`."""
    zigzag, pos = decode_uint(data, pos)
    return (zigzag >> 1) ^ -(zigzag & 1), pos


def encode_fixed_uint(value: int, width: int) -> bytes:
    """`width` bytes, one of 1, 2, 3, 4 and 8."""
    if not 0 <= value <= min(MAX_SAFE_INTEGER, 256**width - 1):
        raise ValueError(f"{value} does not go into {width} bytes")
    return value.to_bytes(width, "little")


def decode_fixed_uint(data: bytes, pos: int, width: int) -> tuple[int, int]:
    """The reverse of `encode_fixed_uint`."""
    raw, pos = decode_raw(data, pos, width)
    value = int.from_bytes(raw, "little")
    if value > MAX_SAFE_INTEGER:
        raise DecodeError("an integer above 2**53 - 1")
    return value, pos


def encode_bool(value: bool) -> bytes:
    """One byte."""
    return b"\x01" if value else b"\x00"


def decode_bool(data: bytes, pos: int) -> tuple[bool, int]:
    """True for 1, False for any other byte."""
    raw, pos = decode_raw(data, pos, 1)
    return raw == b"\x01", pos


def decode_raw(data: bytes, pos: int, count: int) -> tuple[bytes, int]:
    """The next `count` bytes: the fixed-width types without a length."""
    end = pos + count
    if end > len(data):
        raise DecodeError(_CUT_SHORT)
    return data[pos:end], end


def decode_fixed32(data: bytes, pos: int) -> tuple[bytes, int]:
    """32 bytes, as of a key or a hash."""
    return decode_raw(data, pos, 32)


def decode_fixed64(data: bytes, pos: int) -> tuple[bytes, int]:
    """64 bytes, as of a signature."""
    return decode_raw(data, pos, 64)


def encode_buffer(value: bytes) -> bytes:
    """The length, then the bytes."""
    return encode_uint(len(value)) + value


def decode_buffer(data: bytes, pos: int) -> tuple[bytes, int]:
    """The reverse of `encode_buffer`."""
    count, pos = decode_uint(data, pos)
    return decode_raw(data, pos, count)


def encode_optional_buffer(value: bytes | None) -> bytes:
    """As a buffer; none and empty look the same."""
    return encode_buffer(value or b"")


def decode_optional_buffer(data: bytes, pos: int) -> tuple[bytes | None, int]:
    """None for an empty buffer."""
    value, pos = decode_buffer(data, pos)
    return value or None, pos


def encode_string(value: str) -> bytes:
    """A buffer of UTF-8."""
    return encode_buffer(value.encode())


def decode_string(data: bytes, pos: int) -> tuple[str, int]:
    """Text; what is not UTF-8 becomes U+FFFD, as in Node."""
    value, pos = decode_buffer(data, pos)
    return value.decode(errors="replace"), pos


def encode_array(values: Sequence[T], encode_element: Callable[[T], bytes]) -> bytes:
    """The count, then the elements."""
    return encode_uint(len(values)) + b"".join(map(encode_element, values))


def decode_array(
    data: bytes,
    pos: int,
    decode_element: Callable[[bytes, int], tuple[T, int]],
    min_element_bytes: int,
) -> tuple[list[T], int]:
    """The elements, none of which is shorter than `min_element_bytes`."""
    count, pos = decode_count(data, pos, min_element_bytes)
    values = []
    for _ in range(count):
        value, pos = decode_element(data, pos)
        values.append(value)
    return values, pos


def decode_count(data: bytes, pos: int, min_element_bytes: int) -> tuple[int, int]:
    """The count of an array, checked against the bytes that are left for its elements."""
    count, pos = decode_uint(data, pos)
    if count > MAX_ARRAY_COUNT:
        raise DecodeError(f"an array of {count} elements")
    if count * min_element_bytes > len(data) - pos:
        raise DecodeError(_CUT_SHORT)
    return count, pos


def encode_uint32_array(values: Sequence[int]) -> bytes:
    """The count, then 4 bytes each."""
    return encode_uint(len(values)) + struct.pack(f"<{len(values)}I", *values)


def decode_uint32_array(data: bytes, pos: int) -> tuple[tuple[int, ...], int]:
    """The reverse of `encode_uint32_array`."""
    count, pos = decode_count(data, pos, 4)
    return struct.unpack_from(f"<{count}I", data, pos), pos + 4 * count
