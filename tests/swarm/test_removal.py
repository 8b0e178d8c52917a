"""A feed of one's own can be removed at any time, also while it is being made durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs.errors import NotRemovable
from tests.swarm.nodes import node_at, until

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_feed_is_removed_while_it_is_synced(tmp_path: Path) -> None:
    async with node_at(tmp_path / "store") as node:
        for round_number in range(20):
            feed = await node.create(b"journal")
            await feed.append([b"%d" % round_number])
            with trio.fail_after(10):
                while not feed.is_syncing:  # until the publisher's task has had its turn
                    await trio.lowlevel.checkpoint()
            await node.feeds.delete_key(b"journal", feed.feed_id)
            assert node.feeds.names() == []
    files = ("secret", "data", "tree", "head")  # of a feed
    assert [path for name in files for path in (tmp_path / "store").rglob(name)] == []


async def test_a_new_feed_is_removable_until_a_peer_is_told_of_it(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner:
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        await feed.sync()
        await owner.feeds.remove(b"journal")
        assert owner.feeds.names() == []
        feed = await owner.create(b"journal")
        await feed.append([b"hello\n"])
        async with node_at(tmp_path / "reader", owner) as reader:
            followed = await reader.feeds.follow(feed.feed_id, b"paul")
            await until(lambda: followed.length == 1)
        with pytest.raises(NotRemovable):
            await owner.feeds.remove(b"journal")
