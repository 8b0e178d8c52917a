"""A peer that sends anything at all to a whole node, beside an honest one: nobody else is harmed.

All of it is in memory and on virtual time. What is raised where nobody expects it ends at a
`boundary.Boundary`, which logs it: so no such line may be logged here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protozorfs import crypto
from protozorfs.compact import encode_uint
from protozorfs.errors import BlockUnavailable, InvalidRequest, StoreError
from protozorfs.log.proof_types import Request, UpgradeRequest
from protozorfs.options import Options
from protozorfs.swarm.replicator import MAX_QUEUED_BYTES
from protozorfs.types import Address, FeedId
from protozorfs.wire import messages as m
from protozorfs.wire.replication import (
    CONFLICT_ID,
    MAX_REMOTE_REQUESTS,
    MAX_REMOTE_SEGMENTS,
    MAX_REMOTE_WANTS,
)
from tests.sizes import long_or_short
from tests.unit.swarm.hostile import OPEN, Forger, Hostile, batch, item
from tests.unit.swarm.hostile_moves import (
    Answer,
    Control,
    Forge,
    Move,
    Open,
    Raw,
    Reconnect,
    Send,
    User,
    Wait,
    moves,
)
from tests.unit.swarm.memory_net import PORT, MemoryNet, in_memory, memory_node
from tests.unit.swarm.watching import FAST_DIRECTORY, no_bugs

if TYPE_CHECKING:
    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed

US, HONEST, EVIL = "10.0.0.1", "10.0.0.2", "10.0.0.3"
EVIL_KEYS = crypto.key_pair(b"\x66" * 32)
STRANGER = FeedId(crypto.key_pair(b"\x67" * 32).public_key)
CACHE_BYTES = 256 * 1024
BLOCK = 3000
SETTLE_SECONDS = 900.0  # of virtual time, until all has arrived after what the hostile peer did
PATIENCE_SECONDS = 2.0  # of a reader
MAX_WANTED_WINDOWS = 1024  # about as many as readers of one feed can be at


class World:
    """Our node, an honest one, and the hostile peer, which knows all feeds.

    0 is the honest one's and followed by us, 1 ours and followed by the honest one, 2 the hostile
    peer's own and followed by us, 3 the honest one's and followed at times.
    """

    def __init__(
        self,
        net: MemoryNet,
        nursery: trio.Nursery,
        nodes: tuple[Node, Node],
        owned: list[Feed | None],
        feed_ids: list[FeedId],
        followed: tuple[Feed, Feed, Feed],
    ) -> None:
        self.net = net
        self.nursery = nursery
        self.ours, self.honest = nodes
        self.owned = owned
        self.contents = [bytearray() for _ in owned]
        self.feed_ids = feed_ids
        self.feeds = [followed[0], owned[1], followed[1], None]
        self.following = followed[2]
        self.hostile = self.connect(None)
        self.forger: Forger | None = None
        nursery.start_soon(self._accept, net.listen(EVIL))

    @classmethod
    async def make(cls, net: MemoryNet, nursery: trio.Nursery, ours: Node, honest: Node) -> World:
        """Makes and follows the feeds."""
        theirs, own = await honest.create(b"theirs"), await ours.create(b"ours")
        more = await honest.create(b"more")
        evil = FeedId(EVIL_KEYS.public_key)
        followed = (
            await ours.feeds.follow(theirs.feed_id, b"0"),
            await ours.feeds.follow(evil, b"2"),
            await honest.feeds.follow(own.feed_id, b"1"),
        )
        ids = [theirs.feed_id, own.feed_id, evil, more.feed_id]
        return cls(net, nursery, (ours, honest), [theirs, own, None, more], ids, followed)

    def connect(self, before: bytes | None) -> Hostile:
        """A new connection of the hostile peer's."""
        hostile = Hostile(self.net.dial(US, EVIL), self.feed_ids, dialled=True)
        self.nursery.start_soon(hostile.run)
        return hostile

    async def _accept(self, listener: object) -> None:
        while True:
            stream = await listener.accept()  # type: ignore[attr-defined]
            self.hostile = Hostile(stream, self.feed_ids, dialled=False)
            self.nursery.start_soon(self.hostile.run)

    async def append(self, feed: int, size: int) -> None:
        owned = self.owned[feed]
        assert owned is not None
        data = bytes([size & 255]) * (1 + size % BLOCK)
        self.contents[feed] += data
        await owned.append([data])

    # what the hostile peer does

    async def move(self, move: Move) -> None:
        hostile = self.hostile
        match move:
            case Send():
                await self._send(hostile, move)
            case Open():
                await hostile.ready()
                channel = max(0, hostile.highest_id + 1 + move.step)
                feed_id = self.feed_ids[move.feed]
                body = hostile.open_of(feed_id, channel, move.protocol, is_honest=move.is_honest)
                await hostile.send(item(0, OPEN, body + move.more))
            case Control():
                known = hostile.ids.get(self.feed_ids[move.feed], 1)
                channel = known if move.channel is None else move.channel
                await hostile.send(item(0, move.type, encode_uint(channel)))
            case Answer():
                await self._answer(hostile, move)
            case Forge():
                await self._forge(hostile, move)
            case Raw():
                await (hostile.send if move.is_frame else hostile.send_bytes)(move.data)
            case Reconnect():
                self.hostile = self.connect(move.before)
                if move.before is not None:
                    await self.hostile.send_bytes(move.before)
            case User():
                await self._use(move)
            case Wait():
                await trio.sleep(move.seconds)
            case _:
                assert_never(move)

    async def _send(self, hostile: Hostile, move: Send) -> None:
        channel = move.channel
        if channel is None:
            channel = await self.channel_of(hostile, move.feed)
        if move.is_batch:
            await hostile.send(batch(channel, list(move.messages)))
            return
        for message in move.messages:
            await hostile.send(item(channel, *message))

    async def channel_of(self, hostile: Hostile, feed: int) -> int:
        """The channel of a feed, opened now if it never was."""
        feed_id = self.feed_ids[feed]
        if feed_id not in hostile.ids:
            await hostile.ready()
            body = hostile.open_of(feed_id, hostile.highest_id + 1)
            await hostile.send(item(0, OPEN, body))
            await trio.sleep(0.01)
        return hostile.ids[feed_id]

    async def _answer(self, hostile: Hostile, move: Answer) -> None:
        asked, hostile.asked[:] = hostile.asked[: move.most], hostile.asked[move.most :]
        for feed_id, message in asked:
            feed = self.feed_ids.index(feed_id)
            owned = self.owned[feed if move.from_feed is None else move.from_feed]
            request = message.request
            if move.is_history:
                length = request.upgrade.length if request.upgrade is not None else 1
                request = Request(upgrade=UpgradeRequest(0, length))
            if owned is None:
                if self.forger is None:
                    continue
                proof = self.forger.answer(message)
            else:
                try:
                    proof = owned.log.proof(request)
                except (BlockUnavailable, InvalidRequest):
                    continue
            try:
                body = m.encode_data(m.Data(CONFLICT_ID if move.is_history else message.id, proof))
            except ValueError:  # of sizes whose sum has no encoding
                continue
            if move.flip is not None:
                changed = bytearray(body)
                changed[move.flip % len(body)] ^= 1 << (move.flip >> 8 & 7)
                body = bytes(changed)
            channel = await self.channel_of(hostile, feed)
            await hostile.send(item(channel, m.DATA, body))

    async def _forge(self, hostile: Hostile, move: Forge) -> None:
        forger = self.forger = Forger(EVIL_KEYS, move.depth, move.at, move.size, move.fork)
        channel = await self.channel_of(hostile, 2)
        known = self.feeds[2]
        assert known is not None
        length = min(forger.length, 2**52)
        claims = [
            (m.SYNC, m.encode_sync(m.Sync(move.fork, length, known.length, True, True, True))),
            (m.RANGE, m.encode_range(m.Range(False, forger.block, 1))),
        ]
        await hostile.send(batch(channel, claims))
        await trio.sleep(0.1)
        for _ in range(3):
            await self._answer(hostile, Answer(30, None, None, False))
            await trio.sleep(0.1)

    # what the user does

    async def _use(self, move: User) -> None:
        feeds = self.ours.feeds
        match move.what:
            case "append":
                await self.append(1, move.number)
            case "append_elsewhere":
                await self.append(3 if move.number & 1 else 0, move.number)
            case "read":
                feed = self.feeds[move.number % 3]
                assert feed is not None
                await self._read(feed, move.number // 4 * 512)
            case "follow" if self.feeds[3] is None:
                self.feeds[3] = await feeds.follow(self.feed_ids[3], b"3")
            case "remove" if self.feeds[3] is not None:
                await feeds.remove(b"3")
                self.feeds[3] = None
            case "visit":
                visited = await feeds.visit(STRANGER if move.number & 1 else self.feed_ids[3])
                visited.acquire()
                await self._read(visited, 0)
                visited.release()
            case "leave":
                await trio.sleep(700.0 if move.number % 8 == 0 else 1.0)

    async def _read(self, feed: Feed, offset: int) -> None:
        """Reads one piece, and checks that it is right if it comes."""
        feed.acquire()
        try:
            with trio.move_on_after(PATIENCE_SECONDS):
                at = offset % max(1, feed.byte_length)
                end = min(at + 4096, feed.byte_length)
                if at < end:
                    await feed.reader.wait_bytes(at, end)
                    self.check(feed, at, feed.reader.read_nowait(at, end - at))
        except StoreError:  # larger than what cache_size has room for
            assert feed is self.feeds[2], "only what a peer signed itself can be that large"
        finally:
            feed.release()

    def check(self, feed: Feed, at: int, data: bytes) -> None:
        """What is shown is what its owner wrote."""
        if feed.feed_id in self.feed_ids and feed.feed_id != self.feed_ids[2]:
            content = self.contents[self.feed_ids.index(feed.feed_id)]
            assert content[at : at + len(data)] == data

    def check_limits(self) -> None:
        """What the hostile peer can make grow."""
        for session in self.ours.swarm.connections.entries:
            assert session.connection.queued_bytes <= MAX_QUEUED_BYTES + 17 * 1024 * 1024
            for replica, _ in session._replicas.values():
                assert len(replica.to_serve) <= MAX_REMOTE_REQUESTS
                assert replica.remote_held.segments <= MAX_REMOTE_SEGMENTS
                assert len(replica.to_tell) <= MAX_REMOTE_WANTS
                assert len(replica.wanted_windows) <= MAX_WANTED_WINDOWS
        for feed in self.ours.feeds:
            assert self.ours.feeds.report(feed.feed_id).why
        assert self.ours.feeds.node_facts() is not None

    async def settle(self) -> None:
        """The hostile peer has gone: everything that honest people wrote arrives."""
        self.hostile.stream.close()
        del self.net.listeners[Address(EVIL, PORT)]
        followed = {0: self.feeds[0], 1: self.following, 3: self.feeds[3]}
        with trio.fail_after(SETTLE_SECONDS):
            for number, feed in followed.items():
                if feed is not None:
                    await self._compare(feed, self.contents[number])

    async def _compare(self, feed: Feed, content: bytearray) -> None:
        feed.acquire()
        while feed.byte_length < len(content):
            await feed.reader.wait_length(feed.length)
        assert feed.byte_length == len(content)
        for at in range(0, len(content), 16384):
            end = min(at + 16384, len(content))
            await feed.reader.wait_bytes(at, end)
            assert feed.reader.read_nowait(at, end - at) == content[at:end]
        feed.release()


async def play(
    net: MemoryNet, path: Path, chosen: list[Move], options: Options, blocks: int
) -> None:
    evil, us = Address(EVIL, PORT), Address(US, PORT)
    async with (
        memory_node(net, path / "ours", US, (evil,), options) as ours,
        memory_node(net, path / "honest", HONEST, (us,)) as honest,
        trio.open_nursery() as nursery,
    ):
        world = await World.make(net, nursery, ours, honest)
        for number in range(blocks):
            await world.append(0, number * 37)
            await world.append(1, number * 91)
        for move in chosen:
            await world.move(move)
            await trio.sleep(0.01)
            world.check_limits()
        await world.settle()
        nursery.cancel_scope.cancel()


@given(
    st.lists(moves, min_size=1, max_size=long_or_short(60, 25)),
    st.sampled_from([None, CACHE_BYTES]),
    st.booleans(),
    st.sampled_from([3, 20, 70]),
)
@settings(
    max_examples=long_or_short(3000, 40),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_a_peer_sends_nobody_else_is_harmed(
    chosen: list[Move], cache_size: int | None, is_sparse: bool, blocks: int
) -> None:
    net = MemoryNet()
    with (
        tempfile.TemporaryDirectory(dir=FAST_DIRECTORY) as name,
        no_bugs(),
        in_memory(net, CACHE_BYTES),
    ):
        options = Options(cache_size=cache_size, sparse=is_sparse)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(play, net, Path(name), chosen, options, blocks, clock=clock)
