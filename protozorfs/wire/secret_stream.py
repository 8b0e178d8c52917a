"""Frames and encryption: what lies between the bytes of TCP and the mux.

    frame    length (3 bytes, little-endian) || body
    bodies   the three messages of the Noise handshake
             header: stream id (32) || secretstream header (24); one from each side
             messages: encrypted tag byte (1) || ciphertext || MAC (16)

    stream id = BLAKE2b-256, key = handshake hash, of the sender's role in the namespace
    "hyperswarm/secret-stream"

A side sends its header as soon as it has its key and messages right behind it. An empty plaintext
is a keepalive. There is no authenticated end. Source: @hyperswarm/secret-stream 6.9.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.crypto import SECRETSTREAM_HEADER_BYTES, SECRETSTREAM_OVERHEAD, CryptoFailure
from protozorfs.errors import RemoteProtocolError
from protozorfs.wire.noise import Handshake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.crypto import KeyPair, PullStream, PushStream
    from protozorfs.wire.batches import Frame
    from protozorfs.wire.noise import HandshakeResult

LENGTH_BYTES = 3
STREAM_ID_BYTES = 32
HEADER_BYTES = STREAM_ID_BYTES + SECRETSTREAM_HEADER_BYTES
FRAME_OVERHEAD = LENGTH_BYTES + SECRETSTREAM_OVERHEAD
KEEPALIVE_FRAME_BYTES = FRAME_OVERHEAD  # of an empty message

assert HEADER_BYTES == 56

_NAMESPACE = b"hyperswarm/secret-stream"
_INITIATOR = crypto.namespace(_NAMESPACE, 0)
_RESPONDER = crypto.namespace(_NAMESPACE, 1)
_ROOM_FOR_MAC = bytes(SECRETSTREAM_OVERHEAD - 1)


def stream_id(handshake_hash: bytes, *, sent_by_initiator: bool) -> bytes:
    """What a header begins with: binds it to this connection and to its sender's role."""
    role = _INITIATOR if sent_by_initiator else _RESPONDER
    return crypto.blake2b_256(role, key=handshake_hash)


class SecretStream:
    """Both directions of one encrypted stream.

    Attributes:
        result: of the handshake; None until it is over.
    """

    def __init__(
        self,
        *,
        is_initiator: bool,
        static: KeyPair,
        ephemeral: KeyPair,
        header: bytes,
        max_frame_bytes: int,
    ) -> None:
        """Starts the handshake.

        Args:
            is_initiator: of the two sides, the one that dialled.
            static, ephemeral: key pairs; the second must be new for each connection.
            header: 24 random bytes, for this stream alone.
            max_frame_bytes: the largest frame that is read.
        """
        self.result: HandshakeResult | None = None
        self._is_initiator = is_initiator
        self._handshake = Handshake(is_initiator=is_initiator, static=static, ephemeral=ephemeral)
        self._header = header
        self._max_frame_bytes = max_frame_bytes
        self._push: PushStream | None = None
        self._pull: PullStream | None = None
        self._received = bytearray()  # the frame that has not come whole
        self._to_send = bytearray()  # of the handshake and the header
        if is_initiator:
            self._write_handshake()

    @property
    def has_remote_header(self) -> bool:
        """True if the other side's messages can be read."""
        return self._pull is not None

    @property
    def partial_bytes(self) -> int:
        """Bytes received of a frame that has not come whole."""
        return len(self._received)

    @property
    def partial_frame_bytes(self) -> int:
        """What that frame will have, as far as is known."""
        received = self._received
        if len(received) < LENGTH_BYTES:
            return LENGTH_BYTES
        return LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "little")

    def receive(self, data: bytes | bytearray) -> Iterator[bytearray]:
        """Takes bytes, yields the plaintexts that are whole with them, keepalives included.

        Must be exhausted. What it holds grows with the data, never by the length that a frame
        announces.

        Raises:
            RemoteProtocolError: anything but the next frame of this stream.
        """
        source: bytes | bytearray = data
        if self._received:
            self._received += data
            source = self._received
        pos = 0
        size = len(source)
        with memoryview(source) as view:
            while size - pos >= LENGTH_BYTES:
                body_at = pos + LENGTH_BYTES
                length = source[pos] | source[pos + 1] << 8 | source[pos + 2] << 16
                self._check_length(length)
                if body_at + length > size:
                    break
                pos = body_at + length
                with view[body_at:pos] as body:
                    if self._pull is None:
                        self._receive_early(bytes(body))
                        continue
                    try:
                        plain = self._pull.pull(body)
                    except CryptoFailure as error:
                        raise RemoteProtocolError(f"a frame that is {error}") from error
                yield plain
        if source is self._received:
            del self._received[:pos]
        else:
            self._received += data[pos:]

    def seal(self, frames: list[Frame]) -> bytearray:
        """Encrypts frames, behind what the handshake has to send: one buffer, copied once.

        Before the handshake is over there must be no frames.
        """
        pieces: list[bytes | bytearray] = [self._to_send]
        for parts, plain_bytes in frames:
            frame_bytes = plain_bytes + SECRETSTREAM_OVERHEAD
            # The length, then room for the tag: the plaintext stands where it is encrypted.
            pieces.append(frame_bytes.to_bytes(LENGTH_BYTES, "little") + b"\0")
            pieces += parts
            pieces.append(_ROOM_FOR_MAC)
        sealed = bytearray().join(pieces)
        pos = len(self._to_send)
        self._to_send = bytearray()
        for _, plain_bytes in frames:
            assert self._push is not None
            self._push.push_into(sealed, pos + LENGTH_BYTES, plain_bytes)
            pos += FRAME_OVERHEAD + plain_bytes
        return sealed

    def _check_length(self, length: int) -> None:
        if self._pull is not None:
            if not SECRETSTREAM_OVERHEAD <= length <= self._max_frame_bytes:
                raise RemoteProtocolError(f"a frame of {length} bytes")
            return
        # Exact sizes, refused before the body comes: a stranger cannot make us hold 16 MiB.
        over = self.result is not None
        expected = HEADER_BYTES if over else self._handshake.next_message_bytes
        if length != expected:
            raise RemoteProtocolError(f"{length} bytes in place of {expected} while connecting")

    def _receive_early(self, body: bytes) -> None:
        if self.result is not None:
            self._receive_header(body)
            return
        self._handshake.read_message(body)
        if self._handshake.is_my_turn:
            self._write_handshake()
        self._finish_handshake()

    def _receive_header(self, body: bytes) -> None:
        assert self.result is not None
        expected = stream_id(self.result.handshake_hash, sent_by_initiator=not self._is_initiator)
        if not crypto.equal(body[:STREAM_ID_BYTES], expected):
            raise RemoteProtocolError("a header of another stream")
        self._pull = crypto.PullStream(self.result.receive_key, body[STREAM_ID_BYTES:])

    def _write_handshake(self) -> None:
        self._append_frame(self._handshake.write_message())

    def _finish_handshake(self) -> None:
        result = self._handshake.result
        if result is None:
            return
        self.result = result
        own_id = stream_id(result.handshake_hash, sent_by_initiator=self._is_initiator)
        self._append_frame(own_id + self._header)
        self._push = crypto.PushStream(result.send_key, self._header)

    def _append_frame(self, body: bytes) -> None:
        self._to_send += len(body).to_bytes(LENGTH_BYTES, "little") + body
