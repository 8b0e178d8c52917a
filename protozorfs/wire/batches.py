"""Outgoing messages, gathered into protomux frames.

    one message     uint channel || uint type || body
    a batch         00 00 || uint channel || items
    item            uint length (> 0) || uint type || body
    other channel   00 || uint channel

Source: protomux 3.12.1 (`cork`, `_pushBatch`, `_sendBatch`).
"""

from __future__ import annotations

from typing import NamedTuple

from protozorfs.compact import encode_uint

# A batch saves 20 bytes, an encryption and an event of the other side's socket per message. Beyond
# this size nothing is saved any more, and one frame is read and decrypted in about 0.2 ms.
BATCH_BYTES = 256 * 1024


class Frame(NamedTuple):
    """One plaintext in parts: joining them is left to who needs room around it."""

    parts: list[bytes]
    plain_bytes: int


class BatchQueue:
    """Messages in the order they were put; `take` gives them as frames.

    Attributes:
        queued_bytes: what waits, to a few bytes a message.
    """

    def __init__(self) -> None:
        self.queued_bytes = 0
        self._frames: list[Frame] = []
        self._parts: list[bytes] = []  # of the batch that is being gathered
        self._batch_bytes = 0
        self._count = 0
        self._channel = 0
        self._first_head = b""  # what goes before the first body if it stays alone

    def put(self, channel: int, message_type: int, body: bytes) -> None:
        """Queues one message; channel 0 is the mux's own."""
        kind = encode_uint(message_type)
        head = encode_uint(len(kind) + len(body)) + kind
        added = len(head) + len(body)
        if self._count and self._batch_bytes + added > BATCH_BYTES:
            self._finish()
        if not self._count:
            encoded_channel = encode_uint(channel)
            self._first_head = encoded_channel + kind
            head = b"\x00\x00" + encoded_channel + head
        elif channel != self._channel:
            head = b"\x00" + encode_uint(channel) + head
        self._channel = channel
        self._count += 1
        self._parts.append(head)
        self._parts.append(body)
        self._batch_bytes += len(head) + len(body)
        self.queued_bytes += added

    def take(self) -> list[Frame]:
        """All that waits; the queue is empty afterwards."""
        if self._count:
            self._finish()
        frames, self._frames = self._frames, []
        self.queued_bytes = 0
        return frames

    def _finish(self) -> None:
        parts = self._parts
        if self._count == 1:
            parts[0] = self._first_head
            self._batch_bytes = len(self._first_head) + len(parts[1])
        self._frames.append(Frame(parts, self._batch_bytes))
        self._parts = []
        self._batch_bytes = self._count = 0
