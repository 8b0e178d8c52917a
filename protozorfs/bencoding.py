"""Bencode: a strict decoder for what the network brings, and the encoder.

The decoder accepts the canonical form alone: integers and lengths without leading zeros, signs or
blanks that do not belong there, dict keys ascending and unique, nothing after the end. So equal
values have equal bytes, and a signature over a value's bytes cannot be made to fit others. Values
are never decoded by the library that encodes them: its decoder can be made to loop for ever.
Source: BEP 3, "bencoding"; docs/dht.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType, TypeAlias

import bencodepy

from protozorfs.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"
Raw = NewType("Raw", object)  # a part of a value that is encoded already
Encodable: TypeAlias = "int | bytes | Raw | Sequence[Encodable] | Mapping[bytes, Encodable]"
Span: TypeAlias = tuple[int, int]

MIN_DATAGRAM_BYTES = 20  # the smallest KRPC message, an error with an empty text, is longer
MAX_DATAGRAM_BYTES = 2048  # a reply with a full-size item has about 1400
MAX_DEPTH = 8  # nested lists and dicts, the root included; KRPC itself needs 3
MAX_ITEMS = 500  # values in one datagram; a reply with 50 peers has about 60
MAX_INT_DIGITS = 20  # 64-bit numbers have at most 19; int() of more is slow
_MAX_LENGTH_DIGITS = 4  # of a string inside MAX_DATAGRAM_BYTES

_INT, _LIST, _DICT, _END, _ZERO = b"ilde0"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded dict. `spans` maps (key, key below) to the half-open range of the value's bytes.

    It holds the values of those dicts that stand directly in the root.
    """

    root: dict[bytes, Value]
    spans: dict[tuple[bytes, bytes], Span]


def decode(data: bytes) -> Decoded:
    """The dict that is the whole of `data`.

    Raises:
        DecodeError: not canonical, not a dict, too large, too deep, too many values.
    """
    if len(data) > MAX_DATAGRAM_BYTES:
        raise DecodeError("bencode: too long")
    if data[:1] != b"d" or data[-1:] != b"e":
        raise DecodeError("bencode: not a dict")
    decoder = _Decoder(data)
    try:
        root, end = decoder.decode_root()
    except IndexError:
        raise DecodeError("bencode: cut off") from None
    if end != len(data):
        raise DecodeError("bencode: bytes after the end")
    return Decoded(root, decoder.spans)


def encode(value: Encodable) -> bytes:
    """The canonical bytes of a value; `raw` marks parts that are encoded already."""
    encoded: bytes = bencodepy.encode(value)
    return encoded


def raw(encoded: bytes) -> Raw:
    """A part of a value for `encode` that stands in the output exactly as given."""
    return Raw(bencodepy.Bencached(encoded))


class _Decoder:
    """One descent over `data`. An index past the end is an IndexError, which the caller turns."""

    __slots__ = ("_data", "_items_left", "spans")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items_left = MAX_ITEMS
        self.spans: dict[tuple[bytes, bytes], Span] = {}

    def decode_root(self) -> tuple[dict[bytes, Value], int]:
        """The root dict and the index behind it; notes the spans one level below."""
        data = self._data
        root: dict[bytes, Value] = {}
        index = 1
        previous: bytes | None = None
        while data[index] != _END:
            key, index = self._key(index, previous)
            if data[index] == _DICT:
                root[key], index = self._dict(index, 2, key)
            else:
                root[key], index = self._value(index, 2)
            previous = key
        return root, index + 1

    def _value(self, index: int, depth: int) -> tuple[Value, int]:
        first = self._data[index]
        if first == _DICT:
            return self._dict(index, depth, None)
        self._count(depth)
        if first == _INT:
            return self._integer(index)
        if first == _LIST:
            return self._list(index, depth)
        return self._string(index)

    def _count(self, depth: int) -> None:
        self._items_left -= 1
        if self._items_left < 0:
            raise DecodeError("bencode: too many values")
        if depth > MAX_DEPTH:
            raise DecodeError("bencode: nested too deeply")

    def _list(self, index: int, depth: int) -> tuple[list[Value], int]:
        values: list[Value] = []
        index += 1
        while self._data[index] != _END:
            value, index = self._value(index, depth + 1)
            values.append(value)
        return values, index + 1

    def _dict(self, index: int, depth: int, parent: bytes | None) -> tuple[dict[bytes, Value], int]:
        """The dict at `index`; `parent` is its key in the root, None further down."""
        self._count(depth)
        data = self._data
        values: dict[bytes, Value] = {}
        index += 1
        previous: bytes | None = None
        while data[index] != _END:
            key, start = self._key(index, previous)
            values[key], index = self._value(start, depth + 1)
            if parent is not None:
                self.spans[parent, key] = (start, index)
            previous = key
        return values, index + 1

    def _key(self, index: int, previous: bytes | None) -> tuple[bytes, int]:
        key, index = self._string(index)
        if previous is not None and key <= previous:
            raise DecodeError("bencode: keys are not ascending")
        return key, index

    def _string(self, index: int) -> tuple[bytes, int]:
        data = self._data
        colon = data.find(b":", index, index + _MAX_LENGTH_DIGITS + 1)
        digits = data[index:colon]
        if colon < 0 or not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            raise DecodeError("bencode: not a string")
        start = colon + 1
        end = start + int(digits)
        if end > len(data):
            raise DecodeError("bencode: cut off")
        return data[start:end], end

    def _integer(self, index: int) -> tuple[int, int]:
        data = self._data
        end = data.find(b"e", index, index + MAX_INT_DIGITS + 3)
        text = data[index + 1 : end]
        digits = text[1:] if text[:1] == b"-" else text
        if end < 0 or not digits.isdigit() or len(digits) > MAX_INT_DIGITS:
            raise DecodeError("bencode: not an integer")
        if digits[0] == _ZERO and text != b"0":
            raise DecodeError("bencode: an integer with leading zeros")
        return int(text), end + 1
