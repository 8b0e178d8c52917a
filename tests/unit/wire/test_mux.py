"""The mux against scenarios recorded from Node's, and its limits.

Where we differ on purpose, `DIFFERENCES` says what we do instead and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protozorfs.compact import decode_buffer, decode_uint, encode_buffer, encode_uint
from protozorfs.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from protozorfs.wire.batches import BATCH_BYTES
from protozorfs.wire.events import (
    ChannelClosed,
    ChannelId,
    ChannelName,
    ChannelOpened,
    MessageReceived,
    OpenRequested,
)
from protozorfs.wire.limits import Limits
from protozorfs.wire.mux import BATCH, CLOSE, CONTROL, MAX_BODY_BYTES, OPEN, REJECT, Mux

SCENARIOS = json.loads((Path(__file__).parents[2] / "vectors" / "transport.json").read_text())[
    "protomux"
]["scenarios"]

Step = tuple[list[str], list[list[Any]]]
FATAL: Step = ([], [["error"]])

# (scenario, step): what we send and report there. None: no further step of it means anything.
DIFFERENCES: dict[tuple[str, int], Step | None] = {
    # A message that is alone needs no batch around it.
    ("batches from us", 15): (["020109"], []),
    ("batches to us", 6): (
        ["000103017000"],
        [["asked", "p", None], ["opened", "P", None], ["message", "P", 0, "05"]],
    ),
    # The close again: see (1) in the module.
    ("closing before the remote has answered", 3): (["000301"], []),
    ("an own open taken for the answer to a closed one", 2): (["000301"], []),
    # A waiting open that is closed is rejected at once and never asked about: see (2).
    ("a close for a channel still being accepted", 1): (["000201"], []),
    ("a close for a channel still being accepted", 2): None,
    ("the opener closes again once it is answered", 1): (["000201"], []),
    ("the opener closes again once it is answered", 2): None,
    # One channel a name: nobody is asked about a second.
    ("a second open of a channel that is open", 2): (["000202"], []),
    ("two channels of one name", 1): ([], [["no channel", "B"]]),
    ("two channels of one name", 2): None,
    # Neither is ever sent.
    ("lenient: a batch item longer than the batch", 2): FATAL,
    ("lenient: a batch within a batch", 2): FATAL,
}

# Node pauses reading; here a limit ends the connection far beyond that. Its "destroyed" says that a
# channel's record is gone. Of a channel closed by ourselves we report nothing.
NOT_REPORTED = {"destroyed", "reading paused", "reading resumed", "stream destroyed"}


def plain(mux: Mux) -> list[str]:
    return [b"".join(frame.parts).hex() for frame in mux.queue.take()]


class Side:
    """Drives a `Mux` as the recorder of the scenarios drove Node's."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.mux = Mux(Limits(), {b"p/old": b"p/new"}, 0.0)
        self.accepts = scenario["accepts"]
        self.names: dict[int, ChannelName] = {}  # asked about, by the hook
        self.channels: dict[str, ChannelId] = {}
        self.labels: dict[ChannelId, str] = {}
        self.kinds: dict[str, dict[str, Any]] = {}
        self.is_corked = False
        self.events: list[list[Any]] = []

    def step(self, action: str, args: list[Any]) -> Step:
        self.events = []
        getattr(self, f"do_{action}")(*args)
        self.drain()
        return ([] if self.is_corked else plain(self.mux)), self.events

    def do_open(self, label: str, kind: dict[str, Any]) -> None:
        name = ChannelName(kind["protocol"].encode(), bytes.fromhex(kind.get("id") or ""))
        handshake = kind.get("handshake")
        if isinstance(handshake, int):
            encoded = encode_uint(handshake)
        else:
            encoded = bytes.fromhex(handshake or "")
        try:
            channel = self.mux.open(name, encoded)
        except LocalProtocolError:
            self.events.append(["no channel", label])
            return
        self.channels[label] = channel
        self.labels[channel] = label
        self.kinds[label] = kind

    def do_send(self, label: str, message_type: int, body: str) -> None:
        self.mux.send(self.channels[label], message_type, bytes.fromhex(body))

    def do_close(self, label: str) -> None:
        self.mux.close(self.channels[label])

    def do_cork(self) -> None:
        self.is_corked = True

    def do_uncork(self) -> None:
        self.is_corked = False

    def do_answer(self, hook: int) -> None:
        self.answer(hook, self.names[hook])

    def do_receive(self, frame: str) -> None:
        if frame:
            try:
                self.mux.receive(bytearray.fromhex(frame), 0.0)
            except (RemoteProtocolError, DecodeError):
                self.events.append(["error"])

    def answer(self, hook: int, name: ChannelName) -> None:
        accepted = self.accepts[hook]
        if "open" in accepted:
            self.do_open(accepted["open"], {**accepted, "id": name.id.hex()})
        else:
            self.mux.reject(name)

    def ask(self, name: ChannelName) -> None:
        for hook, accepted in enumerate(self.accepts):
            protocol, wanted = accepted["protocol"].encode(), accepted.get("id")
            if protocol == name.protocol and wanted in (None, name.id.hex()):
                self.events.append(["asked", accepted["protocol"], name.id.hex() or None])
                self.names[hook] = name
                if not accepted.get("later"):
                    self.answer(hook, name)
                return
        self.mux.reject(name)

    def drain(self) -> None:
        for event in self.mux.events():
            if isinstance(event, OpenRequested):
                self.ask(event.name)
                continue
            assert isinstance(event, ChannelOpened | MessageReceived | ChannelClosed)
            label = self.labels[event.channel]
            if isinstance(event, ChannelClosed):
                self.events.append(["closed", label, "by remote"])
            elif isinstance(event, ChannelOpened):
                has_handshake = "handshake" in self.kinds[label]
                shown = self.show(label, event.handshake) if has_handshake else None
                self.events.append(["opened", label, shown])
            elif event.type < 2:  # the types of these channels
                shown = self.show(label, event.body)
                self.events.append(["message", label, event.type, shown])

    def show(self, label: str, data: bytes) -> Any:
        if not self.kinds[label].get("uints"):
            return data.hex()
        try:
            return decode_uint(data, 0)[0]
        except DecodeError:
            return "error"


def normalized(events: list[list[Any]]) -> list[list[Any]]:
    """Without what we do not report; an error ends all, also one of the caller's decoding."""
    if any(event[0] == "error" or event[-1] == "error" for event in events):
        return [["error"]]
    return [e for e in events if e[0] not in NOT_REPORTED and e[-1] != "by us"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_scenario(scenario: dict[str, Any]) -> None:
    side = Side(scenario)
    for number, step in enumerate(scenario["steps"]):
        expected = DIFFERENCES.get(
            (scenario["name"], number), (step["sent"], normalized(step["events"]))
        )
        if expected is None:
            return
        sent, events = side.step(step["action"], step["args"])
        assert (sent, normalized(events)) == expected, number


def test_every_difference_is_of_a_scenario() -> None:
    steps = {(s["name"], number) for s in SCENARIOS for number in range(len(s["steps"]))}
    assert set(DIFFERENCES) <= steps


# limits and misuse

NAME = ChannelName(b"p", b"\x11" * 32)


def open_frame(
    remote_id: int, name: ChannelName = NAME, handshake: bytes = b"", lead: bytes = b"\x00\x01"
) -> bytearray:
    encoded = encode_buffer(name.protocol) + encode_buffer(name.id)
    return bytearray(lead + encode_uint(remote_id) + encoded + handshake)


def batch(channel: int, *items: bytes) -> bytearray:
    return bytearray(b"\x00\x00" + encode_uint(channel) + b"".join(map(encode_buffer, items)))


def mux_of(**limits: Any) -> Mux:
    return Mux(Limits(**limits), {}, 0.0)


def test_a_batch_may_hold_so_many_items_and_no_more() -> None:
    mux = mux_of(max_batch_items=3)
    mux.receive(batch(5, b"\x00", b"\x00", b"\x00"), 0.0)
    with pytest.raises(RemoteProtocolError, match="too many items"):
        mux.receive(batch(5, b"\x00", b"\x00", b"\x00", b"\x00"), 0.0)
    with pytest.raises(RemoteProtocolError, match="too many items"):
        mux_of(max_batch_items=3).receive(bytearray(b"\x00\x00\x05" + b"\x00\x05" * 4), 0.0)


def test_opens_are_counted_over_time() -> None:
    mux = mux_of(open_burst=3, opens_per_second=2.0)
    for now in (0.0, 0.0, 0.0, 0.5, 1.0):
        mux.receive(open_frame(1), now)
        mux.reject(NAME)
    with pytest.raises(RemoteProtocolError, match="too fast"):
        mux.receive(open_frame(1), 1.2)


def test_channels_of_the_other_side_are_bounded() -> None:
    mux = mux_of(max_remote_channels=2)
    mux.receive(open_frame(1, ChannelName(b"a")), 0.0)
    mux.receive(open_frame(2, ChannelName(b"b")), 0.0)
    mux.open(ChannelName(b"a"), b"")
    with pytest.raises(RemoteProtocolError, match="too many channels"):
        mux.receive(open_frame(3, ChannelName(b"c")), 0.0)
    mux = mux_of(max_remote_channels=1)
    mux.receive(open_frame(1, ChannelName(b"a")), 0.0)
    mux.reject(ChannelName(b"a"))
    mux.receive(open_frame(2, ChannelName(b"b")), 0.0)


def test_our_opens_without_an_answer_are_bounded() -> None:
    mux = mux_of(max_unanswered_opens=2)
    mux.close(mux.open(NAME, b""))
    mux.close(mux.open(NAME, b""))
    with pytest.raises(RemoteProtocolError, match="without an answer"):
        mux.open(NAME, b"")


@pytest.mark.parametrize(
    ("name", "handshake"),
    [
        (ChannelName(b"p" * 129), b""),
        (ChannelName(b"p", b"i" * 65), b""),
        (ChannelName(b"p"), b"h" * 4097),
    ],
)
def test_names_and_handshakes_are_bounded(name: ChannelName, handshake: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="too long"):
        mux_of().receive(open_frame(1, name, handshake), 0.0)
    shorter = ChannelName(name.protocol[:128], name.id[:64])
    mux_of().receive(open_frame(1, shorter, handshake[:4096]), 0.0)


def test_a_protocol_name_must_be_utf8() -> None:
    with pytest.raises(DecodeError):
        mux_of().receive(open_frame(1, ChannelName(b"\xc3\x28")), 0.0)


def test_what_waits_for_a_decision_is_bounded_and_kept_in_order() -> None:
    mux = mux_of(max_undecided_bytes=2 * 522)
    mux.receive(open_frame(1), 0.0)
    for number in (b"0", b"1"):
        mux.receive(bytearray(b"\x01\x00" + number * 10), 0.0)
    with pytest.raises(RemoteProtocolError, match="not open yet"):
        mux.receive(bytearray(b"\x01\x00"), 0.0)
    channel = mux.open(NAME, b"")
    mux.receive(bytearray(b"\x01\x072"), 0.0)
    assert list(mux.events()) == [
        ChannelOpened(channel, b""),
        MessageReceived(channel, 0, b"0" * 10),
        MessageReceived(channel, 0, b"1" * 10),
        MessageReceived(channel, 7, b"2"),
    ]
    # What was held counts no longer, also not after a rejection.
    for _ in range(3):
        mux.receive(open_frame(2, ChannelName(b"q")), 0.0)
        mux.receive(bytearray(b"\x02\x00" + bytes(500)), 0.0)
        mux.reject(ChannelName(b"q"))


def test_a_request_that_was_taken_back_is_not_reported() -> None:
    mux = mux_of()
    mux.receive(batch(CONTROL, bytes(open_frame(1, lead=b"\x01")), bytes([CLOSE, 1])), 0.0)
    assert list(mux.events()) == []
    assert plain(mux) == [bytes([CONTROL, REJECT, 1]).hex()]
    mux.reject(NAME)
    assert plain(mux) == []
    mux.receive(batch(CONTROL, bytes(open_frame(1, lead=b"\x01")), bytes([CLOSE, 1])), 0.0)
    mux.receive(open_frame(1, handshake=b"second"), 0.0)
    assert list(mux.events()) == [OpenRequested(NAME, b"second")]


def test_a_second_request_for_a_name_that_waits_is_rejected() -> None:
    mux = mux_of()
    mux.receive(open_frame(1), 0.0)
    mux.receive(open_frame(2), 0.0)
    assert plain(mux) == [bytes([CONTROL, REJECT, 2]).hex()]
    assert list(mux.events()) == [OpenRequested(NAME, b"")]


def test_the_oldest_open_of_a_name_is_answered_first() -> None:
    mux = mux_of()
    mux.close(mux.open(NAME, b""))
    channel = mux.open(NAME, b"")
    mux.receive(open_frame(1, handshake=b"to the closed one"), 0.0)
    mux.receive(open_frame(1, handshake=b"to the other"), 0.0)
    assert list(mux.events()) == [ChannelOpened(channel, b"to the other")]


def test_the_old_protocol_name_of_hypercore() -> None:
    mux = Mux(Limits(), {b"old": b"new"}, 0.0)
    mux.receive(open_frame(1, ChannelName(b"old", b"x")), 0.0)
    (event,) = mux.events()
    assert event == OpenRequested(ChannelName(b"new", b"x"), b"")


def test_using_a_channel_that_the_other_side_has_closed_does_nothing() -> None:
    mux = mux_of()
    channel = mux.open(NAME, b"")
    mux.receive(open_frame(1), 0.0)
    mux.receive(bytearray([CONTROL, CLOSE, 1]), 0.0)
    mux.queue.take()
    mux.send(channel, 0, b"late")
    mux.close(channel)
    assert plain(mux) == []
    assert list(mux.events()) == [ChannelOpened(channel, b""), ChannelClosed(channel)]
    assert mux.open(NAME, b"") != channel


def test_misuse() -> None:
    mux = mux_of()
    channel = mux.open(NAME, b"")
    with pytest.raises(LocalProtocolError):
        mux.open(NAME, b"")
    for never in (ChannelId(0), ChannelId(2)):
        with pytest.raises(LocalProtocolError):
            mux.send(never, 0, b"")
        with pytest.raises(LocalProtocolError):
            mux.close(never)
    with pytest.raises(LocalProtocolError):
        mux.send(channel, 0, bytes(MAX_BODY_BYTES + 1))


def test_messages_of_unusual_types_and_ids_in_a_batch() -> None:
    mux = mux_of()
    channel = mux.open(NAME, b"")
    mux.receive(open_frame(1), 0.0)
    long_id = b"\xfd\x01\x00"  # 1, in more bytes than needed
    mux.receive(bytearray(b"\x00\x00" + long_id + b"\x04\xfd\xe8\x03x" + b"\x00\x01\x01\x02"), 0.0)
    mux.receive(bytearray(long_id + b"\xfd\x03\x00y"), 0.0)
    mux.receive(bytearray(b"\xfd\x00\x00\xfd\x00\x00\x01\x01\x09"), 0.0)  # a batch, at length
    assert list(mux.events())[1:] == [
        MessageReceived(channel, 1000, b"x"),
        MessageReceived(channel, 2, b""),
        MessageReceived(channel, 3, b"y"),
        MessageReceived(channel, 9, b""),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        "00000102",  # an item without its bytes
        "000001fd",  # a length cut short
        "00000100",  # a change to no channel
        "00000101fd",  # an item whose type is cut short
        "0000000101",  # an open without an id
        "000003fe00000001",  # an item longer than all
        "0001",
        "0002",
        "0003",
    ],
)
def test_cut_frames(frame: str) -> None:
    with pytest.raises((RemoteProtocolError, DecodeError)):
        mux_of().receive(bytearray.fromhex(frame), 0.0)


def test_frames_are_cut_at_their_target_and_single_messages_stand_alone() -> None:
    mux = mux_of()
    channel = mux.open(NAME, b"")
    mux.queue.take()
    for size in (10, BATCH_BYTES, 3, BATCH_BYTES // 2, BATCH_BYTES // 2, 5):
        mux.send(channel, 1, bytes(size))
    assert mux.queue.queued_bytes >= 2 * BATCH_BYTES
    frames = mux.queue.take()
    assert mux.queue.queued_bytes == 0
    assert [frame.plain_bytes for frame in frames] == [len(b"".join(f.parts)) for f in frames]
    encoded = [b"".join(frame.parts) for frame in frames]
    assert encoded[0] == b"\x01\x01" + bytes(10)
    assert encoded[1] == b"\x01\x01" + bytes(BATCH_BYTES)
    assert encoded[2][:3] == b"\x00\x00\x01"
    assert all(len(frame) <= BATCH_BYTES + 16 for frame in encoded)
    pos, sizes = 3, []
    while pos < len(encoded[3]):
        item, pos = decode_buffer(encoded[3], pos)
        sizes.append(len(item) - 1)
    assert sizes == [BATCH_BYTES // 2, 5]
    assert (BATCH, OPEN, REJECT, CLOSE) == (0, 1, 2, 3)
