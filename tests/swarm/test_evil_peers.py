"""Node peers that misbehave: nothing wrong is taken from them, and a good peer still gives all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.feeds.ports import FeedState
from protozorfs.ids import discovery_key_of
from tests.node_peer import generated_block, node_reader, node_writer
from tests.swarm.nodes import ALONE, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

SEED = bytes(range(32))
BLOCKS = 40
BLOCK_BYTES = 500
DATA = b"".join(generated_block(index, BLOCK_BYTES) for index in range(BLOCKS))

INVALID = ["flip-block", "bad-signature", "bad-node", "bad-size", "drop-node", "wrong-index"]
UNHELPFUL = ["huge-block", "fake-length", "fake-fork", "silent", "no-data", "bad-capability"]


@pytest.mark.parametrize("evil", INVALID + UNHELPFUL)
async def test_beside_a_good_peer_all_arrives_right(tmp_path: Path, evil: str) -> None:
    with (
        node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, evil=evil) as bad,
        node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as good,
    ):
        assert bad.address is not None
        assert good.address is not None
        options = replace(ALONE, peers=(bad.address, good.address))
        async with open_node(tmp_path / "store", options) as node:
            feed = await node.feeds.follow(good.feed_id, b"feed")
            assert await read_all(feed, len(DATA)) == DATA
            assert feed.length == BLOCKS
            assert feed.fork == 0
            assert feed.frozen_why == "", "claims of what nobody signed count for nothing"


@pytest.mark.parametrize("good_first", [True, False])
async def test_beside_a_signed_later_fork_one_history_arrives_whole(
    tmp_path: Path, good_first: bool
) -> None:
    """Both are the feed's key's: what is begun is kept to, and a later one is evidence."""
    cut = BLOCKS // 2
    other_block = bytes((byte + 77) & 255 for byte in generated_block(cut, BLOCK_BYTES))
    histories = {0: DATA, 1: DATA[: cut * BLOCK_BYTES] + other_block}
    with (
        node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, evil="fork") as later,
        node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES) as good,
    ):
        assert later.address is not None
        assert good.address is not None
        peers = (good.address, later.address) if good_first else (later.address, good.address)
        async with open_node(tmp_path / "store", replace(ALONE, peers=peers)) as node:
            feed = await node.feeds.follow(good.feed_id, b"feed")
            await until(lambda: feed.length > 0)
            begun = feed.fork
            assert await read_all(feed, len(histories[begun])) == histories[begun]
            expected = FeedState.FROZEN if begun == 0 else FeedState.CURRENT
            await until(lambda: feed.state is expected)
            assert (feed.fork, feed.byte_length) == (begun, len(histories[begun]))


@pytest.mark.parametrize("evil", INVALID)
async def test_alone_it_is_asked_less_and_less_and_stays_connected(
    tmp_path: Path, evil: str
) -> None:
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, evil=evil) as bad:
        assert bad.address is not None
        options = replace(ALONE, peers=(bad.address,))
        async with open_node(tmp_path / "store", options) as node:
            feed = await node.feeds.follow(bad.feed_id, b"feed")
            (peer,) = node.swarm.connections.table
            replicator = node.swarm.replicator_for(discovery_key_of(feed.feed_id))
            assert replicator is not None
            await until(lambda: len(replicator.trusts) > 0)
            await until(lambda: not feed.wants.asked)
            (link,) = replicator.links.values()
            assert link.trust.error is not None
            assert peer.is_connected
            assert not peer.bans
            held = feed.reader.read_nowait(0, len(DATA))
            assert DATA.startswith(held)


async def test_two_signed_histories_freeze_the_feed(tmp_path: Path) -> None:
    """The key holder signed another last block; both peers serve blocks that verify alone."""
    with node_writer(SEED, blocks=BLOCKS, block_bytes=BLOCK_BYTES, evil="equivocate") as peer:
        assert peer.address is not None
        # The peer shows its first connection one history and its second the other.
        first = replace(ALONE, peers=(peer.address,))
        async with open_node(tmp_path / "store", first) as node:
            feed = await node.feeds.follow(peer.feed_id, b"feed")
            held = await read_all(feed, len(DATA))
        async with open_node(tmp_path / "store", first) as node:
            again = node.feeds.by_name(b"feed")
            assert again is not None
            await until(lambda: again.peer_count == 1)
            # Nobody compares heads of equal length: the next append of one history shows it.
            peer.append("more")
            await until(lambda: again.state is FeedState.FROZEN)
            assert again.reader.read_nowait(0, len(DATA)) == held
        async with open_node(tmp_path / "store", ALONE) as node:
            kept = node.feeds.by_name(b"feed")
            assert kept is not None
            assert kept.length == BLOCKS
            assert kept.state is FeedState.FROZEN


async def test_a_node_reader_of_our_feed_finds_it_right(tmp_path: Path) -> None:
    async with open_node(tmp_path / "store", ALONE) as node:
        feed = await node.create(b"ours")
        blocks = [b"line %d\n" % number for number in range(200)]
        for block in blocks:
            await feed.append([block])
        address = node.swarm.connections.addresses[0]

        def read() -> tuple[bytes, list[int]]:
            with node_reader(feed.feed_id, connect=[address], length=len(blocks)) as reader:
                figures = reader.figures()
                return reader.received(), figures["sizes"]

        received, sizes = await trio.to_thread.run_sync(read)
        assert received == b"".join(blocks)
        assert sizes == [len(block) for block in blocks]
