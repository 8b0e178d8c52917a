"""Bytes on disk that are not what was written: fetched again, and what was refused is explained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.errors import NoSuchFeed, NotWritable, StoreError
from protozorfs.feeds.ports import FeedState
from protozorfs.ids import discovery_key_of
from tests.swarm.nodes import ALONE, node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path

    from protozorfs.log.proof_types import Proof, Request

BLOCKS = [bytes([number]) * 5000 for number in range(40)]
DATA = b"".join(BLOCKS)


async def test_a_followed_feed_whose_file_was_cut_fetches_the_rest_again(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as reader:
        feed = await owner.create(b"journal")
        await feed.append(BLOCKS)
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        assert await read_all(followed, len(DATA)) == DATA
        path = tmp_path / "b" / followed.log.directory.path / "data"
        with path.open("r+b") as file:
            file.truncate(60_000)
        assert followed.reader.read_nowait(100_000, 10) == b""
        assert followed.held_bytes == 60_000, "all that was cut off is not here any more"
        assert await read_all(followed, len(DATA)) == DATA


@pytest.mark.parametrize("is_read_here", [True, False])
async def test_peers_are_told_what_was_found_damaged_and_get_it_when_it_is_here_again(
    tmp_path: Path, is_read_here: bool
) -> None:
    """By a reader here, or by the request of a peer."""
    sparse = replace(ALONE, sparse=True)
    async with (
        node_at(tmp_path / "b") as relay,
        node_at(tmp_path / "c", relay, options=sparse) as reader,
        trio.open_nursery() as nursery,
    ):
        async with node_at(tmp_path / "owner", relay) as owner:
            feed = await owner.create(b"journal")
            await feed.append(BLOCKS)
            await feed.sync()
            followed = await relay.feeds.follow(feed.feed_id, b"paul")
            other = await reader.feeds.follow(feed.feed_id, b"paul")
            assert await read_all(followed, len(DATA)) == DATA
        await until(lambda: other.length == len(BLOCKS))
        path = tmp_path / "b" / followed.log.directory.path / "data"
        with path.open("r+b") as file:
            file.truncate(120_000)
        if is_read_here:
            assert followed.reader.read_nowait(150_000, 10) == b""
        else:
            nursery.start_soon(other.reader.wait_bytes, 150_000, 150_010)
        replicator = reader.swarm.replicator_for(discovery_key_of(feed.feed_id))
        assert replicator is not None
        (replica,) = replicator.links
        found = range(30, 40) if is_read_here else range(30, 31)
        await until(lambda: not any(replica.remote_has(index) for index in found))
        await until(lambda: not other.wants.asked)
        assert replica.refusals == 0
        async with node_at(tmp_path / "owner", relay):
            assert await read_all(other, len(DATA)) == DATA


async def test_an_owner_that_a_request_shows_its_damage_gets_the_block_back_and_gives_it(
    tmp_path: Path,
) -> None:
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as follower:
        feed = await owner.create(b"journal")
        await feed.append(BLOCKS)
        await feed.sync()
        copy = await follower.feeds.follow(feed.feed_id, b"copy")
        assert await read_all(copy, len(DATA)) == DATA
        path = tmp_path / "owner" / feed.log.directory.path / "data"
        with path.open("r+b") as file:
            file.truncate(len(DATA) - 5000)
        async with node_at(tmp_path / "c", owner) as other:
            late = await other.feeds.follow(feed.feed_id, b"copy")
            assert await read_all(late, len(DATA)) == DATA
        assert feed.state is FeedState.OWNED
        assert feed.reader.read_nowait(0, len(DATA)) == DATA
        await feed.append([b"more"])


async def test_an_owned_feed_is_whole_again_when_a_follower_has_brought_back_what_was_lost(
    tmp_path: Path,
) -> None:
    async with node_at(tmp_path / "follower") as follower:
        async with node_at(tmp_path / "owner", follower) as owner:
            feed = await owner.create(b"journal")
            await feed.append(BLOCKS)
            await feed.sync()
            copy = await follower.feeds.follow(feed.feed_id, b"copy")
            assert await read_all(copy, len(DATA)) == DATA
            path = tmp_path / "owner" / feed.log.directory.path
        with (path / "data").open("r+b") as file:
            file.seek(70_000)
            file.write(b"not what was written")
        (path / "clean").unlink()
        async with open_node(tmp_path / "owner", ALONE) as owner:
            damaged = owner.feeds.by_name(b"journal")
            assert damaged is not None
            await until(lambda: damaged.state is FeedState.DAMAGED)  # it is checked behind that
            with pytest.raises(NotWritable, match="damaged"):
                await damaged.append([b"more"])
            report = owner.feeds.report(damaged.feed_id)
            assert "appends are refused: blocks of it are damaged" in report.why
        async with node_at(tmp_path / "owner", follower) as owner:
            mended = owner.feeds.by_name(b"journal")
            assert mended is not None
            await until(lambda: mended.state is FeedState.OWNED)
            assert mended.reader.read_nowait(0, len(DATA)) == DATA
            await mended.append([b"more"])
            assert owner.feeds.report(mended.feed_id).why.startswith("nobody waits")


async def test_what_a_scrub_finds_damaged_is_fetched_again(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner:
        feed = await owner.create(b"journal")
        await feed.append(BLOCKS)
        await feed.sync()
        async with node_at(tmp_path / "b", owner) as reader:
            followed = await reader.feeds.follow(feed.feed_id, b"paul")
            assert await read_all(followed, len(DATA)) == DATA
            path = tmp_path / "b" / followed.log.directory.path / "data"
        with path.open("r+b") as file:
            file.seek(150_000)
            file.write(bytes([DATA[150_000] ^ 1]))
        async with node_at(tmp_path / "b", owner, options=replace(ALONE, scrub=2**30)) as reader:
            scrubbed = reader.feeds.by_name(b"paul")
            assert scrubbed is not None

            def has_ended() -> bool:
                facts = reader.feeds.scrub_facts()
                return facts is not None and facts.last is not None

            await until(has_ended)
            await until(lambda: scrubbed.held_bytes == len(DATA))
            facts = reader.feeds.scrub_facts()
            assert facts is not None
            assert facts.last is not None
            assert facts.last.damaged_blocks == 1
        assert path.read_bytes() == DATA


async def test_a_bad_block_costs_its_sender_no_other_feed(tmp_path: Path) -> None:
    """As of a peer that does not check what it serves: its disk gives another byte."""
    async with node_at(tmp_path / "owner") as owner:
        rotten, sound = await owner.create(b"rotten"), await owner.create(b"sound")
        for feed in (rotten, sound):
            await feed.append(BLOCKS)
            await feed.sync()
        proof = rotten.proof

        def rot(request: Request) -> Proof:
            given = proof(request)
            if given.block is None or given.block.block_index != 7:
                return given
            return given._replace(block=given.block._replace(value=bytes(5000)))

        rotten.proof = rot  # type: ignore[method-assign]
        async with node_at(tmp_path / "b", owner) as reader:
            first = await reader.feeds.follow(rotten.feed_id, b"first")
            await until(lambda: first.held_bytes == len(DATA) - 5000)
            assert first.length == len(BLOCKS)
            (session,) = reader.swarm.connections.entries
            second = await reader.feeds.follow(sound.feed_id, b"second")
            assert await read_all(second, len(DATA)) == DATA
            await sound.append([b"more"])
            await until(lambda: second.length == len(BLOCKS) + 1)
            assert list(reader.swarm.connections.entries) == [session]
            assert not any(peer.bans for peer in reader.swarm.connections.table)


async def test_a_removed_feed_is_not_made_again(tmp_path: Path) -> None:
    async with open_node(tmp_path / "store", ALONE) as node:
        feed = await node.create(b"journal")
        await feed.append([b"x"])
        directory = tmp_path / "store" / feed.log.directory.path
        await node.feeds.delete_key(b"journal", feed.feed_id)
        assert not directory.exists()
        with pytest.raises(StoreError, match="removed"):
            feed.reader.read_nowait(0, 1)
        assert not feed.is_usable
        assert not directory.exists()
        with pytest.raises(NoSuchFeed):
            await node.feeds.delete_key(b"journal", feed.feed_id)
