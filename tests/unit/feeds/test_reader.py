"""The reads of one feed, and the waits of those that find nothing yet."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protozorfs import crypto
from protozorfs.errors import BlockUnavailable, Closing, HeadUnknown, StoreError
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from protozorfs.errors import ProtozorfsError
    from protozorfs.feeds.feed import Feed

FOREIGN = FeedId(crypto.key_pair(bytes(range(32))).public_key)


@asynccontextmanager
async def running_feeds(path: Path, options: Options | None = None) -> AsyncIterator[Feeds]:
    with Store(path / "store") as store:
        feeds = Feeds(store, options or Options())
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(feeds.run)
                yield feeds
                nursery.cancel_scope.cancel()
        finally:
            feeds.close()


async def test_bytes_and_starts_of_blocks_that_are_here(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.create(b"journal")
        reader = feed.reader
        assert (reader.read_nowait(0, 10), reader.block_start(0)) == (b"", 0)
        await feed.append([b"one", b"", b"three"])
        assert reader.read_nowait(1, 4) == b"neth"
        assert reader.read_nowait(8, 4) == b""
        assert [reader.block_start(index) for index in range(5)] == [0, 3, 3, 8, None]
        await reader.wait_bytes(0, 8)
        await reader.wait_block_start(3)
        await reader.wait_length(2)
        await reader.wait_first_head()
        assert feed.waiting_count == 0


async def test_who_waits_for_growth_is_woken_by_it(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.create(b"journal")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.reader.wait_length, 1)
            nursery.start_soon(feed.reader.wait_block_start, 2)
            await wait_all_tasks_blocked()
            assert feed.waiting_count == 2
            await feed.append([b"one"])
            await wait_all_tasks_blocked()
            assert feed.waiting_count == 2, "one block is not more than one"
            await feed.append([b"two"])
        assert feed.waiting_count == 0


async def test_a_wait_that_is_cancelled_wants_nothing_more(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.reader.wait_bytes, 5, 10)
            await wait_all_tasks_blocked()
            assert [(want.start, want.end) for want in feed.wants] == [(5, 10)]
            nursery.cancel_scope.cancel()
        assert list(feed.wants) == []


async def test_a_local_node_waits_for_no_bytes(tmp_path: Path) -> None:
    async with running_feeds(tmp_path, Options(local=True)) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        with pytest.raises(BlockUnavailable):
            await feed.reader.wait_bytes(0, 1)


async def _expect_closing(feed: Feed, length: int) -> None:
    with pytest.raises(Closing):
        await feed.reader.wait_length(length)


async def _expect_no_bytes(feed: Feed) -> None:
    with pytest.raises(Closing):
        await feed.reader.wait_bytes(0, 1)


async def _expect_no_head(feed: Feed, error: type[ProtozorfsError]) -> None:
    with pytest.raises(error):
        await feed.reader.wait_first_head()


class Searcher:
    """Stands in for the swarm; `is_asking`: there is somebody to ask for heads."""

    def __init__(self) -> None:
        self.is_asking = True
        self.wanted: list[Feed] = []

    def head_wanted(self, feed: Feed) -> None:
        self.wanted.append(feed)
        feed.head_search.start()
        if not self.is_asking:
            feed.head_search.end()

    def feed_opened(self, feed: Feed) -> None:
        pass

    feed_closed = wants_changed = head_published = feed_opened

    def blocks_dropped(self, feed: Feed, start: int, end: int) -> None:
        pass

    def blocks_found(self, feed: Feed, blocks: Sequence[int]) -> None:
        pass

    async def check_newest(self, feed: Feed) -> bool:
        return True


async def test_an_unknown_feed_is_waited_for_while_somebody_is_asked(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        searcher = Searcher()
        feeds.subscribe(searcher)
        for times in (1, 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_expect_no_head, feed, HeadUnknown)
                nursery.start_soon(_expect_no_head, feed, HeadUnknown)
                await wait_all_tasks_blocked()
                assert len(feed.wants.for_head) == 2
                assert str(feed.state) == "resolving"
                feed.head_search.end()
            assert searcher.wanted == [feed] * 2 * times, "each open asks anew"
            assert str(feed.state) == "offline"
        searcher.is_asking = False
        await _expect_no_head(feed, HeadUnknown)


async def test_an_unknown_feed_is_not_found_where_nobody_can_be_asked(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        assert feed.is_unknown
        feed.reader.look_for_head()
        await _expect_no_head(feed, HeadUnknown)


async def test_an_empty_feed_of_ours_is_known(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        searcher = Searcher()
        feeds.subscribe(searcher)
        feed = await feeds.create(b"journal")
        assert not feed.is_unknown
        await feed.reader.wait_first_head()
        feed.reader.look_for_head()
        assert searcher.wanted == []


async def test_closing_ends_all_waits(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        feed.head_search.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closing, feed, 0)
            nursery.start_soon(_expect_no_bytes, feed)
            nursery.start_soon(_expect_no_head, feed, Closing)
            await wait_all_tasks_blocked()
            assert feed.waiting_count == 3
            feeds.close()
        with pytest.raises(Closing):
            await feed.append([b"late"])


async def test_growth_is_told_while_somebody_watches(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.create(b"journal")
        grown: list[Feed] = []
        with feeds.surroundings.watched(grown.append):
            await feed.append([b"one"])
            assert grown == [feed]
        await feed.append([b"two"])
        assert grown == [feed]


async def test_a_removed_feed_is_not_opened_again(tmp_path: Path) -> None:
    async with running_feeds(tmp_path) as feeds:
        feed = await feeds.follow(FOREIGN, b"paul")
        await feeds.remove(b"paul")
        with pytest.raises(StoreError, match="removed"):
            feed.reader.read_nowait(0, 1)
