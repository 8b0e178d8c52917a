"""Who begins to follow a feed that its Node owner has cut: it gets what is after the cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.feeds.ports import FeedState
from protozorfs.types import Address
from tests.node_peer import generated_block, node_reader, node_writer
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed
    from protozorfs.types import FeedId
    from tests.node_peer import NodeWriter

pytestmark = pytest.mark.interop

SEED = bytes(range(3, 35))
BLOCKS = 40
BLOCK_BYTES = 500
BEFORE = b"".join(generated_block(index, BLOCK_BYTES) for index in range(BLOCKS))


def cut(writer: NodeWriter, length: int, *lines: str) -> bytes:
    """Cuts the feed that the writer generated, and appends lines; returns what it is then."""
    writer.truncate(length)
    for line in lines:
        writer.append(line)
    return BEFORE[: length * BLOCK_BYTES] + "".join(lines).encode()


async def expect(feed: Feed, fork: int, data: bytes) -> None:
    """It has that history, all of it, and nothing else was ever seen of it."""
    assert await read_all(feed, len(data)) == data
    await until(lambda: feed.byte_length == feed.held_bytes == len(data))
    assert (feed.fork, feed.frozen_why) == (fork, "")


async def read_by_node(feed_id: FeedId, address: Address, length: int) -> tuple[int, bytes]:
    """The fork and the bytes that a Node reader gets that knows nobody but that peer."""

    def read() -> tuple[int, bytes]:
        with node_reader(feed_id, connect=[address], length=length) as reader:
            return reader.figures()["fork"], reader.received()

    return await trio.to_thread.run_sync(read)


def at(node: Node) -> Address:
    return Address(LOOPBACK, node.port)


@pytest.mark.parametrize("we_dial", [True, False])
async def test_it_is_followed_served_and_kept(tmp_path: Path, we_dial: bool) -> None:
    async with open_node(tmp_path / "relay", ALONE) as relay:
        connect = [] if we_dial else [at(relay)]
        with node_writer(SEED, connect=connect, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
            data = await trio.to_thread.run_sync(cut, writer, 25, "one", "two")
            if we_dial:
                assert writer.address is not None
                relay.swarm.connections.table.add_users(writer.address)
                relay.swarm.connections.table_changed()
            feed = await relay.feeds.follow(writer.feed_id, b"feed")
            await expect(feed, 1, data)
            async with node_at(tmp_path / "other", relay) as other:
                also = await other.feeds.follow(feed.feed_id, b"feed")
                await expect(also, 1, data)
                await trio.to_thread.run_sync(writer.append, "live")
                data += b"live"
                await expect(feed, 1, data)
                await expect(also, 1, data)
                assert feed.state is also.state is FeedState.CURRENT
        length = feed.length
        assert await read_by_node(feed.feed_id, at(relay), length) == (1, data)
    async with open_node(tmp_path / "relay", ALONE) as relay:
        kept = relay.feeds.by_name(b"feed")
        assert kept is not None
        await expect(kept, 1, data)
        assert await read_by_node(kept.feed_id, at(relay), length) == (1, data)
        async with node_at(tmp_path / "newcomer", relay) as newcomer:
            await expect(await newcomer.feeds.follow(kept.feed_id, b"feed"), 1, data)


async def test_who_followed_before_keeps_and_serves_what_was(tmp_path: Path) -> None:
    """One peer of each history: both are served, and neither is mixed with the other."""
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        with_owner = replace(ALONE, peers=(writer.address,))
        async with open_node(tmp_path / "old", with_owner) as old:
            before = await old.feeds.follow(writer.feed_id, b"feed")
            assert await read_all(before, len(BEFORE)) == BEFORE
            data = await trio.to_thread.run_sync(cut, writer, 10, "after")
            await until(lambda: before.state is FeedState.FROZEN)
            async with open_node(tmp_path / "new", with_owner) as new:
                after = await new.feeds.follow(writer.feed_id, b"feed")
                await expect(after, 1, data)
                new.swarm.connections.table.add_users(at(old))
                new.swarm.connections.table_changed()
                await until(lambda: before.peer_count == 2)
                await trio.to_thread.run_sync(writer.append, "live")
                await expect(after, 1, data + b"live")
                async with node_at(tmp_path / "third", old) as third:
                    await expect(await third.feeds.follow(writer.feed_id, b"feed"), 0, BEFORE)
            assert await read_by_node(before.feed_id, at(old), BLOCKS) == (0, BEFORE)
            assert await read_all(before, len(BEFORE)) == BEFORE
            assert before.frozen_why.startswith("its key signed a later history elsewhere (fork 1")
            await old.feeds.remove(b"feed")
            again = await old.feeds.follow(writer.feed_id, b"feed")
            await expect(again, 1, data + b"live")


async def test_cut_several_times_and_to_nothing(tmp_path: Path) -> None:
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        await trio.to_thread.run_sync(cut, writer, 25, "one")
        await trio.to_thread.run_sync(cut, writer, 0)
        async with open_node(tmp_path / "new", replace(ALONE, peers=(writer.address,))) as node:
            feed = await node.feeds.follow(writer.feed_id, b"feed")
            await until(lambda: feed.peer_count == 1)
            for line in ("first", "second"):
                await trio.to_thread.run_sync(writer.append, line)
            await expect(feed, 2, b"firstsecond")


async def test_a_node_relay_is_enough(tmp_path: Path) -> None:
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
        assert writer.address is not None
        data = await trio.to_thread.run_sync(cut, writer, 25, "one")
        reader = node_reader(
            writer.feed_id, connect=[writer.address], port=0, length=26, linger_ms=60_000
        )
        with reader as relay:
            assert relay.address is not None
            assert (await trio.to_thread.run_sync(relay.figures))["fork"] == 1
            options = replace(ALONE, peers=(relay.address,))
            async with open_node(tmp_path / "new", options) as node:
                await expect(await node.feeds.follow(writer.feed_id, b"feed"), 1, data)
