"""The cryptography that everything else uses; the only importer of `nacl`.

Ed25519 (RFC 8032), BLAKE2b (RFC 7693), ChaCha20-Poly1305 (RFC 8439), Diffie-Hellman on edwards25519
as the hypercore transport does it, and libsodium's secretstream. Failures of all of them are one
type, `CryptoFailure`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import NamedTuple

import nacl.bindings as sodium
from nacl._sodium import ffi, lib  # what nacl.bindings itself calls; saves 1 us a message
from nacl.exceptions import CryptoError

from protozorfs.errors import ProtozorfsError
from protozorfs.types import PublicKey, Signature

PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64
AEAD_TAG_BYTES = 16
SECRETSTREAM_HEADER_BYTES = 24
SECRETSTREAM_OVERHEAD = 17  # encrypted tag byte in front, MAC behind
CHECKSUM_BYTES = 16

_MANY_BYTES = 8192
_BLAKE2B_STATE_BYTES: int = lib.crypto_generichash_statebytes()
_NO_SALT = bytes(16)
# The same instructions; without them a checksum takes longer than any hash.
HAS_FAST_CHECKSUM = bool(lib.crypto_aead_aes256gcm_is_available())
_AEGIS_TAG_BYTES: int = lib.crypto_aead_aegis128l_abytes()
_STATE_BYTES: int = lib.crypto_secretstream_xchacha20poly1305_statebytes()


class CryptoFailure(ProtozorfsError):
    """A key, point, tag or signature that is not what it must be."""


class KeyPair(NamedTuple):
    """An Ed25519 key pair."""

    public_key: PublicKey
    secret_key: bytes  # 64 bytes: seed, public key

    @property
    def seed(self) -> bytes:
        """The 32 bytes that the pair was made from."""
        return self.secret_key[:SEED_BYTES]

    def __repr__(self) -> str:
        """Without the secret: traces and logs show what they come across."""
        return f"KeyPair({self.public_key.hex()})"


def random_bytes(count: int) -> bytes:
    """Random bytes of the operating system. For drivers: engines are given theirs."""
    return os.urandom(count)


def key_pair(seed: bytes) -> KeyPair:
    """The Ed25519 key pair of a 32-byte seed."""
    public_key, secret_key = sodium.crypto_sign_seed_keypair(seed)
    return KeyPair(PublicKey(public_key), secret_key)


def sign(message: bytes, secret_key: bytes) -> Signature:
    """The 64-byte detached signature."""
    return Signature(sodium.crypto_sign(message, secret_key)[:SIGNATURE_BYTES])


def verify(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """True if the signature is the key's for this message.

    Refuses malleable signatures (S + L) and keys that are no valid points, as libsodium does.
    """
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        sodium.crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True


def is_valid_public_key(public_key: bytes) -> bool:
    """True for a canonical point of the prime-order subgroup of edwards25519."""
    return len(public_key) == PUBLIC_KEY_BYTES and bool(
        sodium.crypto_core_ed25519_is_valid_point(public_key)
    )


def blake2b_256(data: bytes, key: bytes = b"") -> bytes:
    """BLAKE2b with a 32-byte output, keyed if a key of 1 to 64 bytes is given."""
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def blake2b_256_behind(prefix: bytes, data: bytes | memoryview) -> bytes:
    """`blake2b_256` of a few bytes and what stands behind them, which is not copied."""
    if len(data) < _MANY_BYTES:
        return hashlib.blake2b(prefix + data, digest_size=32).digest()
    # A quarter faster than hashlib, after a start that takes 2 us.
    state = ffi.new("unsigned char[]", _BLAKE2B_STATE_BYTES)
    result = ffi.new("unsigned char[32]")
    given = data if isinstance(data, bytes) else ffi.from_buffer(data)
    lib.crypto_generichash_blake2b_init_salt_personal(state, ffi.NULL, 0, 32, _NO_SALT, _NO_SALT)
    lib.crypto_generichash_blake2b_update(state, prefix, len(prefix))
    lib.crypto_generichash_blake2b_update(state, given, len(data))
    lib.crypto_generichash_blake2b_final(state, result, 32)
    return bytes(ffi.buffer(result))


def blake2b_512(data: bytes) -> bytes:
    """Unkeyed BLAKE2b with a 64-byte output."""
    return hashlib.blake2b(data).digest()


def hmac_blake2b_512(key: bytes, data: bytes) -> bytes:
    """HMAC over BLAKE2b-512 (block size 128); not keyed BLAKE2b."""
    return hmac.new(key, data, hashlib.blake2b).digest()


def checksum(data: bytes | bytearray | memoryview, key: bytes, nonce: bytes) -> bytes:
    """16 bytes that tell whether data is the same, for errors of disks: ten times a hash's speed.

    The first half of the tag of AEGIS-128L (draft-irtf-cfrg-aegis-aead) over the data as associated
    data; key and nonce have 16 bytes each. Who knows them can make data of one checksum.
    """
    tag = ffi.new("unsigned char[]", _AEGIS_TAG_BYTES)
    given = data if isinstance(data, bytes) else ffi.from_buffer(data)
    size = len(data)
    lib.crypto_aead_aegis128l_encrypt(tag, ffi.NULL, b"", 0, given, size, ffi.NULL, nonce, key)
    return bytes(ffi.buffer(tag, CHECKSUM_BYTES))


def equal(left: bytes, right: bytes) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(left, right)


def namespace(name: bytes, number: int) -> bytes:
    """Id `number` of a namespace: H(H(name) || byte). Source: hypercore-crypto `namespace`."""
    return blake2b_256(blake2b_256(name) + bytes([number]))


def dh(own: KeyPair, remote_point: bytes) -> bytes:
    """Diffie-Hellman on edwards25519: the 32-byte encoded point. Source: noise-curve-ed.

    Raises:
        CryptoFailure: the remote point is not canonical, not on the curve, of small order or
            outside the prime-order subgroup.
    """
    scalar = sodium.crypto_sign_ed25519_sk_to_curve25519(own.secret_key)
    try:
        return sodium.crypto_scalarmult_ed25519_noclamp(scalar, remote_point)
    except (CryptoError, ValueError, TypeError) as error:
        raise CryptoFailure("not a usable point of the curve") from error


def aead_encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """ChaCha20-Poly1305 (IETF): ciphertext and 16-byte tag."""
    return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)


def aead_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """The reverse of `aead_encrypt`.

    Raises:
        CryptoFailure: too short, or the tag is wrong.
    """
    if len(ciphertext) < AEAD_TAG_BYTES:
        raise CryptoFailure("shorter than its tag")
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, key)
    except CryptoError as error:
        raise CryptoFailure("wrong tag") from error


class PushStream:
    """The sending half of a libsodium secretstream."""

    def __init__(self, key: bytes, header: bytes) -> None:
        """Starts under a 32-byte key and the 24-byte header that the other side is told.

        The header must be random; it is an argument so that engines stay deterministic.
        """
        # Sender and receiver derive the same state from key and header.
        self._state = _state(key, header)

    def push_into(self, buffer: bytearray, start: int, plain_bytes: int) -> None:
        """Encrypts in place.

        `buffer[start]` receives the tag byte, the plaintext stands at `start + 1`, and the 16 bytes
        behind it receive the MAC; the buffer must reach that far.
        """
        if start < 0 or start + SECRETSTREAM_OVERHEAD + plain_bytes > len(buffer):
            raise ValueError("the buffer does not reach to the MAC")
        at = ffi.from_buffer(buffer) + start
        failed = lib.crypto_secretstream_xchacha20poly1305_push(
            self._state, at, ffi.NULL, at + 1, plain_bytes, ffi.NULL, 0, 0
        )
        if failed:
            raise CryptoFailure("the message could not be encrypted")


class PullStream:
    """The receiving half of a libsodium secretstream."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._state = _state(key, header)
        self._tag = ffi.new("unsigned char *")

    def pull(self, body: bytes | bytearray | memoryview) -> bytearray:
        """Decrypts one message. Its tag is ignored: no peer gives it a meaning.

        Raises:
            CryptoFailure: shorter than 17 bytes, or not the next message of this stream.
        """
        plain_bytes = len(body) - SECRETSTREAM_OVERHEAD
        if plain_bytes < 0:
            raise CryptoFailure("shorter than an empty message")
        plain = bytearray(plain_bytes)
        failed = lib.crypto_secretstream_xchacha20poly1305_pull(
            self._state,
            ffi.from_buffer(plain),
            ffi.NULL,
            self._tag,
            ffi.from_buffer(body),
            len(body),
            ffi.NULL,
            0,
        )
        if failed:
            raise CryptoFailure("not the next message of this stream")
        return plain


def _state(key: bytes, header: bytes) -> object:
    if len(key) != 32 or len(header) != SECRETSTREAM_HEADER_BYTES:
        raise ValueError("a secretstream needs a key of 32 and a header of 24 bytes")
    state = ffi.new("unsigned char[]", _STATE_BYTES)
    lib.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    return state
