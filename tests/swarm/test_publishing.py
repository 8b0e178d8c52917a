"""What was appended is told to others, also when the run that appended it did not live to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.feed import Log
from protozorfs.store.layout import Store
from tests.swarm.nodes import node_at, read_all, until

if TYPE_CHECKING:
    from pathlib import Path


async def test_appends_of_a_run_that_was_killed_are_published_by_the_next(tmp_path: Path) -> None:
    async with node_at(tmp_path / "owner") as owner:
        feed_id = (await owner.create(b"journal")).feed_id
    store = Store(tmp_path / "owner")
    Log.open(store.feed(feed_id)).append([b"acknowledged\n"])  # neither synced nor closed
    store.close()
    async with node_at(tmp_path / "owner") as owner, node_at(tmp_path / "b", owner) as reader:
        followed = await reader.feeds.follow(feed_id, b"paul")
        journal = owner.feeds.by_name(b"journal")
        assert journal is not None
        await until(lambda: journal.length == 1)
        await until(lambda: followed.length == 1)
        assert await read_all(followed, journal.byte_length) == b"acknowledged\n"
        assert journal.log.durable_head == journal.log.head
