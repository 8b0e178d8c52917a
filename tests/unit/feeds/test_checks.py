"""What a killed run left is checked behind the mount: told, kept, and out of the way of others."""

from __future__ import annotations

import logging
import shutil
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from protozorfs.errors import StoreCorrupt, StoreFull
from protozorfs.feeds import recovery
from protozorfs.feeds.registry import Feeds
from protozorfs.feeds.rests import Rests
from protozorfs.log.check_steps import ProgressSync
from protozorfs.log.feed import Log
from protozorfs.log.held_log import Change, HeldLog
from protozorfs.log.opening import open_files
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.store.overlay import OverlayFiles
from tests.swarm.nodes import until
from tests.unit.log.feed_tools import block_pair, owned_with, upgrade_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.opening import Opened
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


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """While it `is_full`, no recovery can be written."""
    found = SimpleNamespace(is_full=True)

    def opened(directory: FeedDirectory, *, is_just_made: bool = False) -> Opened:
        if found.is_full and not isinstance(directory.files, OverlayFiles):
            raise StoreFull("no space left")
        return open_files(directory, is_just_made=is_just_made)

    monkeypatch.setattr("protozorfs.log.feed.open_files", opened)
    monkeypatch.setattr("protozorfs.feeds.checks.FULL_PAUSE", 0.01)
    return found


async def followed_and_killed(path: Path) -> Path:
    """A store as a kill leaves it, with a followed feed that is whole."""
    source = owned_with(BLOCKS)
    async with running(path / "store") as feeds:
        feed = await feeds.follow(source.feed_id, b"followed")
        feed.apply_all([upgrade_pair(source, feed.log)])
        feed.apply_all([block_pair(source, feed.log, index) for index in range(len(BLOCKS))])
        await trio.to_thread.run_sync(shutil.copytree, path / "store", path / "killed")
    return path / "killed"


@pytest.mark.parametrize("is_checked_first", [True, False])
async def test_a_feed_that_was_opened_on_a_full_disk_is_checked_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: SimpleNamespace, is_checked_first: bool
) -> None:
    """Nobody has to write to it for that; what it was checked in memory for counts no more."""
    disk.is_full = False
    path = await followed_and_killed(tmp_path)
    disk.is_full = True
    if not is_checked_first:
        monkeypatch.setattr("protozorfs.feeds.checks.BUSY_SECONDS", -1.0)
    async with running(path) as feeds:
        (feed,) = feeds
        assert not feed.log.is_recovered
        if is_checked_first:
            await checked(feeds)
        disk.is_full = False
        await until(lambda: feed.log.is_recovered)
        await checked(feeds)
        assert not feed.log.in_doubt.segments
        rests = Rests()
        await rests.mark(feeds)
        await rests.mark(feeds)
        assert feed.log.directory.is_marked_clean()
        assert feed.reader.read_nowait(0, len(DATA)) == DATA


async def test_a_feed_that_a_write_recovers_is_checked_again(
    tmp_path: Path, disk: SimpleNamespace
) -> None:
    disk.is_full = False
    path = await killed(tmp_path, b"journal")
    disk.is_full = True
    async with running(path) as feeds:
        (feed,) = feeds
        await checked(feeds)
        disk.is_full = False
        feed.log.recover()
        assert feed.log.in_doubt.segments
        await until(lambda: not feed.log.in_doubt.segments)
        await checked(feeds)


async def test_what_was_checked_is_kept_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("protozorfs.feeds.checks.FULL_PAUSE", 0.01)
    path = await killed(tmp_path, b"journal")
    note = HeldLog.note
    with monkeypatch.context() as patch:

        def full(log: HeldLog, change: Change, start: int, end: int, size: int = 0) -> None:
            if change == Change.CHECKED:
                raise StoreFull("no space left")
            note(log, change, start, end, size)

        patch.setattr(HeldLog, "note", full)
        async with running(path) as feeds:
            (feed,) = feeds
            await checked(feeds)
            assert not feed.log.in_doubt.segments
            assert feed.log.has_progress
            assert caplog.text.count("waits for space") == 1
            patch.undo()
            await until(lambda: not feed.log.has_progress)
            copied = tmp_path / "again"
            shutil.copytree(path, copied)
    async with running(copied) as feeds:
        (feed,) = feeds
        assert not feed.log.in_doubt.segments


async def test_a_feed_that_is_in_doubt_again_while_its_check_ends_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: SimpleNamespace
) -> None:
    disk.is_full = False
    path = await killed(tmp_path, b"journal")
    disk.is_full = True
    runs, may_go_on = [0], threading.Event()

    def run(progress: ProgressSync) -> None:
        runs[0] += 1
        assert may_go_on.wait(30)
        progress.is_done = True

    monkeypatch.setattr(ProgressSync, "run", run)
    async with running(path) as feeds:
        (feed,) = feeds
        await until(lambda: runs[0] == 1)
        assert not feed.log.in_doubt.segments
        disk.is_full = False
        feed.log.recover()
        feeds.surroundings.check_behind(feed)
        may_go_on.set()
        await checked(feeds)
        assert not feed.log.in_doubt.segments
