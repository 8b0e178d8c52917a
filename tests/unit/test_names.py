"""Which names feeds may have, and what names mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protozorfs import crypto, ids, names
from protozorfs.errors import DecodeError, InvalidName, NameTooLong
from protozorfs.types import MAX_SAFE_INTEGER, FeedId

ID = FeedId(crypto.key_pair(b"\1" * 32).public_key)
HEX, ZBASE32 = ids.format_hex(ID).encode(), ids.format_zbase32(ID).encode()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"", "at least one byte"),
        (b"a/b", "neither slashes nor NUL"),
        (b"a\0", "neither slashes nor NUL"),
        (b".", "means a directory"),
        (b"..", "means a directory"),
        (b".live", "reserved"),
        (b".protozorfs", "reserved"),
        (HEX, "a feed ID is no name"),
        (HEX.upper(), "a feed ID is no name"),
        (ZBASE32, "a feed ID is no name"),
    ],
)
def test_names_that_no_feed_may_have(name: bytes, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason):
        names.check_new_name(name)


def test_a_name_has_at_most_255_bytes() -> None:
    names.check_new_name(b"x" * 255)
    with pytest.raises(NameTooLong, match="at most 255 bytes, not 256"):
        names.check_new_name(b"x" * 256)


@pytest.mark.parametrize(
    "name",
    [
        *(b"journal", b".hidden", b"...", b".live2", b" ", b"\n", b"\xff", b"a@1"),
        b"f" * 64,  # no point of the curve, so no ID
        HEX[1:],
    ],
)
def test_names_that_a_feed_may_have(name: bytes) -> None:
    names.check_new_name(name)
    assert names.shown_name(name, ID) == name


@pytest.mark.parametrize("name", [b".live", b".protozorfs", HEX, ZBASE32])
def test_a_feed_with_another_name_is_shown_by_its_id(name: bytes) -> None:
    other = FeedId(crypto.key_pair(b"\2" * 32).public_key)
    assert names.shown_name(name, other) == other.hex().encode()


@given(st.binary(max_size=300))
def test_any_name_is_an_id_or_not(name: bytes) -> None:
    feed_id = names.feed_id_of_name(name)
    assert feed_id is None or len(feed_id) == 32


def test_ids_as_names() -> None:
    assert names.feed_id_of_name(HEX.upper()) == ID
    assert names.feed_id_of_name(ZBASE32) == ID
    with pytest.raises(DecodeError):
        names.decode_feed_id(b"\xff" * 64)


@given(st.binary(min_size=1, max_size=20), st.integers(0, MAX_SAFE_INTEGER))
def test_names_of_views_from_a_block(name: bytes, block: int) -> None:
    assert names.split_live_name(b"%s@%d" % (name, block)) == (name, block)


@pytest.mark.parametrize(
    "name",
    [b"a", b"a@", b"@1", b"a@x", b"a@-1", b"a@ 1", b"a@9007199254740992", b"a@" + b"1" * 50],
)
def test_names_without_a_block(name: bytes) -> None:
    assert names.split_live_name(name) is None


def test_a_feed_that_was_given_no_name_has_one_that_starts_its_id() -> None:
    feed_id = FeedId(bytes(range(0xA0, 0xC0)))
    assert names.short_name(feed_id) == b"a0a1a2a3"
