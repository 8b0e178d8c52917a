"""Head records: what is published, what is taken, what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.dht.items import SignedItem, sign_item, verify_item
from protozorfs.errors import DecodeError, InvalidSignature, ProtozorfsError
from protozorfs.log.changeset import append_blocks
from protozorfs.log.hashing import sign_head
from protozorfs.log.tree import TreeState
from protozorfs.swarm import head as records
from protozorfs.types import FeedId, Head

KEYS = crypto.key_pair(bytes(range(32)))
FEED_ID = FeedId(KEYS.public_key)


def head_of(count: int, fork: int = 0) -> Head:
    state = TreeState(KEYS.public_key, fork, 0, ())
    change = append_blocks(state, [b"block %d" % number for number in range(count)])
    return sign_head(change.roots, change.length, fork, KEYS.secret_key)


@given(count=st.integers(min_value=1, max_value=50))
def test_a_record_comes_back_as_it_was(count: int) -> None:
    head = head_of(count)
    item = records.sign_record(head, KEYS)
    assert item.seq == count
    assert verify_item(item) == item
    assert records.read_item(item, FEED_ID) == head
    assert records.decode_kept(records.encode_kept(item), FEED_ID) == (item, head)


def test_every_changed_bit_of_what_is_kept_is_refused() -> None:
    kept = records.encode_kept(records.sign_record(head_of(9), KEYS))
    for bit in range(len(kept) * 8):
        damaged = bytearray(kept)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, InvalidSignature)):
            records.decode_kept(bytes(damaged), FEED_ID)


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_raise(data: bytes) -> None:
    for decode in (records.decode_record, lambda raw: records.decode_kept(raw, FEED_ID)):
        try:
            decode(data)
        except ProtozorfsError:
            continue
        raise AssertionError("random bytes are no record")


def signed(value: bytes, seq: int) -> SignedItem:
    return sign_item(KEYS, seq, value)


def test_an_item_of_the_right_key_that_is_no_head_of_it_counts_for_nothing() -> None:
    head = head_of(9)
    value = records.encode_record(head)
    with pytest.raises(DecodeError, match="seq"):
        records.read_item(signed(value, 10), FEED_ID)
    with pytest.raises(DecodeError):
        records.read_item(signed(b"something else", 9), FEED_ID)
    with pytest.raises(DecodeError, match="impossible"):
        records.read_item(signed(records.encode_record(head_of(9, fork=1)), 9), FEED_ID)
    longer = replace(head, length=10)
    with pytest.raises(InvalidSignature):
        records.read_item(signed(records.encode_record(longer), 10), FEED_ID)
    with pytest.raises(DecodeError, match="version"):
        records.read_item(signed(b"\x02" + value[1:], 9), FEED_ID)
