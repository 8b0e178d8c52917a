"""On-disk layouts: worked examples, round trips, and damage of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.errors import DecodeError
from protozorfs.log.format import (
    HEAD_SLOT_BYTES,
    NODE,
    NODE_BYTES,
    HeadSlot,
    decode_evidence,
    decode_head_slot,
    encode_evidence,
    encode_head_slot,
)
from protozorfs.store.heads import HeadKind
from tests.unit.log.log_tools import VECTOR_BLOCKS, Writer, two_histories

HEAD = Writer(VECTOR_BLOCKS[:9]).head
SLOT = encode_head_slot(HeadKind.DURABLE, 7, HEAD)


def test_node_layout() -> None:
    packed = NODE.pack(0x1234, bytes(range(32)))
    assert packed == bytes.fromhex("3412000000000000") + bytes(range(32))
    assert len(packed) == NODE_BYTES == 40


def test_head_slot_layout() -> None:
    assert SLOT[:16].hex() == b"pzfshead".hex() + "0100" + "0100" + "00000000"
    numbers = [int.from_bytes(SLOT[at : at + 8], "little") for at in (16, 24, 32, 40)]
    assert numbers == [7, 0, 9, HEAD.byte_length]
    assert SLOT[48:80] == HEAD.tree_hash
    assert SLOT[80:144] == HEAD.signature
    assert SLOT[144:480] == bytes(336)
    assert SLOT[480:] == crypto.blake2b_256(SLOT[:480])


@pytest.mark.parametrize("kind", HeadKind)
def test_head_slot_round_trip(kind: HeadKind) -> None:
    slot = decode_head_slot(encode_head_slot(kind, 2**64 - 1, HEAD))
    assert slot == HeadSlot(kind=kind, sequence=2**64 - 1, head=HEAD)


def test_a_slot_that_was_never_written_is_empty() -> None:
    assert decode_head_slot(bytes(HEAD_SLOT_BYTES)) is None


def test_every_damage_to_a_head_slot_is_seen() -> None:
    for bit in range(8 * HEAD_SLOT_BYTES):
        damaged = bytearray(SLOT)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            decode_head_slot(bytes(damaged))
    newer = encode_head_slot(HeadKind.DURABLE, 9, HEAD)
    for cut in range(HEAD_SLOT_BYTES):  # a torn write; up to here both are the same
        torn = newer[:cut] + SLOT[cut:]
        if torn in (newer, SLOT):
            continue
        with pytest.raises(DecodeError):
            decode_head_slot(torn)
        with pytest.raises(DecodeError):
            decode_head_slot(SLOT[:cut])


def resealed(body: bytes) -> bytes:
    return body + crypto.blake2b_256(body)


def test_other_versions_and_impossible_counts_are_refused() -> None:
    body = SLOT[:480]
    for changed in (
        b"somebody" + body[8:],
        body[:8] + b"\2" + body[9:],
        body[:10] + b"\2" + body[11:],
        body[:32] + b"\xff" * 8 + body[40:],
    ):
        with pytest.raises(DecodeError):
            decode_head_slot(resealed(changed))


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_no_head(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_head_slot(data)
    with pytest.raises(DecodeError):
        decode_head_slot(data.ljust(HEAD_SLOT_BYTES, b"x")[:HEAD_SLOT_BYTES])


def test_evidence_round_trip_and_layout() -> None:
    evidence = two_histories()
    data = encode_evidence(evidence)
    assert data[:10] == b"pzfsfork\1\0"
    assert decode_evidence(data) == evidence
    counts = [
        len(signed.upgrade.nodes)
        + len(signed.upgrade.additional_nodes)
        + (len(signed.hash.nodes) if signed.hash else 0)
        for signed in evidence
    ]
    assert len(data) == 10 + 86 * 2 + 48 * sum(counts) + 32


def test_damaged_evidence_is_refused() -> None:
    data = encode_evidence(two_histories())
    body = data[:-32]
    for changed in (data[:-1], data + b"\0", b"x" + data[1:]):
        with pytest.raises(DecodeError):
            decode_evidence(changed)
    for cut in range(len(body)):
        with pytest.raises(DecodeError):
            decode_evidence(resealed(body[:cut]))
    with pytest.raises(DecodeError):
        decode_evidence(resealed(body + b"\0"))


@given(st.binary(max_size=400))
@settings(max_examples=50)
def test_arbitrary_bytes_raise_decode_error_or_nothing(data: bytes) -> None:
    for candidate in (data, resealed(data), resealed(b"pzfsfork\1\0" + data)):
        with pytest.raises(DecodeError):
            decode_evidence(candidate)
