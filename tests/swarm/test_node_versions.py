"""Beside every version of Node's hypercore that is around: what it is told, and believes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.swarm.replicator import Replicator
from protozorfs.types import Address
from tests.node_peer import NEWEST, VERSIONS, generated_block, node_reader, node_writer
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed
    from protozorfs.swarm.link import Link

pytestmark = pytest.mark.interop

SEED = bytes(range(4, 36))
BLOCKS = 40
BLOCK_BYTES = 300
DATA = b"".join(generated_block(index, BLOCK_BYTES) for index in range(BLOCKS))
GET_SECONDS = 10.0
WHICH = pytest.mark.parametrize("version", VERSIONS)
# That know how much of a feed others hold.
WHICH_COUNT = pytest.mark.parametrize("version", [NEWEST, "11.37.1"])


def at(node: Node) -> Address:
    return Address(LOOPBACK, node.port)


def drop(node: Node, feed: Feed, start: int, end: int) -> None:
    """What a full cache does with blocks."""
    node.swarm.blocks_dropped(feed, start, end)
    feed.log.drop(start, end)


async def append(feed: Feed, start: int, end: int) -> None:
    await feed.append([generated_block(index, BLOCK_BYTES) for index in range(start, end)])
    await feed.sync()


@WHICH
async def test_it_reads_ours_live(tmp_path: Path, version: str) -> None:
    async with node_at(tmp_path / "owner") as owner:
        feed = await owner.create(b"feed")
        await append(feed, 0, BLOCKS - 1)
        with node_reader(
            feed.feed_id, connect=[at(owner)], length=BLOCKS, live=True, version=version
        ) as reader:
            await until(lambda: reader.received() == DATA[:-BLOCK_BYTES])
            await append(feed, BLOCKS - 1, BLOCKS)
            figures = await trio.to_thread.run_sync(reader.figures)
            assert (figures["blocks"], figures["invalid"]) == (BLOCKS, 0)
            assert reader.received() == DATA


@WHICH
async def test_it_serves_us_live(tmp_path: Path, version: str) -> None:
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, version=version) as writer:
        assert writer.address is not None
        async with open_node(tmp_path / "a", replace(ALONE, peers=(writer.address,))) as node:
            feed = await node.feeds.follow(writer.feed_id, b"feed")
            assert await read_all(feed, len(DATA)) == DATA
            await trio.to_thread.run_sync(writer.append, "live")
            assert await read_all(feed, len(DATA) + 4) == DATA + b"live"


@WHICH
async def test_it_gets_what_is_behind_dropped_blocks(tmp_path: Path, version: str) -> None:
    """It asks once on a connection what is here, at the start: later it knows what it is told."""
    sparse = replace(ALONE, sparse=True)
    async with (
        node_at(tmp_path / "owner") as owner,
        node_at(tmp_path / "b", owner, options=sparse) as relay,
    ):
        ours = await owner.create(b"feed")
        await append(ours, 0, BLOCKS)
        feed = await relay.feeds.follow(ours.feed_id, b"feed")
        assert await read_all(feed, len(DATA)) == DATA
        drop(relay, feed, 0, 30)
        with node_reader(feed.feed_id, connect=[at(relay)], gets=True, version=version) as reader:

            async def get(index: int) -> None:
                await trio.to_thread.run_sync(reader.get, index, GET_SECONDS)
                assert reader.received().endswith(generated_block(index, BLOCK_BYTES))

            await get(31)
            assert await read_all(feed, len(DATA)) == DATA
            await get(0)
            drop(relay, feed, 35, BLOCKS)
            drop(relay, feed, 20, 25)
            await get(30)
            drop(relay, feed, 10, 11)
            for index in (12, 26, 34, 9):
                await get(index)
            drop(relay, feed, 0, 5)
            for index in (5, 19, 29):
                await get(index)


@WHICH
async def test_it_goes_on_when_blocks_are_dropped_that_it_has_just_asked_for(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come again from the owner, and are told again."""
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as relay:
        ours = await owner.create(b"feed")
        await append(ours, 0, BLOCKS)
        feed = await relay.feeds.follow(ours.feed_id, b"feed")
        assert await read_all(feed, len(DATA)) == DATA
        dropped: set[int] = set()
        serve = Replicator.serve

        def drop_and_serve(replicator: Replicator, link: Link) -> None:
            if replicator.feed is feed:
                for message in list(link.replica.to_serve.values()):
                    block = message.request.block
                    if block is not None and block.block_index not in dropped:
                        dropped.add(block.block_index)
                        drop(relay, feed, block.block_index, block.block_index + 1)
            serve(replicator, link)

        monkeypatch.setattr(Replicator, "serve", drop_and_serve)
        with node_reader(
            ours.feed_id, connect=[at(relay)], timeout_seconds=GET_SECONDS, version=version
        ) as reader:
            await trio.to_thread.run_sync(reader.figures)
            assert reader.received() == DATA
        assert len(dropped) == BLOCKS


@WHICH_COUNT
async def test_its_owner_is_told_that_we_hold_everything(tmp_path: Path, version: str) -> None:
    """Of a feed that grows, and after a restart; with a block missing it is told up to there."""
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, version=version) as writer:
        assert writer.address is not None
        options = replace(ALONE, peers=(writer.address,))
        async with open_node(tmp_path / "a", options) as node:
            feed = await node.feeds.follow(writer.feed_id, b"feed")
            await trio.to_thread.run_sync(writer.wait_others_hold, BLOCKS)
            assert await read_all(feed, len(DATA)) == DATA
            for length in (BLOCKS + 1, BLOCKS + 2):
                await trio.to_thread.run_sync(writer.append, "live")
                await trio.to_thread.run_sync(writer.wait_others_hold, length)
    async with open_node(tmp_path / "a", ALONE) as node:
        with node_writer(
            SEED, connect=[at(node)], blocks=BLOCKS, block_bytes=BLOCK_BYTES, version=version
        ) as writer:
            await trio.to_thread.run_sync(writer.wait_others_hold, BLOCKS)
    async with open_node(tmp_path / "a", replace(ALONE, sparse=True)) as node:
        kept = node.feeds.by_name(b"feed")
        assert kept is not None
        drop(node, kept, 7, 8)
        with node_writer(
            SEED, connect=[at(node)], blocks=BLOCKS, block_bytes=BLOCK_BYTES, version=version
        ) as writer:
            await trio.to_thread.run_sync(writer.wait_others_hold, 7)


@WHICH_COUNT
@pytest.mark.parametrize("through_relay", [False, True])
async def test_its_reader_is_told_that_we_hold_everything(
    tmp_path: Path, version: str, through_relay: bool
) -> None:
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as relay:
        feed = await owner.create(b"feed")
        await append(feed, 0, BLOCKS - 2)
        await relay.feeds.follow(feed.feed_id, b"feed")
        known = relay if through_relay else owner
        with node_reader(feed.feed_id, connect=[at(known)], gets=True, version=version) as reader:
            for length in range(BLOCKS - 2, BLOCKS + 1):
                if feed.length < length:
                    await append(feed, length - 1, length)
                figures = await trio.to_thread.run_sync(reader.get, length - 1)
                with trio.fail_after(GET_SECONDS):
                    while figures["remoteContiguousLength"] != length:
                        figures = await trio.to_thread.run_sync(reader.get, length - 1)
