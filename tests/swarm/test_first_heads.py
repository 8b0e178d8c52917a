"""The first head of a feed, and feeds that are let go and followed again, by whatever way the peer
was found. Loopback only."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.errors import HeadUnknown
from protozorfs.feeds import registry, visits
from protozorfs.types import Address
from tests.swarm.nodes import ALONE, LOOPBACK, WAIT_SECONDS, node_at, read_all, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed
    from protozorfs.options import Options

ON_DHT = replace(ALONE, nodht=False, bootstrap=())
ON_LAN = replace(ALONE, nolan=False)
DHT_NODES = 10
TIMES = 3
BACK_SECONDS = 1.0

logger = logging.getLogger(__name__)


@pytest.fixture
async def dht(tmp_path: Path) -> AsyncIterator[Options]:
    """Options of a node that joins a DHT of ten nodes of ours."""
    async with AsyncExitStack() as stack:
        known: tuple[Address, ...] = ()
        for number in range(DHT_NODES):
            options = replace(ON_DHT, bootstrap=known)
            node = await stack.enter_async_context(open_node(tmp_path / f"dht-{number}", options))
            known = (*known[:2], Address(LOOPBACK, node.port))
        yield replace(ON_DHT, bootstrap=known)


async def new_feed(owner: Node) -> Feed:
    feed = await owner.create(b"journal")
    await feed.append([b"hello\n"])
    await feed.sync()
    return feed


async def wait_head(feed: Feed) -> None:
    """As an open does."""
    with trio.fail_after(WAIT_SECONDS):
        await feed.reader.wait_first_head()
    assert not feed.is_unknown


async def expect_soon_again(feed: Feed, reader: Node) -> None:
    """Lets it go and follows it, some times."""
    for _ in range(TIMES):
        await reader.feeds.remove(b"paul")
        start = trio.current_time()
        again = await reader.feeds.follow(feed.feed_id, b"paul")
        await wait_head(again)
        assert await read_all(again, 6) == b"hello\n"
        took = trio.current_time() - start
        logger.info("back after %.3f s", took)
        assert took < BACK_SECONDS


@asynccontextmanager
async def met_by(way: str, directory: Path) -> AsyncIterator[tuple[Node, Node]]:
    """An owner and a reader that are to meet by one way alone."""
    owner_path, reader_path = directory / "owner", directory / "reader"
    if way == "user's peer":
        async with node_at(owner_path) as owner, node_at(reader_path, owner) as reader:
            yield owner, reader
    elif way == "inbound":
        async with node_at(reader_path) as reader, node_at(owner_path, reader) as owner:
            yield owner, reader
    else:
        async with (
            node_at(owner_path, options=ON_LAN) as owner,
            node_at(reader_path, options=ON_LAN) as reader,
        ):
            yield owner, reader


@pytest.mark.parametrize("way", ["user's peer", "inbound", "LAN"])
async def test_a_feed_is_found_and_found_again(tmp_path: Path, way: str) -> None:
    async with met_by(way, tmp_path) as (owner, reader):
        feed = await new_feed(owner)
        await wait_head(await reader.feeds.follow(feed.feed_id, b"paul"))
        await expect_soon_again(feed, reader)


async def test_a_feed_is_found_and_found_again_on_the_dht(tmp_path: Path, dht: Options) -> None:
    async with open_node(tmp_path / "owner", dht) as owner:
        feed = await new_feed(owner)
        assert owner.swarm.upkeep is not None
        schedule = owner.swarm.upkeep.schedule
        await until(lambda: schedule.refreshed_share(trio.current_time()) == 1.0)
        await trio.sleep(1)
        async with open_node(tmp_path / "reader", dht) as reader:
            followed = await reader.feeds.follow(feed.feed_id, b"paul")
            await wait_head(followed)
            assert await read_all(followed, 6) == b"hello\n"
            await expect_soon_again(feed, reader)


async def test_a_feed_of_a_remembered_peer_is_found_again(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner", options=ON_LAN) as owner:
        feed = await new_feed(owner)
        async with node_at(tmp_path / "reader", options=ON_LAN) as reader:
            await wait_head(await reader.feeds.follow(feed.feed_id, b"paul"))
        async with node_at(tmp_path / "reader") as reader:
            followed = reader.feeds.by_name(b"paul")
            assert followed is not None
            await until(lambda: bool(followed.peers))
            await expect_soon_again(feed, reader)


async def test_a_feed_is_visited_again_after_its_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "VISIT_SECONDS", 0.0)
    monkeypatch.setattr(registry, "UPKEEP_INTERVAL", 0.05)
    async with met_by("LAN", tmp_path) as (owner, reader):
        feed = await new_feed(owner)
        for _ in range(TIMES):
            start = trio.current_time()
            visited = await reader.get(feed.feed_id)
            visited.acquire()
            await wait_head(visited)
            assert trio.current_time() - start < BACK_SECONDS
            visited.release()
            await until(lambda: reader.feeds.by_id(feed.feed_id) is None)


async def test_a_feed_is_found_again_when_its_connection_has_ended_meanwhile(
    tmp_path: Path,
) -> None:
    """Both know where the other was; neither waits for a back-off when it hears of it."""
    async with met_by("LAN", tmp_path) as (owner, reader):
        feed = await new_feed(owner)
        await wait_head(await reader.feeds.follow(feed.feed_id, b"paul"))
        await reader.feeds.remove(b"paul")
        for node in (owner, reader):
            for entry in list(node.swarm.connections.entries.values()):
                entry.driver.end("cut by the test")
        await until(lambda: not reader.swarm.connections.entries)
        start = trio.current_time()
        await wait_head(await reader.feeds.follow(feed.feed_id, b"paul"))
        assert trio.current_time() - start < BACK_SECONDS


async def test_a_claim_of_nothing_is_no_knowledge(tmp_path: Path) -> None:
    """The owner is connected and has appended nothing: an open waits, as for any unknown feed."""
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "reader", owner) as reader:
        feed = await owner.create(b"journal")
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        await until(lambda: bool(followed.peers))
        with trio.move_on_after(1.5) as waited:
            await followed.reader.wait_first_head()
        assert waited.cancelled_caught
        assert followed.is_unknown
        assert not feed.is_unknown
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_head, followed)
            await feed.append([b"hello\n"])


async def test_nobody_to_ask_is_known_at_once(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "reader") as reader:
        feed = await new_feed(owner)
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        start = trio.current_time()
        for _ in range(2):
            with pytest.raises(HeadUnknown):
                await followed.reader.wait_first_head()
        assert trio.current_time() - start < BACK_SECONDS


async def test_a_head_that_was_kept_of_a_record_is_known_without_a_dht(
    tmp_path: Path, dht: Options
) -> None:
    """Its owner is gone; what the DHT has told was kept."""
    reader_path = tmp_path / "reader"
    async with open_node(tmp_path / "owner", dht) as owner:
        feed = await new_feed(owner)
        feed_id = feed.feed_id
        await trio.sleep(1)
    async with open_node(reader_path, dht) as reader:
        await wait_head(await reader.feeds.follow(feed_id, b"paul"))
    async with node_at(reader_path) as reader:
        again = reader.feeds.by_name(b"paul")
        assert again is not None
        await wait_head(again)
        assert (again.length, again.byte_length) == (1, 6)
