"""A Node owner cuts its feed: what is here stays, is served, and the later fork is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.errors import NotWritable
from protozorfs.feeds.ports import FeedState
from protozorfs.types import Address
from tests.node_peer import generated_block, node_reader, node_writer
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed

pytestmark = pytest.mark.interop

SEED = bytes(range(2, 34))
BLOCKS = 40
BLOCK_BYTES = 500
DATA = b"".join(generated_block(index, BLOCK_BYTES) for index in range(BLOCKS))


def later(fork: int, length: int) -> str:
    return (
        f"its key signed a later history elsewhere (fork {fork}, length {length}),"
        " which is not followed"
    )


def why(node: Node, feed: Feed) -> str:
    return node.feeds.report(feed.feed_id).why


async def read_by_node(feed: Feed, node: Node) -> bytes:
    """What a Node reader gets that knows nobody but this node."""

    def read() -> bytes:
        address = Address(LOOPBACK, node.port)
        with node_reader(feed.feed_id, connect=[address], length=BLOCKS) as reader:
            assert reader.figures().get("fork") == 0
            return reader.received()

    return await trio.to_thread.run_sync(read)


@pytest.mark.parametrize("we_dial", [True, False])
async def test_a_follower_keeps_what_was_here_and_says_so(tmp_path: Path, we_dial: bool) -> None:
    async with open_node(tmp_path / "relay", ALONE) as relay:
        address = Address(LOOPBACK, relay.port)
        connect = [] if we_dial else [address]
        with node_writer(SEED, connect=connect, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as writer:
            feed = await relay.feeds.follow(writer.feed_id, b"feed")
            if we_dial:
                assert writer.address is not None
                relay.swarm.connections.table.add_users(writer.address)
                relay.swarm.connections.table_changed()
            assert await read_all(feed, len(DATA)) == DATA
            await trio.to_thread.run_sync(writer.truncate, BLOCKS // 2)
            await until(lambda: feed.state is FeedState.FROZEN)
            assert feed.frozen_why == later(1, BLOCKS // 2)
            await trio.to_thread.run_sync(writer.append, "instead")
            await trio.to_thread.run_sync(writer.truncate, 3)
            assert (feed.fork, feed.length) == (0, BLOCKS)
            async with node_at(tmp_path / "other", relay) as other:
                also = await other.feeds.follow(feed.feed_id, b"feed")
                assert await read_all(also, len(DATA)) == DATA
            assert await read_by_node(feed, relay) == DATA
            assert feed.frozen_why == later(1, BLOCKS // 2), "the first evidence is kept"
    async with open_node(tmp_path / "relay", ALONE) as relay:
        kept = relay.feeds.by_name(b"feed")
        assert kept is not None
        assert kept.state is FeedState.FROZEN
        assert why(relay, kept) == (
            f"nobody waits: all {BLOCKS} blocks are here; {later(1, BLOCKS // 2)}"
        )
        assert await read_all(kept, len(DATA)) == DATA


async def test_an_owner_whose_key_signed_elsewhere_appends_no_more(tmp_path: Path) -> None:
    """Another program with the same key had cut the feed: known before the first append."""
    async with open_node(tmp_path / "store", ALONE) as node:
        feed = await node.create(b"ours")
        await feed.append([b"one\n"])
        await feed.sync()
        keys = feed.log.key_pair
        assert keys is not None
    with node_writer(keys.seed, blocks=BLOCKS, block_bytes=BLOCK_BYTES, evil="fork") as writer:
        assert writer.feed_id == feed.feed_id
        assert writer.address is not None
        async with open_node(tmp_path / "store", replace(ALONE, peers=(writer.address,))) as node:
            found = node.feeds.by_name(b"ours")
            assert found is not None
            await until(lambda: bool(node.swarm.connections.entries))
            with pytest.raises(NotWritable, match="a later history elsewhere"):
                await found.append([b"two\n"])
            assert found.state is FeedState.FROZEN
            refusal = f"the feed is frozen, since {later(1, BLOCKS // 2 + 1)}"
            assert why(node, found) == f"appends are refused: {refusal}"
    async with open_node(tmp_path / "store", ALONE) as node:
        found = node.feeds.by_name(b"ours")
        assert found is not None
        with pytest.raises(NotWritable, match="a later history elsewhere"):
            await found.append([b"two\n"])
        assert found.length == 1
