"""A connection's timers and limits, and the two sides of one against each other."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from protozorfs import crypto
from protozorfs.errors import LocalProtocolError, RemoteProtocolError
from protozorfs.wire.batches import BATCH_BYTES
from protozorfs.wire.connection import (
    ChannelClosed,
    ChannelId,
    ChannelName,
    ChannelOpened,
    Connection,
    HandshakeCompleted,
    Limits,
    MessageReceived,
    OpenRequested,
)
from protozorfs.wire.mux import MAX_BODY_BYTES
from protozorfs.wire.secret_stream import KEEPALIVE_FRAME_BYTES

NAME = ChannelName(b"hypercore/alpha", b"\x11" * 32)


def side(is_initiator: bool, now: float = 0.0, **limits: Any) -> Connection:
    number = 1 if is_initiator else 2
    return Connection(
        is_initiator=is_initiator,
        static=crypto.key_pair(bytes([number]) * 32),
        ephemeral=crypto.key_pair(bytes([number + 2]) * 32),
        header=bytes([number]) * 24,
        now=now,
        limits=Limits(**limits),
    )


def settle(near: Connection, far: Connection, now: float = 0.0) -> None:
    """Carries bytes until neither side has any."""
    while True:
        there, back = bytes(near.bytes_to_send()), bytes(far.bytes_to_send())
        if not there and not back:
            return
        if there:
            far.receive_bytes(there, now)
        if back:
            near.receive_bytes(back, now)


def connected(now: float = 0.0, **limits: Any) -> tuple[Connection, Connection]:
    near, far = side(True, now, **limits), side(False, now, **limits)
    settle(near, far, now)
    for one, another in ((near, far), (far, near)):
        (event,) = one.events()
        assert isinstance(event, HandshakeCompleted)
        assert event.remote_key == one.remote_key
        assert one.handshake_hash == another.handshake_hash == event.handshake_hash
    return near, far


def with_channel(**limits: Any) -> tuple[Connection, ChannelId, Connection, ChannelId]:
    near, far = connected(**limits)
    near_channel = near.open(NAME, b"near")
    settle(near, far)
    assert list(far.events()) == [OpenRequested(NAME, b"near")]
    far_channel = far.open(NAME, b"far")
    settle(near, far)
    assert list(near.events()) == [ChannelOpened(near_channel, b"far")]
    assert list(far.events()) == [ChannelOpened(far_channel, b"near")]
    return near, near_channel, far, far_channel


def test_nothing_is_known_before_the_handshake() -> None:
    near = side(True)
    assert near.is_open
    assert near.remote_key is None
    assert near.handshake_hash is None
    assert list(near.events()) == []


def test_messages_queued_before_the_handshake_wait_for_it() -> None:
    near, far = side(True), side(False)
    channel = near.open(NAME, b"")
    near.send(channel, 3, b"early")
    assert near.queued_bytes > 0
    first = near.bytes_to_send()
    assert len(first) == 35
    far.receive_bytes(first, 0.0)
    settle(near, far)
    assert near.queued_bytes == 0
    assert list(far.events())[1:] == [OpenRequested(NAME, b"")]
    opened = far.open(NAME, b"")
    assert list(far.events())[1:] == [MessageReceived(opened, 3, b"early")]


@pytest.mark.parametrize(
    "sizes", [[0], [1, 2, 3], [70_000] * 10, [BATCH_BYTES * 3, 5], [100] * 999]
)
def test_messages_of_all_sizes_arrive_in_order(sizes: list[int]) -> None:
    near, near_channel, far, far_channel = with_channel()
    bodies = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    for body in bodies:
        near.send(near_channel, 7, body)
    settle(near, far)
    assert list(far.events()) == [MessageReceived(far_channel, 7, body) for body in bodies]


def test_the_largest_message() -> None:
    near, near_channel, far, far_channel = with_channel()
    body = bytes(MAX_BODY_BYTES)
    near.send(near_channel, 7, body)
    settle(near, far)
    assert list(far.events()) == [MessageReceived(far_channel, 7, body)]
    with pytest.raises(LocalProtocolError):
        near.send(near_channel, 7, body + b"\0")


def test_close_and_reject() -> None:
    near, near_channel, far, far_channel = with_channel()
    near.close(near_channel)
    settle(near, far)
    assert list(near.events()) == []
    assert list(far.events()) == [ChannelClosed(far_channel)]
    again = near.open(NAME, b"")
    settle(near, far)
    assert list(far.events()) == [OpenRequested(NAME, b"")]
    far.reject(NAME)
    settle(near, far)
    assert list(near.events()) == [ChannelClosed(again)]


def test_the_older_protocol_name() -> None:
    near, far = connected()
    near.open(ChannelName(b"hypercore", NAME.id), b"")
    settle(near, far)
    assert list(far.events()) == [OpenRequested(NAME, b"")]


# time


def test_no_handshake_in_time() -> None:
    for one in (side(True, now=100.0), side(False, now=100.0)):
        assert one.next_deadline() == 110.0
        one.handle_timeout(109.9)
        with pytest.raises(RemoteProtocolError, match="no handshake"):
            one.handle_timeout(110.0)
        assert not one.is_open
        assert one.next_deadline() is None
        assert one.bytes_to_send() == b""


def test_the_handshake_ends_with_the_header_of_the_other_side() -> None:
    near, far = side(True), side(False)
    far.receive_bytes(near.bytes_to_send(), 1.0)
    near.receive_bytes(far.bytes_to_send(), 2.0)
    assert near.remote_key is not None
    near.bytes_to_send()
    near.handle_timeout(9.0)
    with pytest.raises(RemoteProtocolError, match="no handshake"):
        near.handle_timeout(10.0)


def test_keepalive_after_the_last_write() -> None:
    near, near_channel, far, _ = with_channel()
    assert near.next_deadline() == 5.0
    near.handle_timeout(4.9)
    assert near.bytes_to_send() == b""
    near.handle_timeout(5.0)
    assert near.next_deadline() == 10.0
    keepalive = near.bytes_to_send()
    assert len(keepalive) == KEEPALIVE_FRAME_BYTES
    assert near.bytes_to_send() == b""
    far.receive_bytes(keepalive, 5.0)
    assert list(far.events()) == []
    # Any other write restarts the time, and a keepalive that is due gives way to it.
    near.handle_timeout(10.0)
    near.send(near_channel, 1, b"x")
    assert len(near.bytes_to_send()) > KEEPALIVE_FRAME_BYTES
    assert near.bytes_to_send() == b""
    assert near.next_deadline() == 15.0


def test_no_keepalive_before_the_handshake() -> None:
    near = side(True)
    near.bytes_to_send()
    near.handle_timeout(6.0)
    assert near.bytes_to_send() == b""


def test_silence() -> None:
    near, far = connected()
    near.receive_bytes(b"\x11", 20.0)  # any byte counts
    near.handle_timeout(49.9)
    with pytest.raises(RemoteProtocolError, match="silence"):
        near.handle_timeout(50.0)
    with pytest.raises(LocalProtocolError):
        near.receive_bytes(b"", 50.0)
    near.handle_timeout(60.0)
    assert far.is_open


def test_silence_of_peers_that_send_no_keepalive() -> None:
    near, _ = connected(silence_timeout=None)
    near.handle_timeout(10_000.0)
    assert near.is_open
    assert len(near.bytes_to_send()) == KEEPALIVE_FRAME_BYTES


def test_a_trickled_frame() -> None:
    near, near_channel, far, _ = with_channel(silence_timeout=None)
    near.send(near_channel, 1, bytes(320 * 1024 - 22))
    sent = bytes(near.bytes_to_send())
    assert len(sent) == 320 * 1024
    for second in range(40):  # 30 and one for each 32 KiB
        far.receive_bytes(sent[second : second + 1], float(second))
        assert far._stream.partial_bytes == second + 1  # held as it comes, not as announced
        far.handle_timeout(float(second))
    with pytest.raises(RemoteProtocolError, match="too slowly"):
        far.handle_timeout(40.0)


def test_the_time_for_a_frame_starts_with_the_frame() -> None:
    near, near_channel, far, far_channel = with_channel(silence_timeout=None)
    sent = b""
    for _ in range(3):
        near.send(near_channel, 1, bytes(10))
        sent += near.bytes_to_send()
    far.receive_bytes(sent[:10], 0.0)
    far.receive_bytes(sent[10:40], 29.0)  # the end of the first, the beginning of the second
    far.handle_timeout(31.0)
    far.receive_bytes(sent[40:], 58.0)
    far.handle_timeout(1000.0)
    assert far.is_open
    assert list(far.events()) == [MessageReceived(far_channel, 1, bytes(10))] * 3


# what is refused


@pytest.mark.parametrize("length", [0, 1, 31, 33, 96, 2**24 - 1])
def test_handshake_frames_of_a_wrong_size_are_refused_on_their_length(length: int) -> None:
    far = side(False)
    with pytest.raises(RemoteProtocolError, match="while connecting"):
        far.receive_bytes(struct.pack("<I", length)[:3], 0.0)
    assert not far.is_open


@pytest.mark.parametrize("length", [0, 16, 1025])
def test_message_frames_of_a_wrong_size_are_refused_on_their_length(length: int) -> None:
    near, _ = connected(max_frame_bytes=1024)
    with pytest.raises(RemoteProtocolError, match="a frame of"):
        near.receive_bytes(struct.pack("<I", length)[:3], 0.0)


def test_two_initiators() -> None:
    near, far = side(True), side(True)
    first = bytes(far.bytes_to_send())
    with pytest.raises(RemoteProtocolError):
        near.receive_bytes(first, 0.0)


def test_what_came_before_an_error_is_among_the_events() -> None:
    near, near_channel, far, far_channel = with_channel()
    near.send(near_channel, 1, b"good")
    sent = bytes(near.bytes_to_send())
    near.send(near_channel, 1, b"bad")
    damaged = bytearray(near.bytes_to_send())
    damaged[-1] ^= 1
    with pytest.raises(RemoteProtocolError):
        far.receive_bytes(sent + bytes(damaged), 0.0)
    assert list(far.events()) == [MessageReceived(far_channel, 1, b"good")]
    far.send(far_channel, 1, b"into nothing")
    assert far.bytes_to_send() == b""


def test_what_cannot_be_decoded_is_the_fault_of_the_other_side() -> None:
    near, far = connected()
    near._mux.queue.put(0, 1, b"\x02\xff")  # an open that is cut short
    with pytest.raises(RemoteProtocolError, match="cannot be decoded"):
        far.receive_bytes(near.bytes_to_send(), 0.0)
    assert not far.is_open


def test_limits_reach_the_channels() -> None:
    near, far = connected(open_burst=2)
    for number in range(3):
        near.open(ChannelName(b"p", bytes([number])), b"")
    with pytest.raises(RemoteProtocolError, match="too fast"):
        settle(near, far)


def test_an_end_is_accepted_between_frames_only() -> None:
    near, _ = connected()
    near.receive_eof()
    assert not near.is_open
    near, _ = connected()
    near.receive_bytes(b"\x20", 0.0)
    for cut in (near, side(True), side(False)):
        with pytest.raises(RemoteProtocolError, match="ended"):
            cut.receive_eof()
        assert not cut.is_open
