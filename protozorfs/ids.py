"""A feed's identity: its text forms and the keys that follow from it."""

from __future__ import annotations

from functools import lru_cache

from protozorfs import crypto
from protozorfs.errors import DecodeError
from protozorfs.types import DiscoveryKey, FeedId, PublicKey

HEX_DIGITS = 64
ZBASE32_DIGITS = 52  # 256 bits in groups of 5, the last padded with 4 zero bits
_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"
_ZBASE32_VALUE = {digit: value for value, digit in enumerate(_ZBASE32)}


def format_hex(feed_id: FeedId) -> str:
    """64 lower-case hex digits."""
    return feed_id.hex()


def format_zbase32(feed_id: FeedId) -> str:
    """52 z-base-32 digits."""
    number = int.from_bytes(feed_id, "big") << 4
    return "".join(_ZBASE32[number >> shift & 31] for shift in range(255, -1, -5))


def parse_feed_id(text: str) -> FeedId:
    """The feed ID that a text names: 64 hex digits or 52 z-base-32 digits, in either case.

    Raises:
        DecodeError: neither form, or not a valid point of the curve (nobody can sign for it).
    """
    if len(text) == HEX_DIGITS:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raise DecodeError(f"not a feed ID: {text!r} has digits that are not hex") from None
        if len(raw) != crypto.PUBLIC_KEY_BYTES:  # fromhex passes over blanks
            raise DecodeError(f"not a feed ID: {text!r} has digits that are not hex")
    elif len(text) == ZBASE32_DIGITS:
        raw = _decode_zbase32(text)
    else:
        raise DecodeError(f"not a feed ID: {text!r} is neither 64 hex nor 52 z-base-32 digits")
    if not crypto.is_valid_public_key(raw):
        raise DecodeError(f"not a feed ID: {text!r} is not a valid Ed25519 public key")
    return FeedId(raw)


def _decode_zbase32(text: str) -> bytes:
    number = 0
    for digit in text.lower():
        value = _ZBASE32_VALUE.get(digit)
        if value is None:
            raise DecodeError(f"not a feed ID: {digit!r} is not a z-base-32 digit")
        number = number << 5 | value
    if number & 15:
        raise DecodeError("not a feed ID: the last z-base-32 digit has bits that are not used")
    return (number >> 4).to_bytes(crypto.PUBLIC_KEY_BYTES, "big")


def public_key_of(feed_id: FeedId) -> PublicKey:
    """The key that signs the feed's heads: the ID itself ("compat" cores of hypercore)."""
    return PublicKey(feed_id)


@lru_cache(maxsize=65536)  # one keyed hash a feed, looked up for every channel
def discovery_key_of(feed_id: FeedId) -> DiscoveryKey:
    """The 32 bytes under which peers find each other. Source: hypercore-crypto `discoveryKey`."""
    return DiscoveryKey(crypto.blake2b_256(b"hypercore", key=feed_id))
