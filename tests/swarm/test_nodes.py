"""Nodes on loopback: owner, reader and relay."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from protozorfs.feeds.ports import FeedState
from protozorfs.types import Address
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path


def lines(count: int, seed: int = 1) -> list[bytes]:
    """Blocks of all sorts of sizes."""
    chance = random.Random(seed)
    return [chance.randbytes(chance.choice((0, 1, 20, 100, 5000, 65536))) for _ in range(count)]


async def test_a_feed_is_followed(tmp_path: Path) -> None:
    async with node_at(tmp_path / "a") as owner, node_at(tmp_path / "b", owner) as reader:
        feed = await owner.create(b"journal")
        blocks = lines(50)
        for block in blocks:
            await feed.append([block])
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        data = b"".join(blocks)
        assert await read_all(followed, len(data)) == data
        await until(lambda: followed.length == feed.length == 50)
        assert followed.state is FeedState.CURRENT
        assert feed.state is FeedState.OWNED


async def test_appends_arrive_while_both_run(tmp_path: Path) -> None:
    async with node_at(tmp_path / "a") as owner, node_at(tmp_path / "b", owner) as reader:
        feed = await owner.create(b"journal")
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        data = b""
        for number in range(30):
            data += b"line %d\n" % number
            await feed.append([b"line %d\n" % number])
            assert await read_all(followed, len(data)) == data
        assert [followed.log.block(i) for i in (0, 29)] == [b"line 0\n", b"line 29\n"]


async def test_who_follows_serves(tmp_path: Path) -> None:
    """The owner leaves; a reader that can only reach the relay still gets all."""
    blocks = lines(80, seed=2)
    data = b"".join(blocks)
    async with node_at(tmp_path / "relay") as relay:
        async with node_at(tmp_path / "owner", relay) as owner:
            feed = await owner.create(b"journal")
            await feed.append(blocks)
            followed = await relay.feeds.follow(feed.feed_id, b"relayed")
            await read_all(followed, len(data))
        async with node_at(tmp_path / "reader", relay) as reader:
            read = await reader.feeds.follow(feed.feed_id, b"read")
            assert await read_all(read, len(data)) == data


async def test_news_travels_through_a_relay(tmp_path: Path) -> None:
    async with (
        node_at(tmp_path / "owner") as owner,
        node_at(tmp_path / "relay", owner) as relay,
        node_at(tmp_path / "reader", relay) as reader,
    ):
        feed = await owner.create(b"journal")
        await relay.feeds.follow(feed.feed_id, b"relayed")
        read = await reader.feeds.follow(feed.feed_id, b"read")
        for number in range(20):
            await feed.append([b"%d\n" % number])
            size = feed.byte_length
            assert (await read_all(read, size)).endswith(b"\n%d\n" % number if number else b"0\n")


async def test_a_peer_is_dialled_again_after_it_was_away(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner:
        port = owner.port
        feed = await owner.create(b"journal")
        feed_id = feed.feed_id
        await feed.append([b"one\n"])
        async with node_at(tmp_path / "reader", owner) as reader:
            followed = await reader.feeds.follow(feed_id, b"paul")
            assert await read_all(followed, 4) == b"one\n"
            await trio.lowlevel.checkpoint()
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "reader", owner) as reader:
        assert owner.port == port, "the port is remembered in the store"
        again = owner.feeds.by_name(b"journal")
        assert again is not None
        await again.append([b"two\n"])
        followed_again = reader.feeds.by_name(b"paul")
        assert followed_again is not None
        assert await read_all(followed_again, 8) == b"one\ntwo\n"


async def test_two_peers_share_the_work(tmp_path: Path) -> None:
    blocks = [bytes([i % 256]) * 20_000 for i in range(200)]
    data = b"".join(blocks)
    async with (
        node_at(tmp_path / "owner") as owner,
        node_at(tmp_path / "second", owner) as second,
    ):
        feed = await owner.create(b"journal")
        await feed.append(blocks)
        followed = await second.feeds.follow(feed.feed_id, b"copy")
        await read_all(followed, len(data))
        async with node_at(tmp_path / "reader", owner, second) as reader:
            await until(lambda: len(list(reader.swarm.connections.table)) == 2)
            read = await reader.feeds.follow(feed.feed_id, b"read")
            assert await read_all(read, len(data)) == data
            assert read.peer_count == 2


async def test_a_visited_feed_fetches_only_what_is_read(tmp_path: Path) -> None:
    blocks = [bytes([i % 256]) * 10_000 for i in range(400)]
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as reader:
        feed = await owner.create(b"journal")
        await feed.append(blocks)
        visited = await reader.get(feed.feed_id)
        visited.acquire()
        await until(lambda: visited.length == 400)
        with trio.fail_after(10):
            await visited.reader.wait_bytes(3_999_000, 4_000_000)
        assert visited.reader.read_nowait(3_999_000, 1000) == blocks[-1][:1000]
        assert visited.held_bytes < 500_000
        visited.release()
    assert not list((tmp_path / "b" / "feeds").glob("*/*/data"))


async def test_random_bytes_of_a_sparse_feed(tmp_path: Path) -> None:
    chance = random.Random(5)
    blocks = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(600)]
    data = b"".join(blocks)
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as reader:
        feed = await owner.create(b"journal")
        await feed.append(blocks)
        visited = await reader.get(feed.feed_id)
        visited.acquire()
        await until(lambda: visited.length == 600)
        for _ in range(60):
            at = chance.randrange(len(data) - 10)
            with trio.fail_after(10):
                await visited.reader.wait_bytes(at, at + 10)
            assert visited.reader.read_nowait(at, 10) == data[at : at + 10]
        visited.release()


async def test_nothing_is_revealed_to_a_peer_that_dials(tmp_path: Path) -> None:
    """The listener shows only what the dialler has opened; the user's peer is shown all."""
    async with node_at(tmp_path / "a") as listener, node_at(tmp_path / "b", listener) as dialler:
        secret = await listener.create(b"secret")
        shown = await dialler.create(b"shown")
        await secret.append([b"x"])
        await shown.append([b"y"])
        both = await listener.feeds.follow(shown.feed_id, b"from-b")
        await read_all(both, 1)
        assert secret.peer_count == 0
        assert both.peer_count == 1


async def test_two_nodes_that_dial_each_other_are_connected_once(tmp_path: Path) -> None:
    async with node_at(tmp_path / "a") as first:
        port = first.port
    options = replace(ALONE, port=port)
    async with node_at(tmp_path / "b") as b, node_at(tmp_path / "a", b, options=options) as a:
        b.swarm.connections.table.add_users(Address(LOOPBACK, port))
        b.swarm.connections.table_changed()
        feed = await a.create(b"journal")
        await feed.append([b"x"])
        followed = await b.feeds.follow(feed.feed_id, b"f")
        await read_all(followed, 1)
        await until(lambda: all(peer.is_connected for peer in b.swarm.connections.table))
        await until(lambda: len(a.swarm.connections.entries) == 1)
        assert len(b.swarm.connections.entries) == 1
        await until(lambda: followed.peer_count == 1)


async def test_a_node_that_dials_itself_goes_on(tmp_path: Path) -> None:
    async with node_at(tmp_path / "a") as first:
        port = first.port
    options = replace(ALONE, peers=(Address(LOOPBACK, port),))
    async with node_at(tmp_path / "a", options=options) as node:
        assert node.port == port
        await until(lambda: any("itself" in peer.why for peer in node.swarm.connections.table))
        feed = await node.create(b"journal")
        await feed.append([b"x"])
        assert feed.peer_count == 0
