"""The head record: the newest head of a feed as the DHT keeps it.

A mutable item (BEP 44) of the feed's own key, without salt; `seq` is the length, so it grows
exactly when the log does. The value is one byte string of 121 bytes, integers little-endian:

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 8 | length in blocks, >= 1 |
| 9 | 8 | length in bytes |
| 17 | 8 | fork, 0 |
| 25 | 32 | tree hash |
| 57 | 64 | signature of the log (not of the item) |

Both signatures are checked: the item's makes the byte length true as well, which the log's covers
only by way of the tree. Only fork 0 is published; see docs/formats.md. No I/O here.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING

from protozorfs import bencoding
from protozorfs.dht.items import SignedItem, sign_item, verify_item
from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.ids import public_key_of
from protozorfs.log.hashing import verify_head
from protozorfs.types import MAX_SAFE_INTEGER, Head, Signature, TreeHash

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair
    from protozorfs.feeds.feed import Feed
    from protozorfs.types import FeedId

VERSION = 1
_RECORD = struct.Struct("<BQQQ32s64s")
RECORD_BYTES = 121
SIGNATURE_BYTES = 64
assert _RECORD.size == RECORD_BYTES

logger = logging.getLogger(__name__)


def encode_record(head: Head) -> bytes:
    """The 121 bytes of a head."""
    return _RECORD.pack(
        VERSION, head.length, head.byte_length, head.fork, head.tree_hash, head.signature
    )


def decode_record(value: bytes) -> Head:
    """The head that a record claims; nothing of it is verified.

    Raises:
        DecodeError: another size or version, or numbers that no head of fork 0 has.
    """
    if len(value) != RECORD_BYTES:
        raise DecodeError(f"a head record of {len(value)} bytes")
    version, length, byte_length, fork, tree_hash, signature = _RECORD.unpack(value)
    if version != VERSION:
        raise DecodeError(f"a head record of version {version}")
    if not 1 <= length <= MAX_SAFE_INTEGER or byte_length > MAX_SAFE_INTEGER or fork:
        raise DecodeError("a head record with impossible numbers")
    return Head(
        fork=fork,
        length=length,
        byte_length=byte_length,
        tree_hash=TreeHash(tree_hash),
        signature=Signature(signature),
    )


def sign_record(head: Head, keys: KeyPair) -> SignedItem:
    """The item that publishes a head of ours."""
    return sign_item(keys, head.length, encode_record(head))


def read_item(item: SignedItem, feed_id: FeedId) -> Head:
    """The head that a verified item of the feed's key holds.

    Raises:
        DecodeError: it is no head record, or its seq is not its length.
        InvalidSignature: the log's signature in it is not the feed's.
    """
    value = item.value
    if value is None:
        raise DecodeError("an item that is not one byte string")
    head = decode_record(value)
    if item.seq != head.length:
        raise DecodeError("a head record whose seq is not its length")
    verify_head(head, public_key_of(feed_id))
    return head


def encode_kept(item: SignedItem) -> bytes:
    """An item as a follower keeps it on disk: its value and signature, 185 bytes."""
    value = item.value
    if value is None or len(value) != RECORD_BYTES:
        raise ValueError("not the item of a head record")
    return value + item.signature


def decode_kept(data: bytes, feed_id: FeedId) -> tuple[SignedItem, Head]:
    """The reverse of `encode_kept`, with everything verified again.

    Raises:
        DecodeError, InvalidSignature: it is damaged.
    """
    value, signature = data[:RECORD_BYTES], data[RECORD_BYTES:]
    if len(signature) != SIGNATURE_BYTES:
        raise DecodeError("a kept head record of another size")
    head = decode_record(value)
    item = SignedItem(
        public_key=public_key_of(feed_id),
        salt=b"",
        seq=head.length,
        raw_value=bencoding.encode(value),
        signature=Signature(signature),
    )
    if verify_item(item) is None:
        raise InvalidSignature("a kept head record whose signature is not the feed's")
    return item, read_item(item, feed_id)


def verify_kept(feed: Feed) -> None:
    """Makes a record that was kept in an earlier run count, once it is verified again.

    Raises:
        StoreError: the feed's log cannot be opened.
    """
    if not feed.has_files:
        return
    log, known = feed.log, feed.known_head  # opening the log reads what is kept
    if not log.length and known.record is None:
        return
    if known.head is not None or known.record is None:
        return
    try:
        _, head = decode_kept(known.record, feed.feed_id)
    except (DecodeError, InvalidSignature) as error:
        logger.warning("the record kept of %s is damaged: %s", feed.feed_id.hex(), error)
        known.record = None
        return
    feed.learn_head(head, known.record)
