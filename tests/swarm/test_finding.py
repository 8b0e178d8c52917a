"""Feeds found by their IDs alone: on a DHT of our own nodes, and on the LAN. Loopback only."""

from __future__ import annotations

import socket
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.dht.budget import Priority
from protozorfs.errors import NotRemovable, NotWritable
from protozorfs.options import Options
from protozorfs.swarm.head import sign_record
from protozorfs.types import Address
from tests.swarm.nodes import LOOPBACK, read_all, until
from tests.unit.swarm.fork_peers import owner_of, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.dht.items import SignedItem

ON_DHT = Options(bind=LOOPBACK, nolan=True, noportmap=True, bootstrap=())
ON_LAN = Options(bind=LOOPBACK, nodht=True, noportmap=True)
DHT_NODES = 10


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


def is_online(node: Node) -> bool:
    assert node.swarm.upkeep is not None
    return node.swarm.upkeep.is_online


async def test_a_feed_is_found_by_its_id_on_the_dht(tmp_path: Path, dht: Options) -> None:
    async with (
        open_node(tmp_path / "owner", dht) as owner,
        open_node(tmp_path / "reader", dht) as reader,
    ):
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        assert await read_all(followed, 6) == b"hello\n"
        await feed.append([b"world\n"])
        assert await read_all(followed, 12) == b"hello\nworld\n"


async def test_a_head_record_is_known_before_any_peer(tmp_path: Path, dht: Options) -> None:
    """The owner has left; the record still tells the length, and a read waits for the bytes."""
    async with open_node(tmp_path / "owner", dht) as owner:
        feed = await owner.create(b"journal")
        feed_id = feed.feed_id
        await feed.append([b"hello\n"])
        await feed.sync()
        upkeep = owner.swarm.upkeep
        assert upkeep is not None
        put = await upkeep.node.put_item(_record(owner, b"journal"))
        assert put.is_done
    async with open_node(tmp_path / "reader", dht) as reader:
        followed = await reader.feeds.follow(feed_id, b"paul")
        await until(lambda: followed.byte_length == 6)
        assert followed.length == 1
        assert followed.reader.read_nowait(0, 6) == b""
        with trio.move_on_after(0.2) as waiting:
            await followed.reader.wait_bytes(0, 1)
        assert waiting.cancelled_caught
        async with open_node(tmp_path / "owner", dht):
            with trio.fail_after(60):
                await followed.reader.wait_bytes(0, 6)
            assert followed.reader.read_nowait(0, 6) == b"hello\n"


def _record(node: Node, name: bytes) -> SignedItem:
    upkeep = node.swarm.upkeep
    feed = node.feeds.by_name(name)
    assert upkeep is not None
    assert feed is not None
    item = upkeep.record_of(feed)
    assert item is not None
    return item


async def test_a_new_feed_is_removable_until_its_head_is_put(tmp_path: Path, dht: Options) -> None:
    async with open_node(tmp_path / "owner", replace(dht, nodht=True)) as owner:
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        await feed.sync()
        await owner.feeds.remove(b"journal")  # there was nobody to put it to
    async with open_node(tmp_path / "owner", dht) as owner:
        await until(lambda: is_online(owner))
        started = time.monotonic()
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        await until(lambda: not feed.unshared.lasts(started))
        with pytest.raises(NotRemovable):
            await owner.feeds.remove(b"journal")


async def test_a_new_feed_stays_removable_where_no_node_of_the_dht_answers(tmp_path: Path) -> None:
    async with open_node(tmp_path / "owner", ON_DHT) as owner:
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        await feed.sync()
        assert owner.swarm.upkeep is not None
        with trio.fail_after(60):
            turn = await owner.swarm.upkeep._keep_head(feed, Priority.OWNED)
        assert not turn.found
        # A turn of the node's own may be under way, and it may yet find somebody.
        await until(lambda: feed.unshared.lasts(time.monotonic()))
        await owner.feeds.remove(b"journal")


async def test_a_copy_of_a_store_learns_the_newer_head_and_fetches(
    tmp_path: Path, dht: Options
) -> None:
    """Rule 3: appended to in two places, the feed does not fork."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    async with open_node(original, dht) as node:
        feed_id = (feed := await node.create(b"journal")).feed_id
        await feed.append([b"one\n"])
        await feed.sync()
    await trio.run_process(["cp", "-a", str(original), str(copy)])
    async with open_node(original, dht) as node:
        await until(lambda: is_online(node))
        feed_here = node.feeds.by_name(b"journal")
        assert feed_here is not None
        await feed_here.append([b"two\n"])
        await feed_here.sync()
        upkeep = node.swarm.upkeep
        assert upkeep is not None
        await upkeep.node.put_item(_record(node, b"journal"))

        options = replace(dht, port=_free_port())  # the original has the remembered one
        async with open_node(copy, options) as second:
            await until(lambda: is_online(second))
            copied = second.feeds.by_id(feed_id)
            assert copied is not None
            try:
                await copied.append([b"three\n"])
            except NotWritable:  # a newer head is known, and its blocks are on their way
                await until(lambda: copied.log.contiguous_length == 2)
                await copied.append([b"three\n"])
            assert copied.reader.read_nowait(0, 100) == b"one\ntwo\nthree\n"


async def test_a_copy_with_nobody_to_ask_takes_no_appends(tmp_path: Path) -> None:
    alone = Options(bind=LOOPBACK, nodht=True, nolan=True, noportmap=True)
    original, copy = tmp_path / "original", tmp_path / "copy"
    async with open_node(original, alone) as node:
        feed = await node.create(b"journal")
        await feed.append([b"one\n"])
    await trio.run_process(["cp", "-a", str(original), str(copy)])
    async with open_node(copy, alone) as node:
        copied = node.feeds.by_name(b"journal")
        assert copied is not None
        with pytest.raises(NotWritable, match="store adopt"):
            await copied.append([b"two\n"])
    async with open_node(copy, replace(alone, force_append=True)) as node:
        forced = node.feeds.by_name(b"journal")
        assert forced is not None
        await forced.append([b"two\n"])
    await trio.run_process(["cp", "-a", str(copy), str(tmp_path / "again")])
    async with open_node(tmp_path / "again", replace(alone, force_append=True)) as node:
        again = node.feeds.by_name(b"journal")
        assert again is not None
        with pytest.raises(NotWritable, match="store adopt"):  # it counts once only
            await again.append([b"three\n"])
    async with open_node(original, alone) as node:
        here = node.feeds.by_name(b"journal")
        assert here is not None
        await here.append([b"at once, in its own place\n"])


async def test_a_record_counts_for_nothing_beside_a_later_fork(
    tmp_path: Path, dht: Options
) -> None:
    """Records have fork 0 only: one of before the cut may still stand on the DHT."""
    before, after = owner_of([b"block"] * 9).feed.log, owner_of([b"other"] * 4, fork=2)
    assert before.head is not None
    assert before.key_pair is not None
    async with open_node(tmp_path / "reader", dht) as reader:
        upkeep = reader.swarm.upkeep
        assert upkeep is not None
        await until(lambda: is_online(reader))
        feed = await reader.feeds.follow(before.feed_id, b"paul")
        feed.begin_history(whole(after))  # before anybody can be asked for a record
        put = await upkeep.node.put_item(sign_record(before.head, before.key_pair))
        assert put.stored_count > 0
        assert await upkeep.check_newest(feed)
        assert (feed.fork, feed.length, feed.frozen_why) == (2, 4, "")
        assert feed.known_head.record is None
        assert upkeep.record_of(feed) is None, "none is put"


async def test_feeds_are_found_on_the_lan(tmp_path: Path) -> None:
    async with (
        open_node(tmp_path / "owner", ON_LAN) as owner,
        open_node(tmp_path / "reader", ON_LAN) as reader,
    ):
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        followed = await reader.feeds.follow(feed.feed_id, b"paul")
        assert await read_all(followed, 6) == b"hello\n"
        await feed.append([b"world\n"])
        assert await read_all(followed, 12) == b"hello\nworld\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
