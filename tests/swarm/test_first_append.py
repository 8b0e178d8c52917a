"""The check before the first append of a run: whom it waits for, and whom it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.app import open_node
from protozorfs.errors import NotWritable
from protozorfs.swarm.dht_upkeep import CHECK_SECONDS
from protozorfs.types import Address
from tests.node_peer import generated_block, node_writer
from tests.swarm.nodes import ALONE, LOOPBACK, node_at, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.app import Node
    from protozorfs.feeds.feed import Feed

AT_ONCE_SECONDS = CHECK_SECONDS / 2  # far more than it takes, and less than the check may take
SHORT_CHECK_SECONDS = 0.5


def journal(node: Node) -> Feed:
    feed = node.feeds.by_name(b"journal")
    assert feed is not None
    return feed


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store with a feed of one line, in its own place."""
    path = tmp_path / "store"
    async with open_node(path, ALONE) as node:
        feed = await node.create(b"journal")
        await feed.append([b"one\n"])
        await feed.sync()
    return path


@pytest.fixture
async def deaf() -> AsyncIterator[Address]:
    """Where somebody listens who never says a word."""
    with trio.socket.socket() as listener:
        await listener.bind((LOOPBACK, 0))
        listener.listen()
        yield Address(LOOPBACK, listener.getsockname()[1])


async def unused_port() -> int:
    with trio.socket.socket() as probe:
        await probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@pytest.mark.interop
async def test_a_peer_that_is_yet_to_be_dialled_is_heard_first(store: Path) -> None:
    """In the first moments of a run; it shows a later fork that another program has made."""
    async with open_node(store, ALONE) as node:
        keys = journal(node).log.key_pair
        assert keys is not None
    with node_writer(keys.seed, blocks=20, evil="fork") as writer:
        assert writer.address is not None
        async with open_node(store, replace(ALONE, peers=(writer.address,))) as node:
            assert not node.swarm.connections.entries, "nobody is connected yet"
            with pytest.raises(NotWritable, match="a later history elsewhere"):
                await journal(node).append([b"two\n"])
            assert journal(node).length == 1


async def test_so_is_one_that_has_the_newer_head(tmp_path: Path, store: Path) -> None:
    await trio.run_process(["cp", "-a", str(store), str(tmp_path / "copy")])
    async with open_node(store, ALONE) as node:
        await journal(node).append([b"two\n"])
        await journal(node).sync()
        options = replace(ALONE, port=await unused_port())
        async with node_at(tmp_path / "copy", node, options=options) as copy:
            assert not copy.swarm.connections.entries, "nobody is connected yet"
            copied = journal(copy)
            try:
                await copied.append([b"three\n"])
            except NotWritable:  # its blocks are on their way
                await until(lambda: copied.log.contiguous_length == 2)
                await copied.append([b"three\n"])
            assert copied.reader.read_nowait(0, 100) == b"one\ntwo\nthree\n"
            await until(lambda: journal(node).length == 3)
            assert not journal(node).frozen_why


async def test_offline_and_in_its_own_place_it_is_appended_to_at_once(store: Path) -> None:
    nowhere = (
        Address(LOOPBACK, await unused_port()),  # refused
        Address("255.255.255.255", 4000),  # no route: TCP goes to no broadcast address
    )
    async with open_node(store, replace(ALONE, peers=nowhere)) as node:
        with trio.fail_after(AT_ONCE_SECONDS):
            await journal(node).append([b"two\n"])
        assert [bool(peer.why) for peer in node.swarm.connections.table] == [True] * 2
        with trio.fail_after(AT_ONCE_SECONDS):
            await journal(node).append([b"three\n"])


async def test_who_never_answers_is_not_waited_for_longer_than_the_check(
    store: Path, deaf: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protozorfs.swarm.swarm.CHECK_SECONDS", SHORT_CHECK_SECONDS)
    async with open_node(store, replace(ALONE, peers=(deaf,))) as node:
        start = trio.current_time()
        await journal(node).append([b"two\n"])
        assert trio.current_time() - start >= SHORT_CHECK_SECONDS
        assert journal(node).length == 2


async def test_a_copy_that_heard_nobody_takes_no_append(
    tmp_path: Path, store: Path, deaf: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protozorfs.swarm.swarm.CHECK_SECONDS", SHORT_CHECK_SECONDS)
    await trio.run_process(["cp", "-a", str(store), str(tmp_path / "copy")])
    async with open_node(tmp_path / "copy", replace(ALONE, peers=(deaf,))) as node:
        with pytest.raises(NotWritable, match="nobody could be asked"):
            await journal(node).append([b"two\n"])


@pytest.fixture
async def copy(tmp_path: Path, store: Path) -> Path:
    """A copy of the store."""
    path = tmp_path / "copy"
    await trio.run_process(["cp", "-a", str(store), str(path)])
    return path


async def test_a_peer_that_has_nothing_but_what_it_got_here_is_no_answer(
    tmp_path: Path, copy: Path
) -> None:
    """Whatever it knows of the feed it has from the copy, which must not believe itself."""
    async with open_node(tmp_path / "new", ALONE) as reader, node_at(copy, reader) as node:
        feed_id = journal(node).feed_id
        followed = await reader.feeds.follow(feed_id, b"journal")
        with pytest.raises(NotWritable, match="nobody could be asked"):
            await journal(node).append([b"two\n"])
        await until(lambda: followed.log.contiguous_length == 1)
        await until(lambda: journal(node).remote_length == 1)
        with pytest.raises(NotWritable, match="nobody could be asked"):
            await journal(node).append([b"two\n"])


async def test_a_peer_that_has_less_is_no_answer(tmp_path: Path, store: Path) -> None:
    async with open_node(tmp_path / "reader", ALONE) as reader, node_at(store, reader) as node:
        followed = await reader.feeds.follow(journal(node).feed_id, b"journal")
        await until(lambda: followed.log.contiguous_length == 1)
    async with open_node(store, ALONE) as node:
        await journal(node).append([b"two\n"])
    await trio.run_process(["cp", "-a", str(store), str(tmp_path / "copy")])
    async with (
        open_node(tmp_path / "reader", ALONE) as reader,
        node_at(tmp_path / "copy", reader) as node,
    ):
        with pytest.raises(NotWritable, match="nobody could be asked"):
            await journal(node).append([b"three\n"])


async def test_a_follower_that_has_the_head_from_elsewhere_is_an_answer(
    tmp_path: Path, store: Path, copy: Path
) -> None:
    async with open_node(tmp_path / "reader", ALONE) as reader:
        async with node_at(store, reader) as node:
            followed = await reader.feeds.follow(journal(node).feed_id, b"journal")
            await until(lambda: followed.log.contiguous_length == 1)
        async with node_at(copy, reader, options=replace(ALONE, port=await unused_port())) as node:
            await journal(node).append([b"two\n"])
        async with open_node(copy, ALONE) as node:
            await journal(node).append([b"three\n"])  # the copy is in its place now


@pytest.mark.interop
async def test_so_is_a_node_peer(tmp_path: Path) -> None:
    """It answers the question for its head as it answers any other."""
    blocks = [generated_block(index, 64) for index in range(3)]
    async with open_node(tmp_path / "store", ALONE) as node:
        await (await node.create(b"journal")).append(blocks)
        keys = journal(node).log.key_pair
        assert keys is not None
    await trio.run_process(["cp", "-a", str(tmp_path / "store"), str(tmp_path / "copy")])
    with node_writer(keys.seed, blocks=len(blocks)) as writer:
        assert writer.address is not None
        async with open_node(tmp_path / "copy", replace(ALONE, peers=(writer.address,))) as node:
            await journal(node).append([b"more\n"])
            assert not journal(node).frozen_why
