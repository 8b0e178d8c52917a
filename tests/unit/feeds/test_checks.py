"""What a killed run left is checked behind the mount: told, kept, and out of the way of others."""

from __future__ import annotations

import logging
import shutil
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from protozorfs.errors import StoreCorrupt
from protozorfs.feeds import recovery
from protozorfs.feeds.registry import Feeds
from protozorfs.feeds.rests import Rests
from protozorfs.log.feed import Log
from protozorfs.options import Options
from protozorfs.store.layout import Store
from tests.swarm.nodes import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.feeds.feed import Feed
    from protozorfs.store.layout import FeedDirectory

BLOCKS = [b"%d " % number * 30 for number in range(3000)]
DATA = b"".join(BLOCKS)
MAX_STEP = 1024  # blocks, of the step whose progress was not noted yet


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All feeds are opened before anybody uses them, on a slow machine, too."""
    monkeypatch.setattr(recovery, "OPEN_SECONDS", 60.0)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Feeds]:
    with Store(path) as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options())
            await feeds.recover()
            await nursery.start(feeds.run)
            try:
                yield feeds
            finally:
                nursery.cancel_scope.cancel()
        feeds.close()


async def killed(path: Path, *names: bytes) -> Path:
    """A store as a kill leaves it, with these feeds."""
    async with running(path / "store") as feeds:
        for name in names:
            feed = await feeds.create(name)
            await feed.append(BLOCKS)
            await feed.sync()
        await trio.to_thread.run_sync(shutil.copytree, path / "store", path / "killed")
    return path / "killed"


async def checked(feeds: Feeds) -> None:
    await until(lambda: feeds.check_facts() is None)


def flip(store: Path, feed: Feed, offset: int) -> None:
    path = store / feed.log.directory.path / "data"
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


async def test_the_check_tells_how_far_it_is_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = await killed(tmp_path, b"one", b"two")
    async with running(path) as feeds:
        facts = feeds.check_facts()
        assert facts is not None
        assert facts.feeds_left == 2
        assert facts.bytes_left + facts.bytes_done == pytest.approx(2 * len(DATA), rel=0.01)
        await checked(feeds)
        one = feeds.by_name(b"one")
        assert one is not None
        assert not one.log.in_doubt.segments
        assert one.reader.read_nowait(0, len(DATA)) == DATA
    assert f"2 feeds, {2 * len(DATA)} bytes" in caplog.text
    assert "0 blocks are damaged" in caplog.text
    async with running(path) as feeds:
        assert feeds.check_facts() is None, "it was stopped cleanly"


async def test_damage_is_found_behind_the_mount_and_ends_appends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await killed(tmp_path, b"journal")
    async with running(path) as feeds:
        (feed,) = feeds
        flip(path, feed, 100_000)
        assert str(feed.state) == "owned"
        await checked(feeds)
        assert str(feed.state) == "damaged"
        with pytest.raises(StoreCorrupt):
            feed.reader.read_nowait(100_000, 1)
    assert "1 blocks are damaged" in caplog.text


async def test_a_feed_that_is_removed_while_it_is_checked_is_no_harm(tmp_path: Path) -> None:
    path = await killed(tmp_path, b"one", b"two")
    async with running(path) as feeds:
        one = feeds.by_name(b"one")
        assert one is not None
        await feeds.delete_key(b"one", one.feed_id)
        await checked(feeds)
        assert [name for name, _ in feeds.names()] == [b"two"]
        assert not (path / "feeds" / one.feed_id.hex()[:2] / one.feed_id.hex()).exists()


async def test_progress_is_kept_over_a_second_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protozorfs.feeds.checks.KEEP_SECONDS", 0.0)
    path = await killed(tmp_path, b"journal")
    async with running(path) as feeds:
        (feed,) = feeds
        whole = feed.log.in_doubt.count(0, feed.length)
        with trio.fail_after(30):
            while feed.log.in_doubt.count(0, feed.length) == whole:
                await trio.lowlevel.checkpoint()
        left = feed.log.in_doubt.count(0, feed.length)
        copied = tmp_path / "again"
        shutil.copytree(path, copied)
    assert whole == len(BLOCKS)
    async with running(copied) as feeds:
        (feed,) = feeds
        assert feed.log.in_doubt.count(0, feed.length) <= left + MAX_STEP
        await checked(feeds)


async def test_feeds_that_there_is_no_time_for_are_opened_behind_the_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "OPEN_SECONDS", -1.0)
    path = await killed(tmp_path, b"one", b"two")
    async with running(path) as feeds:
        one = feeds.by_name(b"one")
        assert one is not None
        assert one.needs_recovery()
        assert one.length == len(BLOCKS), "who uses one opens it"
        await until(lambda: not any(feed.needs_recovery() for feed in feeds))
        await checked(feeds)


async def test_no_feed_is_used_while_others_are_opened_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would use one pool of files: one thread may close what the other reads and writes."""
    path = await killed(tmp_path, b"one", b"two", b"three")
    used: list[int] = []

    with Store(path) as store:
        feeds = Feeds(store, Options())

        def opened(directory: FeedDirectory) -> Log:
            used.append(sum(feed.open_log is not None for feed in feeds))
            return Log.open(directory)

        monkeypatch.setattr(recovery, "Log", SimpleNamespace(open=opened))
        await feeds.recover()
        assert used == [0, 0, 0]
        assert all(feed.open_log is not None for feed in feeds)
        feeds.close()


async def test_a_check_gives_way_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others take the event loop, a step comes once in a while only."""
    path = await killed(tmp_path, b"journal")
    monkeypatch.setattr("protozorfs.feeds.checks.BUSY_SECONDS", -1.0)
    monkeypatch.setattr("protozorfs.feeds.checks.GIVE_WAY_SECONDS", 60.0)
    async with running(path) as feeds:
        (feed,) = feeds
        await until(lambda: feed.log.in_doubt.count(0, feed.length) < len(BLOCKS))
        await wait_all_tasks_blocked(0.02)
        assert feed.log.in_doubt.count(0, feed.length) == len(BLOCKS) - MAX_STEP
        assert feeds.check_facts() is not None


async def test_feeds_at_rest_are_marked_clean_while_the_node_runs(tmp_path: Path) -> None:
    async with running(tmp_path / "store") as feeds:
        busy, resting = await feeds.create(b"busy"), await feeds.create(b"resting")
        for feed in (busy, resting):
            await feed.append([b"one"])
            await feed.sync()
        rests = Rests()
        await rests.mark(feeds)
        await busy.append([b"two"])
        await rests.mark(feeds)
        assert [feed.log.directory.is_marked_clean() for feed in (busy, resting)] == [False, True]
        await resting.append([b"two"])
        assert not resting.log.directory.is_marked_clean()
        assert resting.reader.read_nowait(0, 10) == b"onetwo"
