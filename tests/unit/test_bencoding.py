"""The strict decoder: what it accepts, what it refuses, and that refusing is all it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protozorfs import bencoding
from protozorfs.errors import DecodeError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "dht.json").read_text()
)

values = st.recursive(
    st.integers(min_value=-(2**63), max_value=2**63) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("case", VECTORS["bencode"]["cases"], ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    if case["ok"]:
        assert bencoding.encode(bencoding.decode(data).root) == data
    else:
        with pytest.raises(DecodeError):
            bencoding.decode(data)


def _depth(value: bencoding.Value) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0) if isinstance(inner, list) else 1


@settings(max_examples=150)
@given(st.dictionaries(st.binary(max_size=4), values, max_size=5))
def test_decodes_what_it_encodes(root: dict[bytes, bencoding.Value]) -> None:
    data = bencoding.encode(root)
    assume(_depth(root) <= bencoding.MAX_DEPTH)
    decoded = bencoding.decode(data)
    assert decoded.root == root
    for (parent, key), (start, end) in decoded.spans.items():
        below = root[parent]
        assert isinstance(below, dict)
        assert data[start:end] == bencoding.encode(below[key])
    for parent, below in root.items():
        if isinstance(below, dict):
            assert {key for at, key in decoded.spans if at == parent} == below.keys()


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda inner: b"d1:a" + inner + b"e"))
def test_arbitrary_bytes_raise_decode_error_or_are_canonical(data: bytes) -> None:
    try:
        root = bencoding.decode(data).root
    except DecodeError:
        return
    assert bencoding.encode(root) == data


@settings(max_examples=60)
@given(st.dictionaries(st.binary(max_size=4), values, min_size=1, max_size=3), st.data())
def test_cut_or_prolonged_input_is_refused(
    root: dict[bytes, bencoding.Value], data: st.DataObject
) -> None:
    whole = bencoding.encode(root)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    for broken in (whole[:cut], whole + b"e", whole + whole):
        with pytest.raises(DecodeError):
            bencoding.decode(broken)


@pytest.mark.parametrize(
    ("data", "accepted"),
    [
        (b"d1:a" + b"l" * 7 + b"e" * 7 + b"e", True),
        (b"d1:a" + b"l" * 8 + b"e" * 8 + b"e", False),
        (b"d1:al" + b"i1e" * 499 + b"ee", True),
        (b"d1:al" + b"i1e" * 500 + b"ee", False),
        (b"d1:ai" + b"9" * 20 + b"ee", True),
        (b"d1:ai" + b"9" * 21 + b"ee", False),
        (b"d1:ai-" + b"9" * 20 + b"ee", True),
        (b"d1:ai-" + b"9" * 21 + b"ee", False),
        (b"d1:a2038:" + bytes(2038) + b"e", True),
        (b"d1:a2039:" + bytes(2039) + b"e", False),
        (b"d1:a1\xc2\xb2:ae", False),
    ],
)
def test_limits(data: bytes, accepted: bool) -> None:
    if accepted:
        bencoding.decode(data)
    else:
        with pytest.raises(DecodeError):
            bencoding.decode(data)


def test_raw_parts_stand_as_given() -> None:
    assert bencoding.encode({b"v": bencoding.raw(b"i7e"), b"a": 1}) == b"d1:ai1e1:vi7ee"
