"""Two connections against each other: any opens, closes, rejects and messages, in any pieces.

Names are closed and opened again at once, decisions come at once or late, and bytes cross in
random pieces. No run may end in an error, and when all is quiet both sides must agree on what is
open: each message sent on a channel arrives on the other side's channel of the same name.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.wire.connection import (
    ChannelClosed,
    ChannelId,
    ChannelName,
    ChannelOpened,
    Connection,
    HandshakeCompleted,
    MessageReceived,
    OpenRequested,
)
from tests.sizes import long_or_short

NAMES = [ChannelName(b"p", b"a"), ChannelName(b"p", b"b"), ChannelName(b"q")]
KEYS = [crypto.key_pair(bytes([number]) * 32) for number in range(1, 5)]
ACCEPT, REJECT, LATER = "accept", "reject", "later"


class Peer:
    """One side, with what a driver knows of its channels."""

    def __init__(self, is_initiator: bool, decisions: list[str]) -> None:
        number = 0 if is_initiator else 2
        self.connection = Connection(
            is_initiator=is_initiator,
            static=KEYS[number],
            ephemeral=KEYS[number + 1],
            header=bytes([number]) * 24,
            now=0.0,
        )
        self.outgoing = bytearray()
        self.decisions = deque(decisions)
        self.asked: list[ChannelName] = []  # to be decided later
        self.ours: dict[ChannelName, ChannelId] = {}
        self.open: set[ChannelId] = set()
        self.last_received: dict[ChannelId, bytes] = {}
        self.counter = 0

    def flush(self) -> None:
        self.outgoing += self.connection.bytes_to_send()

    def open_name(self, name: ChannelName) -> None:
        if name not in self.ours:
            self.ours[name] = self.connection.open(name, name.id)

    def close_name(self, name: ChannelName) -> None:
        channel = self.ours.pop(name, None)
        if channel is not None:
            self.open.discard(channel)
            self.connection.close(channel)

    def send(self, name: ChannelName) -> None:
        channel = self.ours.get(name)
        if channel is not None:
            self.counter += 1
            body = self.counter.to_bytes(4, "big") + name.protocol + name.id
            self.connection.send(channel, 1, body)

    def decide(self, name: ChannelName, decision: str) -> None:
        if decision == LATER:
            self.asked.append(name)
        elif decision == ACCEPT and name not in self.ours:
            self.open_name(name)
        else:
            self.connection.reject(name)

    def decide_late(self, decision: str) -> None:
        while self.asked:
            self.decide(self.asked.pop(), decision)
        self.drain()  # an acceptance opens the channel, with what was held for it

    def receive(self, data: bytes) -> None:
        self.connection.receive_bytes(data, 0.0)
        self.drain()

    def drain(self) -> None:
        for event in self.connection.events():
            self.handle(event)

    def handle(self, event: Any) -> None:
        if isinstance(event, OpenRequested):
            self.decide(event.name, self.decisions.popleft() if self.decisions else ACCEPT)
        elif isinstance(event, ChannelOpened):
            if event.channel in self.ours.values():
                self.open.add(event.channel)
        elif isinstance(event, ChannelClosed):
            self.open.discard(event.channel)
            for name, channel in list(self.ours.items()):
                if channel == event.channel:
                    del self.ours[name]
        elif isinstance(event, MessageReceived):
            self.handle_message(event)
        else:
            assert isinstance(event, HandshakeCompleted)

    def handle_message(self, event: MessageReceived) -> None:
        for name, channel in self.ours.items():
            if channel == event.channel:
                assert event.body[4:] == name.protocol + name.id
        # Nothing twice, nothing out of order.
        assert self.last_received.get(event.channel, b"") < event.body[:4]
        self.last_received[event.channel] = event.body[:4]


def carry(source: Peer, target: Peer, count: int) -> None:
    source.flush()
    data = bytes(source.outgoing[:count])
    del source.outgoing[:count]
    if data:
        target.receive(data)


def settle(near: Peer, far: Peer) -> None:
    while True:
        near.flush()
        far.flush()
        if not near.outgoing and not far.outgoing:
            return
        carry(near, far, len(near.outgoing))
        carry(far, near, len(far.outgoing))


names = st.sampled_from(NAMES)
decisions = st.sampled_from([ACCEPT, ACCEPT, REJECT, LATER])
actions = st.tuples(
    st.booleans(),
    st.one_of(
        st.tuples(st.just("open"), names),
        st.tuples(st.just("close"), names),
        st.tuples(st.just("reopen"), names),
        st.tuples(st.just("send"), names),
        st.tuples(st.just("decide"), st.sampled_from([ACCEPT, REJECT])),
        st.tuples(st.just("carry"), st.sampled_from([1, 20, 30, 60, 200, 10_000])),
    ),
)


@settings(max_examples=long_or_short(20_000, 500), deadline=None)
@given(
    st.lists(actions, min_size=5, max_size=60),
    st.lists(decisions, max_size=12),
    st.lists(decisions, max_size=12),
)
def test_both_sides_agree(
    steps: list[tuple[bool, tuple[str, Any]]], near_decides: list[str], far_decides: list[str]
) -> None:
    near, far = Peer(True, near_decides), Peer(False, far_decides)
    settle(near, far)
    for is_near, (action, argument) in steps:
        one, another = (near, far) if is_near else (far, near)
        if action in ("open", "reopen"):
            if action == "reopen":
                one.close_name(argument)
            one.open_name(argument)
            one.drain()
        elif action == "close":
            one.close_name(argument)
        elif action == "send":
            one.send(argument)
        elif action == "decide":
            one.decide_late(argument)
        else:
            carry(one, another, argument)
    settle(near, far)
    while near.asked or far.asked:
        near.decide_late(ACCEPT)
        far.decide_late(ACCEPT)
        settle(near, far)
    check_agreement(near, far)


def check_agreement(near: Peer, far: Peer) -> None:
    assert set(near.ours) == set(far.ours)
    for peer in (near, far):
        assert set(peer.ours.values()) == peer.open
    for one, another in ((near, far), (far, near)):
        for name in one.ours:
            one.send(name)
        settle(one, another)
        for name, channel in another.ours.items():
            one_number = one.counter - len(one.ours) + 1 + list(one.ours).index(name)
            assert another.last_received[channel] == one_number.to_bytes(4, "big")
    # Ids are used again, so both tables stay as small as what was open at once.
    for peer in (near, far):
        for name in list(peer.ours):
            peer.close_name(name)
    settle(near, far)
    for name in NAMES:
        near.open_name(name)
        far.open_name(name)
    settle(near, far)
    assert set(near.ours) == set(far.ours) == set(NAMES)
    assert all(set(peer.ours.values()) == peer.open for peer in (near, far))
