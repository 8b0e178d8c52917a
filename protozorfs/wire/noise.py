"""The Noise XX handshake: `Noise_XX_Ed25519_ChaChaPoly_BLAKE2b`, empty prologue and payloads.

| | from | body | steps | bytes |
|---|---|---|---|---|
| 1 | initiator | `e` | e | 32 |
| 2 | responder | `e`, enc(s), enc("") | e, ee, s, es | 96 |
| 3 | initiator | enc(s), enc("") | s, se | 64 |

Standard Noise but for the Diffie-Hellman function (edwards25519, static and ephemeral keys are
Ed25519 pairs) and its 64-byte hash. XX proves that the other side holds the static key it shows,
nothing about whose key that is. Source: the Noise specification, noise-handshake, noise-curve-ed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs import crypto
from protozorfs.crypto import AEAD_TAG_BYTES, PUBLIC_KEY_BYTES, CryptoFailure
from protozorfs.errors import LocalProtocolError, RemoteProtocolError
from protozorfs.types import NodeKey

if TYPE_CHECKING:
    from protozorfs.crypto import KeyPair

PROTOCOL_NAME = b"Noise_XX_Ed25519_ChaChaPoly_BLAKE2b"
HASH_BYTES = 64
CIPHER_KEY_BYTES = 32
SEALED_KEY_BYTES = PUBLIC_KEY_BYTES + AEAD_TAG_BYTES
MESSAGE_BYTES = (32, 96, 64)  # exactly: nobody sends a payload

assert len(PROTOCOL_NAME) <= HASH_BYTES
assert MESSAGE_BYTES == (
    PUBLIC_KEY_BYTES,
    PUBLIC_KEY_BYTES + SEALED_KEY_BYTES + AEAD_TAG_BYTES,
    SEALED_KEY_BYTES + AEAD_TAG_BYTES,
)


class HandshakeResult(NamedTuple):
    """What a finished handshake leaves: a key per direction, and what binds both sides to it."""

    send_key: bytes  # 32 bytes
    receive_key: bytes  # 32 bytes
    handshake_hash: bytes  # 64 bytes, the same on both sides of this connection and of no other
    remote_key: NodeKey


def hkdf2(chaining_key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Two outputs of 64 bytes. Source: the Noise specification, HKDF."""
    pseudo_random_key = crypto.hmac_blake2b_512(chaining_key, data)
    first = crypto.hmac_blake2b_512(pseudo_random_key, b"\x01")
    return first, crypto.hmac_blake2b_512(pseudo_random_key, first + b"\x02")


class SymmetricState:
    """The running hash `h`, the chaining key, and the cipher key with its counter."""

    def __init__(self) -> None:
        self.chaining_key = PROTOCOL_NAME.ljust(HASH_BYTES, b"\0")
        self.hash = self.chaining_key
        self.cipher_key: bytes | None = None
        self.nonce = 0
        self.mix_hash(b"")  # the empty prologue

    def mix_hash(self, data: bytes) -> None:
        """Takes data into the hash that both sides must end up with."""
        self.hash = crypto.blake2b_512(self.hash + data)

    def mix_key(self, secret: bytes) -> None:
        """Derives the next cipher key from a shared secret."""
        self.chaining_key, key = hkdf2(self.chaining_key, secret)
        self.cipher_key = key[:CIPHER_KEY_BYTES]
        self.nonce = 0

    def encrypt(self, plain: bytes) -> bytes:
        """The ciphertext, or the plaintext as long as there is no key."""
        sealed = plain
        if self.cipher_key is not None:
            sealed = crypto.aead_encrypt(self.cipher_key, self._next_nonce(), plain, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        """The reverse of `encrypt`. Raises CryptoFailure."""
        plain = sealed
        if self.cipher_key is not None:
            plain = crypto.aead_decrypt(self.cipher_key, self._next_nonce(), sealed, self.hash)
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """The keys of the two directions, the initiator's sending key first."""
        first, second = hkdf2(self.chaining_key, b"")
        return first[:CIPHER_KEY_BYTES], second[:CIPHER_KEY_BYTES]

    def _next_nonce(self) -> bytes:
        nonce = bytes(4) + self.nonce.to_bytes(8, "little")
        self.nonce += 1
        return nonce


class Handshake:
    """One side of the handshake. Messages alternate; the initiator writes the first.

    Attributes:
        result: None until the last message has been written or read.
    """

    def __init__(self, *, is_initiator: bool, static: KeyPair, ephemeral: KeyPair) -> None:
        self.symmetric = SymmetricState()
        self.result: HandshakeResult | None = None
        self._is_initiator = is_initiator
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = b""
        self._remote_static = b""
        self._step = 0  # messages done

    @property
    def is_my_turn(self) -> bool:
        """True if the next message is ours to write."""
        return self.result is None and (self._step % 2 == 0) == self._is_initiator

    @property
    def next_message_bytes(self) -> int:
        """The exact size of the next message."""
        return MESSAGE_BYTES[self._step]

    def write_message(self) -> bytes:
        """The next message of this side."""
        if not self.is_my_turn:
            raise LocalProtocolError("the next handshake message is not ours")
        message = (self._write_first, self._write_second, self._write_third)[self._step]()
        self._finish_step()
        return message

    def read_message(self, message: bytes) -> None:
        """Takes the next message of the other side.

        Raises:
            RemoteProtocolError: its size, a point or a tag is wrong.
        """
        if self.is_my_turn or self.result is not None:
            raise LocalProtocolError("no handshake message is awaited")
        if len(message) != self.next_message_bytes:
            raise RemoteProtocolError(f"a handshake message of {len(message)} bytes")
        try:
            (self._read_first, self._read_second, self._read_third)[self._step](message)
        except CryptoFailure as error:
            raise RemoteProtocolError(f"the handshake failed: {error}") from error
        self._finish_step()

    def _write_first(self) -> bytes:
        self.symmetric.mix_hash(self._ephemeral.public_key)
        return self._ephemeral.public_key + self.symmetric.encrypt(b"")

    def _read_first(self, message: bytes) -> None:
        self._read_ephemeral(message)
        self.symmetric.decrypt(b"")

    def _write_second(self) -> bytes:
        state = self.symmetric
        state.mix_hash(self._ephemeral.public_key)
        state.mix_key(crypto.dh(self._ephemeral, self._remote_ephemeral))  # ee
        sealed_static = state.encrypt(self._static.public_key)
        state.mix_key(crypto.dh(self._static, self._remote_ephemeral))  # es
        return self._ephemeral.public_key + sealed_static + state.encrypt(b"")

    def _read_second(self, message: bytes) -> None:
        state = self.symmetric
        self._read_ephemeral(message[:PUBLIC_KEY_BYTES])
        state.mix_key(crypto.dh(self._ephemeral, self._remote_ephemeral))  # ee
        static_end = PUBLIC_KEY_BYTES + SEALED_KEY_BYTES
        self._remote_static = state.decrypt(message[PUBLIC_KEY_BYTES:static_end])
        state.mix_key(crypto.dh(self._ephemeral, self._remote_static))  # es
        state.decrypt(message[static_end:])

    def _write_third(self) -> bytes:
        state = self.symmetric
        sealed_static = state.encrypt(self._static.public_key)
        state.mix_key(crypto.dh(self._static, self._remote_ephemeral))  # se
        return sealed_static + state.encrypt(b"")

    def _read_third(self, message: bytes) -> None:
        state = self.symmetric
        self._remote_static = state.decrypt(message[:SEALED_KEY_BYTES])
        state.mix_key(crypto.dh(self._ephemeral, self._remote_static))  # se
        state.decrypt(message[SEALED_KEY_BYTES:])

    def _read_ephemeral(self, point: bytes) -> None:
        # A responder would notice a bad point only when it answers; it is refused on sight.
        if not crypto.is_valid_public_key(point):
            raise CryptoFailure("the ephemeral key is not a usable point of the curve")
        self._remote_ephemeral = point
        self.symmetric.mix_hash(point)

    def _finish_step(self) -> None:
        self._step += 1
        if self._step < len(MESSAGE_BYTES):
            return
        first, second = self.symmetric.split()
        send_key, receive_key = (first, second) if self._is_initiator else (second, first)
        self.result = HandshakeResult(
            send_key, receive_key, self.symmetric.hash, NodeKey(self._remote_static)
        )
