"""Mutable items: values that a key's owner signs and any node may keep.

    target    SHA-1(public key || salt)
    signed    [ "4:salt" || length || ":" || salt, unless empty ] || "3:seqi" || seq || "e1:v" || v
              with v as it stands on the wire, bencoded
    limits    v 1000 bytes bencoded (996 as a byte string), salt 64, seq 1 to 2**53 - 1
Source: BEP 44.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from protozorfs import bencoding, crypto
from protozorfs.dht.node_id import NodeId
from protozorfs.errors import DecodeError
from protozorfs.types import MAX_SAFE_INTEGER, PublicKey, Signature

MAX_VALUE_BYTES = 1000  # bencoded; BEP 44
MAX_SALT_BYTES = 64  # BEP 44
MAX_SEQ = 2**63 - 1  # that a storing node takes; BEP 44
MAX_OWN_SEQ = MAX_SAFE_INTEGER  # above it bittorrent-dht's signature check fails
# The order of the base point. Ed25519 signs with S < L; S + L verifies too where nobody checks.
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_S_START = 32  # of the signature's 64 bytes, S is the second half, little-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedItem:
    """A mutable item, its signature checked or just made. `raw_value` is the bencoded v."""

    public_key: PublicKey
    salt: bytes
    seq: int
    raw_value: bytes
    signature: Signature

    @property
    def target(self) -> NodeId:
        """Where the network keeps it."""
        return mutable_target(self.public_key, self.salt)

    @property
    def value(self) -> bytes | None:
        """The value if it is a byte string, as ours are; else None."""
        size, colon, text = self.raw_value.partition(b":")
        return text if colon and size.isdigit() else None


def mutable_target(public_key: bytes, salt: bytes = b"") -> NodeId:
    """The target of a key's item."""
    return NodeId(hashlib.sha1(public_key + salt, usedforsecurity=False).digest())


def immutable_target(raw_value: bytes) -> NodeId:
    """The target of an immutable item, given its bencoded bytes."""
    return NodeId(hashlib.sha1(raw_value, usedforsecurity=False).digest())


def signed_bytes(salt: bytes, seq: int, raw_value: bytes) -> bytes:
    """What the signature covers."""
    head = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (head, seq, raw_value)


def sign_item(pair: crypto.KeyPair, seq: int, value: bytes, salt: bytes = b"") -> SignedItem:
    """A new item of a byte-string value.

    Raises:
        ValueError: value, salt or seq is outside the limits.
    """
    raw_value = bencoding.encode(value)
    if len(raw_value) > MAX_VALUE_BYTES or len(salt) > MAX_SALT_BYTES:
        raise ValueError("the value or the salt is too long for an item")
    if not 1 <= seq <= MAX_OWN_SEQ:  # get with seq 0 means "any", so an item 0 would stay hidden
        raise ValueError(f"an item cannot have seq {seq}")
    signature = crypto.sign(signed_bytes(salt, seq, raw_value), pair.secret_key)
    return SignedItem(
        public_key=pair.public_key, salt=salt, seq=seq, raw_value=raw_value, signature=signature
    )


def reduce_signature(signature: bytes) -> Signature:
    """The signature with S reduced once by the group order if it is that much too large.

    Anyone can add the order to S, and libtorrent then stores and serves what others refuse; the
    item itself is genuine.
    """
    s = int.from_bytes(signature[_S_START:], "little")
    if not _GROUP_ORDER <= s < 2 * _GROUP_ORDER:
        return Signature(signature)
    reduced = (s - _GROUP_ORDER).to_bytes(crypto.SIGNATURE_BYTES - _S_START, "little")
    return Signature(signature[:_S_START] + reduced)


def verify_item(item: SignedItem) -> SignedItem | None:
    """The item with its signature in canonical form, or None if its key did not sign it."""
    signature = reduce_signature(item.signature)
    message = signed_bytes(item.salt, item.seq, item.raw_value)
    if not crypto.verify(message, signature, item.public_key):
        return None
    return item if signature == item.signature else replace(item, signature=signature)


def read_item(
    values: dict[bytes, bencoding.Value],
    raw_value: bytes | None,
    public_key: PublicKey,
    salt: bytes,
) -> SignedItem:
    """The item that a response to `get` claims to have for this key; its signature is unchecked.

    Raises:
        DecodeError: parts are missing, of the wrong type or size, or another key's.
    """
    seq, signature = values.get(b"seq"), values.get(b"sig")
    if raw_value is None or len(raw_value) > MAX_VALUE_BYTES:
        raise DecodeError("an item without a usable value")
    if values.get(b"k") != public_key:
        raise DecodeError("an item of another key")
    if not isinstance(seq, int) or not 0 <= seq <= MAX_SEQ:
        raise DecodeError("an item without a usable seq")
    if not isinstance(signature, bytes) or len(signature) != crypto.SIGNATURE_BYTES:
        raise DecodeError("an item without a signature")
    return SignedItem(
        public_key=public_key,
        salt=salt,
        seq=seq,
        raw_value=raw_value,
        signature=Signature(signature),
    )
