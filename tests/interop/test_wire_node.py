"""The wire alone against a real Node hypercore peer, dialling it and dialled by it.

Handshake, capability, channel, requests in batches, blocks of 64 KiB. Nothing is verified here;
that is the log's part.
"""

from __future__ import annotations

import os
import socket
import time

import pytest

from protozorfs import crypto
from protozorfs.ids import discovery_key_of
from protozorfs.log.proof_types import BlockRequest, Request
from protozorfs.types import Address, FeedId
from protozorfs.wire import messages as m
from protozorfs.wire.connection import (
    ChannelId,
    ChannelName,
    ChannelOpened,
    Connection,
    Event,
    HandshakeCompleted,
    MessageReceived,
    OpenRequested,
)
from tests.node_peer import generated_block, node_writer

pytestmark = pytest.mark.interop

SEED = b"\x2a" * 32
BLOCKS = 100
BLOCK_BYTES = 64 * 1024
SOCKET_SECONDS = 30.0  # without a byte; a Node peer sends a keepalive every 5


class Reader:
    """Asks for every block at once, and gathers what comes."""

    def __init__(self, stream: socket.socket, feed_id: FeedId, *, is_initiator: bool) -> None:
        self.stream = stream
        self.feed_id = feed_id
        self.is_initiator = is_initiator
        self.name = ChannelName(m.PROTOCOL, discovery_key_of(feed_id))
        self.connection = Connection(
            is_initiator=is_initiator,
            static=crypto.key_pair(os.urandom(32)),
            ephemeral=crypto.key_pair(os.urandom(32)),
            header=os.urandom(24),
            now=time.monotonic(),
        )
        self.blocks: dict[int, bytes] = {}

    def run(self) -> None:
        while len(self.blocks) < BLOCKS:
            self.stream.sendall(self.connection.bytes_to_send())
            data = self.stream.recv(256 * 1024)
            assert data, "the peer has ended the connection"
            self.connection.receive_bytes(data, time.monotonic())
            for event in self.connection.events():
                self.handle(event)

    def handle(self, event: Event) -> None:
        if isinstance(event, HandshakeCompleted):
            capability = self.capability(sent_by_initiator=self.is_initiator)
            self.connection.open(self.name, m.encode_handshake(m.Handshake(False, capability)))
        elif isinstance(event, ChannelOpened):
            remote = m.decode_handshake(event.handshake)
            assert remote.capability == self.capability(sent_by_initiator=not self.is_initiator)
            sync = m.Sync(0, 0, 0, True, True, True)
            self.connection.send(event.channel, m.SYNC, m.encode_sync(sync))
        elif isinstance(event, MessageReceived):
            self.handle_message(event.channel, event.type, event.body)
        else:
            assert not isinstance(event, OpenRequested), "ours is the answer to it"

    def capability(self, *, sent_by_initiator: bool) -> bytes:
        assert self.connection.handshake_hash is not None
        return m.capability(
            self.connection.handshake_hash, self.feed_id, sent_by_initiator=sent_by_initiator
        )

    def handle_message(self, channel: ChannelId, message_type: int, body: bytes) -> None:
        if message_type == m.SYNC and not self.blocks:
            assert m.decode_sync(body).length == BLOCKS
            for index in range(BLOCKS):
                message = m.RequestMessage(index + 1, 0, Request(BlockRequest(index, 0)))
                self.connection.send(channel, m.REQUEST, m.encode_request(message))
        elif message_type == m.DATA:
            block = m.decode_data(body).proof.block
            assert block is not None
            self.blocks[block.block_index] = block.value


def check(reader: Reader) -> None:
    reader.stream.settimeout(SOCKET_SECONDS)
    reader.run()
    for index, value in reader.blocks.items():
        assert value == generated_block(index, BLOCK_BYTES), index


def test_reads_as_initiator() -> None:
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        with socket.create_connection(writer.address) as stream:
            check(Reader(stream, writer.feed_id, is_initiator=True))


def test_reads_as_responder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SOCKET_SECONDS)
        address = Address(*listener.getsockname())
        with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, connect=[address]) as writer:
            stream, _ = listener.accept()
            with stream:
                check(Reader(stream, writer.feed_id, is_initiator=False))
