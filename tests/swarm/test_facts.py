"""What nodes tell of themselves, and readers of blocks whose position is not known."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.errors import BlockUnavailable
from protozorfs.feeds.facts import PeerState
from protozorfs.options import Options
from protozorfs.types import Address
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, until

if TYPE_CHECKING:
    from pathlib import Path

SPARSE = replace(ALONE, sparse=True)
COUNT = 2000  # blocks


async def test_facts_of_connected_nodes(tmp_path: Path) -> None:
    nowhere = Address(LOOPBACK, 9)
    async with node_at(tmp_path / "a") as owner:
        options = replace(ALONE, peers=(nowhere, Address(LOOPBACK, owner.port)))
        async with node_at(tmp_path / "b", options=options) as reader:
            feed = await owner.create(b"journal")
            await feed.append([b"hello\n"])
            followed = await reader.feeds.follow(feed.feed_id, b"paul")
            with trio.fail_after(30):
                await followed.reader.wait_length(0)
            facts = reader.feeds.node_facts()
            assert facts is not None
            assert facts.addresses == [f"{LOOPBACK}:{reader.port}"]
            assert (facts.dht, facts.lan) == (None, None)
            await until(lambda: _state(reader, nowhere) is PeerState.WAITING)
            assert _state(reader, Address(LOOPBACK, owner.port)) is PeerState.CONNECTED
            of_feed = reader.feeds.report(feed.feed_id)
            assert [(link.length, link.trouble) for link in of_feed.facts.links] == [(1, "")]
            assert {peer.address for peer in of_feed.facts.others} == {
                str(peer) for peer in options.peers
            }
            assert of_feed.facts.search is None
            theirs = owner.feeds.node_facts()
            assert theirs is not None
            assert [peer.state for peer in theirs.peers] == [PeerState.CONNECTED]
            assert theirs.reachability == f"locally: {LOOPBACK} has dialled this node"


def _state(node: object, address: Address) -> PeerState | None:
    facts = node.feeds.node_facts()  # type: ignore[attr-defined]
    return next((peer.state for peer in facts.peers if peer.address == str(address)), None)


async def test_facts_about_the_dht_and_the_lan(tmp_path: Path) -> None:
    options = Options(bind=LOOPBACK, noportmap=True, bootstrap=())
    async with node_at(tmp_path / "a", options=options) as node:
        feed = await node.create(b"journal")
        facts = node.feeds.node_facts()
        assert facts is not None
        assert facts.dht is not None
        assert facts.dht.nodes == {"IPv4": 0}
        assert facts.lan is not None
        search = node.feeds.report(feed.feed_id).facts.search
        assert search is not None
        assert not search.is_online


async def test_the_position_of_any_block_of_a_sparse_feed(tmp_path: Path) -> None:
    chance = random.Random(3)
    blocks = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(COUNT)]
    async with (
        node_at(tmp_path / "a") as owner,
        node_at(tmp_path / "b", owner, options=SPARSE) as reader,
    ):
        feed = await owner.create(b"journal")
        await feed.append(blocks)
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        with trio.fail_after(30):
            await followed.reader.wait_length(COUNT - 1)
            await until(lambda: followed.log.length == COUNT)
            assert followed.reader.block_start(COUNT // 2) is None
            for block in (COUNT // 2, 0, COUNT - 1, COUNT, *chance.sample(range(COUNT), 3)):
                await followed.reader.wait_block_start(block)
                assert followed.reader.block_start(block) == len(b"".join(blocks[:block]))
        assert followed.held_bytes < followed.byte_length / 2
        with trio.move_on_after(0.1) as future:
            await followed.reader.wait_block_start(COUNT + 2)
        assert future.cancelled_caught
        assert followed.waiting_count == 0


async def test_positions_are_not_fetched_where_nothing_is(tmp_path: Path) -> None:
    async with node_at(tmp_path / "a") as owner:
        feed = await owner.create(b"journal")
        await feed.append([b"one", b"two", b"three"])
        options = replace(SPARSE, local=True)
        async with node_at(tmp_path / "b", owner, options=options) as reader:
            followed = await reader.feeds.follow(feed.feed_id, b"paul")
            with trio.fail_after(30):
                await until(lambda: followed.log.length == 3)
                await followed.reader.wait_block_start(0)
                with pytest.raises(BlockUnavailable):
                    await followed.reader.wait_block_start(1)
