"""The peer protocol: streams, channels, messages, and a follower whose peer sends anything."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from protozorfs.wire import messages as m
from protozorfs.wire.connection import Connection
from protozorfs.wire.events import ChannelName, ChannelOpened, MessageReceived, OpenRequested
from protozorfs.wire.limits import Limits
from protozorfs.wire.mux import Mux
from tests.fuzzing.harness import Chooser, Harness, part
from tests.fuzzing.vectors import in_hex, vectors
from tests.unit.swarm.fork_peers import owner_of
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from protozorfs.wire.events import ChannelId

DECODERS: tuple[Callable[[bytes], object], ...] = (
    m.decode_sync,
    m.decode_request,
    m.decode_cancel,
    m.decode_data,
    m.decode_no_data,
    m.decode_want,
    m.decode_unwant,
    m.decode_bitfield,
    m.decode_range,
    m.decode_extension,
    m.decode_handshake,
)
ENCODERS: tuple[Callable[..., bytes], ...] = (
    m.encode_sync,
    m.encode_request,
    m.encode_cancel,
    m.encode_data,
    m.encode_no_data,
    m.encode_want,
    m.encode_unwant,
    m.encode_bitfield,
    m.encode_range,
    m.encode_extension,
    m.encode_handshake,
)
KINDS = (
    *("sync", "request", "cancel", "data", "noData", "want", "unwant", "bitfield", "range"),
    *("extension", "handshake"),
)
SMALL = Limits(open_burst=20, max_remote_channels=10, max_unanswered_opens=10, max_batch_items=100)
NAMES = [ChannelName(b"p", bytes([number]) * 32) for number in (0xCC, 0xDD)]  # as the vectors
BLOCKS = [bytes([number]) * (1 + 7 * number) for number in range(9)]


def make_messages(_work: Path) -> Callable[[bytes], None]:
    """One message: what is decoded can be encoded, and is the same then."""

    def run(data: bytes) -> None:
        if not data:
            return
        kind = data[0] % len(DECODERS)
        decode, encode = DECODERS[kind], ENCODERS[kind]
        try:
            message = decode(data[1:])
        except DecodeError:
            return
        again = encode(message)
        assert decode(again) == message
        assert encode(decode(again)) == again

    return run


def message_seeds() -> Iterable[bytes]:
    for number, kind in enumerate(KINDS):
        for body in in_hex(vectors("log")["messages"][kind], "hex"):
            yield bytes([number]) + body
    for body in in_hex(vectors("log")["proofs"][::20], "data"):
        yield bytes([KINDS.index("data")]) + body


def make_mux(_work: Path) -> Callable[[bytes], None]:
    """Frames, and calls of our side between them."""

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        mux = Mux(SMALL, {}, 0.0)
        channels: list[ChannelId] = []
        now = 0.0
        while chooser.left:
            action = chooser.number(6)
            try:
                match action:
                    case 0 | 1:
                        now += 0.01
                        frame = bytearray(chooser.part(2047))
                        if frame:
                            mux.receive(frame, now)
                    case 2:
                        channels.append(mux.open(chooser.pick(NAMES), b"handshake"))
                    case 3:
                        mux.reject(chooser.pick(NAMES))
                    case 4 if channels:
                        mux.close(chooser.pick(channels))
                    case 5 if channels:
                        mux.send(chooser.pick(channels), chooser.number(300), chooser.part(255))
            except LocalProtocolError:  # of a call that makes no sense: ours are checked elsewhere
                assert action == 2
            except (RemoteProtocolError, DecodeError):
                return
            for event in mux.events():
                if isinstance(event, OpenRequested):
                    assert len(event.handshake) <= SMALL.max_handshake_bytes
                elif isinstance(event, ChannelOpened | MessageReceived):
                    assert event.channel in channels
            mux.queue.take()

    return run


def mux_seeds() -> Iterable[bytes]:
    for scenario in vectors("transport")["protomux"]["scenarios"]:
        script = b""
        for step in scenario["steps"]:
            if step["action"] == "receive":
                script += b"\0" + part(bytes.fromhex(step["args"][0]))
            elif step["action"] in ("open", "answer"):
                script += b"\2\0"
            elif step["action"] == "close":
                script += b"\4\0"
        yield script


def _pair(role: str, kind: str) -> crypto.KeyPair:
    seeds = vectors("transport")["noise_xx"][0][role]
    return crypto.key_pair(bytes.fromhex(seeds[f"{kind}_seed"]))


ROLES = ("initiator", "responder")


def make_stream(_work: Path) -> Callable[[bytes], None]:
    """A connection that gets the recorded bytes of a session, changed; or anything at all.

    No plain text may come out that was not sent.
    """
    session = vectors("transport")["session"]
    name = ChannelName(session["protocol"].encode(), bytes.fromhex(session["id"]))
    sent = {role: b"".join(in_hex(session[f"{role}_sends"], "framed")) for role in ROLES}
    keys = {role: (_pair(role, "static"), _pair(role, "ephemeral")) for role in ROLES}
    headers = {role: bytes.fromhex(session[f"{role}_secretstream_header"]) for role in ROLES}

    def connection(role: str) -> Connection:
        static, ephemeral = keys[role]
        return Connection(
            is_initiator=role == "initiator",
            static=static,
            ephemeral=ephemeral,
            header=headers[role],
            now=0.0,
        )

    def received(role: str, pieces: Iterable[bytes]) -> list[tuple[int, bytes]]:
        ours, messages = connection(role), []
        opened = False
        try:
            for piece in pieces:
                ours.receive_bytes(piece, 0.0)
                for event in ours.events():
                    if isinstance(event, OpenRequested) and not opened:
                        opened = True
                        ours.open(name, b"")
                    if isinstance(event, MessageReceived):
                        messages.append((event.type, event.body))
                ours.bytes_to_send()
        except RemoteProtocolError:
            assert not ours.is_open
        return messages

    truth = {
        role: received(role, [bytes([byte]) for byte in sent[other]])
        for role, other in zip(ROLES, reversed(ROLES), strict=True)
    }

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        role, is_recorded = chooser.pick(ROLES), chooser.number(4)
        if not is_recorded:
            step = 1 + chooser.number(255)
            content = chooser.rest()
            received(role, [content[at : at + step] for at in range(0, len(content), step)])
            return
        stream = bytearray(sent[ROLES[1 - ROLES.index(role)]])
        step = 1 + chooser.number(len(stream))
        for _ in range(chooser.number(4)):
            at = chooser.number(len(stream))
            match chooser.number(3):
                case 0:
                    stream[at] ^= chooser.number(256)
                case 1:
                    stream[at:at] = chooser.part(255)
                case 2:
                    del stream[at : at + chooser.number(64)]
        got = received(role, [bytes(stream[at : at + step]) for at in range(0, len(stream), step)])
        assert got == truth[role][: len(got)], "a plain text that nobody sent"

    return run


def stream_seeds() -> Iterable[bytes]:
    for case in vectors("transport")["session_damaged"]["cases"]:
        writes = b"".join(bytes.fromhex(write) for write in case.get("writes", ()) if write)
        yield b"\1\0\xfe" + writes
    for role in range(2):
        yield bytes([role, 1, 0xFF, 0xFF, 0])
        yield bytes([role, 1, 7, 0, 1, 40, 0, 0, 1])


def make_session(_work: Path) -> Callable[[bytes], None]:
    """A follower, or an owner, whose peer sends messages of any content on the feed's channel.

    Whatever comes, the follower has blocks of the feed and no others.
    """

    def run(data: bytes) -> None:
        chooser = Chooser(data)
        owner = owner_of(BLOCKS[: chooser.number(len(BLOCKS))])
        follower = Peer(is_sparse=bool(chooser.number(2)), key=2)
        pipe = Pipe(follower, owner, name="fuzz")
        pipe.offer()
        is_early = chooser.number(2)  # before anything but the open was said
        sender, end = chooser.pick(((owner, pipe.listener), (follower, pipe.dialler)))
        with suppress(RemoteProtocolError):  # the driver would end the connection
            if not is_early:
                settle([pipe])
            while chooser.left and pipe.dialler.fault is None and pipe.listener.fault is None:
                kind, body = chooser.number(12), chooser.part(1023)
                for replica in islice(sender.replicator.links, 1):
                    end.session.connection.send(replica.channel, kind, body)
                settle([pipe])
        log = follower.feed.log
        assert log.length <= len(BLOCKS)
        for index in range(log.length):
            if log.held.get(index):
                assert log.block(index) == BLOCKS[index]
        for fault in (pipe.dialler.fault, pipe.listener.fault):
            assert fault is None or isinstance(fault, RemoteProtocolError), fault
        assert not follower.feed.frozen_why
        assert not owner.feed.frozen_why
        pipe.close(0.0)

    return run


def session_seeds() -> Iterable[bytes]:
    # The messages of the vectors, in the numbering of the wire: sync 0 to extension 9.
    for number, kind in enumerate(KINDS[:10]):
        bodies = in_hex(vectors("log")["messages"][kind], "hex")
        for is_early in (0, 1):
            for sender in (0, 1):
                yield bytes([8, 1, is_early, sender]) + b"".join(
                    bytes([number]) + part(body) for body in bodies
                )
    for proof in in_hex(vectors("log")["conflict"]["proofs"], "data"):
        yield bytes([8, 0, 0, 0, KINDS.index("data")]) + part(proof)


HARNESSES = (
    Harness("wire-stream", make_stream, stream_seeds),
    Harness("wire-mux", make_mux, mux_seeds),
    Harness("wire-messages", make_messages, message_seeds),
    Harness("wire-session", make_session, session_seeds),
)
