"""Whole connections against bytes recorded from Node: intact, damaged, every single bit changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protozorfs import crypto
from protozorfs.compact import encode_buffer, encode_uint
from protozorfs.errors import RemoteProtocolError
from protozorfs.types import NodeKey
from protozorfs.wire.connection import (
    ChannelName,
    ChannelOpened,
    Connection,
    Event,
    HandshakeCompleted,
    MessageReceived,
    OpenRequested,
)
from protozorfs.wire.limits import MAX_FRAME_BYTES
from protozorfs.wire.secret_stream import SecretStream

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "transport.json").read_text())
SESSION = VECTORS["session"]
NAME = ChannelName(SESSION["protocol"].encode(), bytes.fromhex(SESSION["id"]))
NOISE = VECTORS["noise_xx"][0]
ROLES = ("initiator", "responder")
STATIC = {role: crypto.key_pair(bytes.fromhex(NOISE[role]["static_seed"])) for role in ROLES}
EPHEMERAL = {role: crypto.key_pair(bytes.fromhex(NOISE[role]["ephemeral_seed"])) for role in ROLES}
FRAMES = {
    role: [bytes.fromhex(frame["framed"]) for frame in SESSION[f"{role}_sends"]] for role in ROLES
}


def connection(role: str) -> Connection:
    return Connection(
        is_initiator=role == "initiator",
        static=STATIC[role],
        ephemeral=EPHEMERAL[role],
        header=bytes.fromhex(SESSION[f"{role}_secretstream_header"]),
        now=0.0,
    )


def hello(role: str) -> bytes:
    return encode_buffer(b"hello from " + role.encode())


def other(role: str) -> str:
    return "responder" if role == "initiator" else "initiator"


def test_every_byte_of_a_session() -> None:
    initiator, responder = connection("initiator"), connection("responder")
    sent = FRAMES["initiator"]
    answered = FRAMES["responder"]
    assert initiator.bytes_to_send() == sent[0]
    responder.receive_bytes(sent[0], 0.0)
    assert responder.bytes_to_send() == answered[0]
    initiator.receive_bytes(answered[0], 0.0)
    assert initiator.bytes_to_send() == sent[1] + sent[2]
    responder.receive_bytes(sent[1] + sent[2], 0.0)
    assert responder.bytes_to_send() == answered[1]
    initiator.receive_bytes(answered[1], 0.0)
    near = initiator.open(NAME, hello("initiator"))
    assert initiator.bytes_to_send() == sent[3]
    responder.receive_bytes(sent[3], 0.0)
    completed, requested = responder.events()
    initiator_key = NodeKey(STATIC["initiator"].public_key)
    assert completed == HandshakeCompleted(initiator_key, bytes.fromhex(NOISE["handshake_hash"]))
    assert responder.remote_key == initiator_key
    assert responder.handshake_hash == initiator.handshake_hash
    assert requested == OpenRequested(NAME, hello("initiator"))
    far = responder.open(NAME, hello("responder"))
    assert responder.bytes_to_send() == answered[2]

    initiator.send(near, 0, encode_buffer(b"first"))
    assert initiator.bytes_to_send() == sent[4]
    initiator.handle_timeout(5.0)
    assert initiator.bytes_to_send() == sent[5]
    initiator.send(near, 1, encode_uint(70000))
    assert initiator.bytes_to_send() == sent[6]
    responder.send(far, 0, encode_buffer(b"one"))
    responder.send(far, 0, encode_buffer(b"two"))
    responder.send(far, 1, encode_uint(3))
    assert responder.bytes_to_send() == answered[3]
    initiator.send(near, 0, encode_buffer(b"y" * 300))
    assert initiator.bytes_to_send() == sent[7]
    initiator.close(near)
    assert initiator.bytes_to_send() == sent[8]


def replay(role: str, writes: list[bytes]) -> tuple[list[Event], bool]:
    """What a side makes of those writes and an end: its events, and whether it refused."""
    side = connection(role)
    if role == "initiator":
        side.open(NAME, hello(role))
    events: list[Event] = []
    refused = False
    try:
        for data in writes:
            side.receive_bytes(data, 0.0)
            side.bytes_to_send()
            events += drain(side)
        side.receive_eof()
    except RemoteProtocolError:
        refused = True
    assert not side.is_open
    return events + drain(side), refused


def drain(side: Connection) -> list[Event]:
    events = []
    for event in side.events():
        if isinstance(event, OpenRequested):
            side.open(event.name, hello("responder"))
        events.append(event)
    return events


@pytest.mark.parametrize("role", ROLES)
def test_a_replayed_session_in_any_pieces(role: str) -> None:
    frames = FRAMES[other(role)]
    if role == "responder":
        frames = frames[:-1]  # the close: before our answer it takes the open back
    whole = b"".join(frames)
    events, refused = replay(role, frames)
    assert not refused
    if role == "responder":
        bodies = [e.body for e in events if isinstance(e, MessageReceived)]
        assert bodies == [encode_buffer(b"first"), encode_uint(70000), encode_buffer(b"y" * 300)]
    else:
        assert isinstance(events[1], ChannelOpened)
        assert len(events) == 5
    assert replay(role, [whole]) == (events, False)
    assert replay(role, [whole[i : i + 1] for i in range(len(whole))]) == (events, False)


# Exhaustive over the handshake, both headers and every frame below 100 bytes.
FLIPPED_FRAMES = [
    (role, number)
    for role in ROLES
    for number, frame in enumerate(FRAMES[role])
    if len(frame) < 100
]


@pytest.mark.parametrize(("sender", "number"), FLIPPED_FRAMES)
def test_every_single_changed_bit_is_refused(sender: str, number: int) -> None:
    frames = FRAMES[sender]
    before, after = frames[:number], frames[number + 1 :]
    receiver = other(sender)
    allowed, _ = replay(receiver, before)
    changed = bytearray(frames[number])
    for bit in range(8 * len(changed)):
        changed[bit // 8] ^= 1 << bit % 8
        events, refused = replay(receiver, [*before, bytes(changed), *after])
        changed[bit // 8] ^= 1 << bit % 8
        assert refused, bit
        # Nothing of the changed frame, nor of any after it, has been let through. The handshake of
        # a changed secretstream header is complete: that one shows with the first message.
        assert events == allowed, bit


def test_the_initiator_refuses_the_answer_to_a_changed_first_message() -> None:
    changed = bytearray(FRAMES["initiator"][0])
    answers = 0
    for bit in range(8 * len(changed)):
        initiator, responder = connection("initiator"), connection("responder")
        initiator.bytes_to_send()
        changed[bit // 8] ^= 1 << bit % 8
        try:
            responder.receive_bytes(bytes(changed), 0.0)
        except RemoteProtocolError:
            continue
        finally:
            changed[bit // 8] ^= 1 << bit % 8
        answer = responder.bytes_to_send()
        if answer:  # else the changed length announces more
            answers += 1
            with pytest.raises(RemoteProtocolError):
                initiator.receive_bytes(answer, 0.0)
            assert list(initiator.events()) == []
    assert answers > 10  # a valid point is as good as any, as long as nobody looks at the hash


def test_the_changed_bits_were_of_all_kinds_of_frames() -> None:
    kinds = {SESSION[f"{role}_sends"][number]["what"] for role, number in FLIPPED_FRAMES}
    assert kinds == {"noise", "header", "message"}
    assert len(FLIPPED_FRAMES) == len(FRAMES["initiator"]) + len(FRAMES["responder"]) - 1


def writes_of(case: dict[str, Any]) -> list[bytes | None]:
    if "one_byte_per_write" in case:
        data = bytes.fromhex(case["one_byte_per_write"])
        return [data[i : i + 1] for i in range(len(data))]
    return [None if write is None else bytes.fromhex(write) for write in case["writes"]]


@pytest.mark.parametrize("case", VECTORS["session_damaged"]["cases"], ids=lambda c: c["what"])
def test_damaged_session(case: dict[str, Any]) -> None:
    stream = SecretStream(
        is_initiator=False,
        static=STATIC["responder"],
        ephemeral=EPHEMERAL["responder"],
        header=bytes(24),
        max_frame_bytes=MAX_FRAME_BYTES,
    )
    received: list[str] = []
    refused = False
    try:
        for data in writes_of(case):
            if data is not None:
                received += [plain.hex() for plain in stream.receive(data)]
    except RemoteProtocolError:
        refused = True
    assert received == case["node"]["received"]
    assert refused == case["node"]["destroyed"]


@pytest.mark.parametrize("case", VECTORS["session_damaged"]["cases"], ids=lambda c: c["what"])
def test_connection_of_a_damaged_session(case: dict[str, Any]) -> None:
    writes = writes_of(case)
    _, refused = replay("responder", [data for data in writes if data is not None])
    # Stricter than Node: an end in the middle of a frame or of the handshake is no normal end.
    cut = case["what"] in ("end in the middle of a frame", "end before the handshake is over")
    assert refused == (case["node"]["destroyed"] or cut)
