"""A peer that can shake hands and then sends anything at all, to whole nodes in memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.compact import decode_buffer, decode_uint, encode_buffer, encode_uint
from protozorfs.errors import DecodeError, RemoteProtocolError
from protozorfs.ids import discovery_key_of, public_key_of
from protozorfs.log import flat_tree
from protozorfs.log.hashing import leaf_node, parent_node, sign_head
from protozorfs.log.proof_types import BlockProof, Proof, UpgradeProof
from protozorfs.types import FeedId, TreeHash, TreeIndex, TreeNode
from protozorfs.wire import messages as m
from protozorfs.wire.batches import Frame
from protozorfs.wire.secret_stream import SecretStream

if TYPE_CHECKING:
    from tests.unit.swarm.memory_net import MemoryStream

BATCH, OPEN, REJECT, CLOSE = range(4)  # of the mux's own channel
SEND_SECONDS = 5.0  # of virtual time: the other side may read no more


def item(channel: int, message_type: int, body: bytes) -> bytes:
    """One message as a frame of its own."""
    return encode_uint(channel) + encode_uint(message_type) + body


def batch(channel: int, messages: list[tuple[int, bytes]]) -> bytes:
    """Messages of one channel as one frame."""
    parts = [b"\0\0", encode_uint(channel)]
    for message_type, body in messages:
        kind = encode_uint(message_type)
        parts.append(encode_uint(len(kind) + len(body)) + kind + body)
    return b"".join(parts)


class Hostile:
    """One connection. Nothing that it is sent can break it; what it has understood is kept.

    Attributes:
        ids: the channels that it has opened, by feed.
        asked: requests that it was sent: the feed, and the message.
    """

    def __init__(self, stream: MemoryStream, feed_ids: list[FeedId], *, dialled: bool) -> None:
        self._chance = random.Random(1)
        self.stream = stream
        self.is_initiator = dialled
        self.ids: dict[FeedId, int] = {}
        self.asked: list[tuple[FeedId, m.RequestMessage]] = []
        self.highest_id = 0
        self._feeds = {bytes(discovery_key_of(feed_id)): feed_id for feed_id in feed_ids}
        self._theirs: dict[int, FeedId] = {}
        self._secret = SecretStream(
            is_initiator=dialled,
            static=crypto.key_pair(crypto.random_bytes(32)),
            ephemeral=crypto.key_pair(crypto.random_bytes(32)),
            header=crypto.random_bytes(24),
            max_frame_bytes=2**24 - 1,
        )
        self.is_ready = trio.Event()
        self.is_over = False

    async def run(self) -> None:
        """Shakes hands, then listens until the end."""
        try:
            while True:
                early = self._secret.seal([])
                if early:
                    await self.stream.send_all(early)
                if self._secret.result is not None:
                    self.is_ready.set()
                data = await self.stream.receive_some(65536)
                if not data:
                    break
                for plain in self._secret.receive(data):
                    self._understand(bytes(plain))
        except (RemoteProtocolError, trio.BrokenResourceError):
            pass
        finally:
            self.is_over = True
            self.is_ready.set()
            self.stream.close()

    async def ready(self) -> None:
        """Returns when the handshake is over, or has failed."""
        await self.is_ready.wait()

    async def send(self, plain: bytes) -> None:
        """Sends a frame, as long as the connection is there."""
        await self.is_ready.wait()
        if self._secret.result is not None:
            await self.send_bytes(bytes(self._secret.seal([Frame([plain], len(plain))])))

    async def send_bytes(self, data: bytes) -> None:
        """Sends bytes as they are."""
        if not self.is_over:
            with trio.move_on_after(SEND_SECONDS):
                try:
                    await self.stream.send_all(data)
                except trio.BrokenResourceError:
                    self.is_over = True

    def open_of(
        self, feed_id: FeedId, channel: int, protocol: bytes = m.PROTOCOL, *, is_honest: bool = True
    ) -> bytes:
        """An open, with the capability if `is_honest`."""
        proof = bytes(32)
        if is_honest and self._secret.result is not None:
            proof = m.capability(
                self._secret.result.handshake_hash, feed_id, sent_by_initiator=self.is_initiator
            )
        self.ids[feed_id] = channel
        self.highest_id = max(self.highest_id, channel)
        body = encode_uint(channel) + encode_buffer(protocol)
        body += encode_buffer(discovery_key_of(feed_id))
        return body + m.encode_handshake(m.Handshake(False, proof))

    def _understand(self, plain: bytes) -> None:
        try:
            if plain[:2] != b"\0\0":
                channel, pos = decode_uint(plain, 0)
                self._understand_item(channel, plain[pos:])
                return
            channel, pos = decode_uint(plain, 2)
            while pos < len(plain):
                size, pos = decode_uint(plain, pos)
                if not size:
                    channel, pos = decode_uint(plain, pos)
                    continue
                self._understand_item(channel, plain[pos : pos + size])
                pos += size
        except DecodeError:  # a keepalive
            return

    def _understand_item(self, channel: int, data: bytes) -> None:
        message_type, pos = decode_uint(data, 0)
        if not channel and message_type == OPEN:
            remote_id, pos = decode_uint(data, pos)
            _, pos = decode_buffer(data, pos)
            key, pos = decode_buffer(data, pos)
            if key in self._feeds:
                self._theirs[remote_id] = self._feeds[key]
        elif channel in self._theirs and message_type == m.REQUEST:
            message = m.decode_request(data[pos:], padded_seeks=False)
            self.asked.append((self._theirs[channel], message))


class Forger:
    """The owner of a feed who signs heads of trees that were never made, but for one block."""

    def __init__(self, keys: crypto.KeyPair, depth: int, at: int, size: int, fork: int = 0) -> None:
        """`2 ** depth` blocks, of which the one at `at` exists; `size`: of every other subtree."""
        chance = random.Random(depth)
        self.length = 1 << depth
        self.block = at % self.length
        self.value = b"block %d of a forger\n" % self.block
        self.fork = fork
        node = leaf_node(self.block, self.value)
        self._path: list[TreeNode] = []
        for _ in range(depth):
            beside = TreeNode(
                TreeIndex(flat_tree.sibling(node.tree_index)), size, TreeHash(chance.randbytes(32))
            )
            self._path.append(beside)
            node = parent_node(*sorted((node, beside)))
        self._root = node
        self.head = sign_head([node], self.length, fork, keys.secret_key)
        assert public_key_of(FeedId(keys.public_key)) == keys.public_key

    def answer(self, message: m.RequestMessage) -> Proof:
        """What it can say to a request; it is not always an answer."""
        request = message.request
        block = upgrade = None
        if request.block is not None:
            levels = request.block.nodes if request.block.nodes else len(self._path)
            block = BlockProof(self.block, self.value, tuple(self._path[:levels]))
        if request.upgrade is not None:
            nodes = () if block is not None else (self._root,)
            upgrade = UpgradeProof(0, request.upgrade.length, nodes, (), self.head.signature)
        return Proof(self.fork, block, None, None, upgrade)
