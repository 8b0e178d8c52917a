"""The scrub finds what nobody reads, slowly, says what it does, and is in nobody's way."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from protozorfs.errors import StoreCorrupt
from protozorfs.feeds.registry import Feeds
from protozorfs.fs import status_text
from protozorfs.options import Options
from protozorfs.store.layout import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from protozorfs.feeds.facts import ScrubFacts
    from protozorfs.feeds.feed import Feed
    from protozorfs.fs.ports import FeedsView

T = TypeVar("T")

BLOCKS = [bytes([number]) * 65536 for number in range(80)]  # 5 MiB
DATA = b"".join(BLOCKS)
STEP_BYTES = 1024 * 1024
RATE = 1024 * 1024  # a step a second


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes in threads: the clock would jump over it."""

    async def run_here(run: Callable[[], T], **_: object) -> T:
        await trio.lowlevel.checkpoint()
        return run()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_here)


@asynccontextmanager
async def running(path: Path, *, rate: int | None = RATE, ro: bool = False) -> AsyncIterator[Feeds]:
    with Store(path, is_read_only=ro) as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options(scrub=rate, read_only=ro, local=ro))
            await nursery.start(feeds.run)
            await feeds.recover()
            try:
                yield feeds
            finally:
                nursery.cancel_scope.cancel()
        feeds.close()


async def left(path: Path, *names: bytes) -> None:
    """A cleanly closed store with these feeds."""
    async with running(path, rate=None) as feeds:
        for name in names:
            feed = await feeds.create(name)
            await feed.append(BLOCKS)
            await feed.sync()


def data_of(path: Path, feed: Feed) -> Path:
    digits = feed.feed_id.hex()
    return path / "feeds" / digits[:2] / digits / "data"


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def files_of(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in (path / "feeds").rglob("*")
        if file.is_file()
    }


def facts_of(feeds: Feeds) -> ScrubFacts:
    facts = feeds.scrub_facts()
    assert facts is not None
    return facts


async def ended(feeds: Feeds) -> ScrubFacts:
    """Returns, when the first scrub must have ended, what is told of it."""
    await trio.sleep(30)
    facts = facts_of(feeds)
    assert facts.last is not None
    return facts


def shown(feeds: FeedsView) -> str:
    lines = status_text.status(feeds).splitlines()
    return next(line for line in lines if line.startswith("scrub "))


async def test_a_wrong_bit_that_nobody_reads_is_found_and_said(
    tmp_path: Path, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await left(tmp_path, b"one", b"two")
    async with running(tmp_path) as feeds:
        feed = feeds.by_name(b"two")
        assert feed is not None
        flip(data_of(tmp_path, feed), 70_000)
        assert str(feed.state) == "owned"
        await ended(feeds)
        assert str(feed.state) == "damaged"
        assert "damaged blocks: 1" in shown(feeds)
        told = json.loads(status_text.status_json(feeds))
        assert told["scrub"]["last"] == {
            "feeds": 2,
            "bytes": 2 * len(DATA),
            "damaged_blocks": 1,
            "mended_nodes": 0,
            "failed_feeds": 0,
        }
        assert [each["state"] for each in told["feeds"]] == ["owned", "damaged"]
        with pytest.raises(StoreCorrupt):
            feed.reader.read_nowait(70_000, 1)
    assert f"feed {feed.feed_id.hex()}: 1 blocks are damaged" in caplog.text


async def test_healthy_feeds_are_read_at_the_rate_and_nothing_is_written(
    tmp_path: Path, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await left(tmp_path, b"one", b"two")
    before = files_of(tmp_path)
    started = trio.current_time()
    async with running(tmp_path) as feeds:
        await trio.sleep(4.5)
        facts = facts_of(feeds)
        assert facts.now is not None
        assert facts.now.bytes == 5 * STEP_BYTES
        assert facts.feeds_left == 2
        assert facts.bytes_left == 2 * len(DATA) - 5 * STEP_BYTES
        assert shown(feeds).startswith("scrub       5 of about 10 MB, 1.2 MB/s, feeds left: 2")
        facts = await ended(feeds)
        assert facts.ended_seconds is not None
        seconds = trio.current_time() - facts.ended_seconds - started
        assert seconds == pytest.approx(2 * len(DATA) / RATE, rel=0.1)
        assert "the next one begins in 16" in shown(feeds)
        assert all(feed.log.directory.is_marked_clean() for feed in feeds)
        assert {feed.log.writes for feed in feeds} == {0}
        assert files_of(tmp_path) == before
    assert "damaged blocks: 0" in caplog.text
    assert files_of(tmp_path) == before


async def test_feeds_are_written_and_read_while_they_are_scrubbed(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    await left(tmp_path, b"one")
    async with running(tmp_path) as feeds:
        (feed,) = feeds
        for number in range(5):
            await trio.sleep(0.7)
            await feed.append([b"%d" % number])
            assert feed.reader.read_nowait(0, 10) == DATA[:10]
        last = (await ended(feeds)).last
        assert feed.log.length == len(BLOCKS) + 5
        assert last is not None
        assert (last.damaged_blocks, last.bytes) == (0, len(DATA)), "what came later is right"
        await feed.sync()
    async with running(tmp_path, rate=None) as feeds:
        (feed,) = feeds
        assert feed.log.directory.is_marked_clean()
        assert feed.reader.read_nowait(len(DATA), 10) == b"01234"


async def test_a_scrub_begins_again_after_a_while(
    tmp_path: Path, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("protozorfs.feeds.scrub.INTERVAL_SECONDS", 100.0)
    await left(tmp_path, b"one")
    async with running(tmp_path) as feeds:
        await ended(feeds)
        (feed,) = feeds
        flip(data_of(tmp_path, feed), 1_000_000)
        await trio.sleep(70)  # 5 s after the start it ended
        assert str(feed.state) == "owned"
        assert facts_of(feeds).now is None
        assert "begins in 0.0 h" in shown(feeds)
        await trio.sleep(7)
        assert facts_of(feeds).now is not None
        assert facts_of(feeds).last is not None
        await trio.sleep(5)
        assert str(feed.state) == "damaged"


async def test_feeds_that_are_removed_or_unreadable_stop_no_scrub(
    tmp_path: Path, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await left(tmp_path, b"1", b"2", b"3", b"4")
    async with running(tmp_path) as feeds:
        found = {name: feeds.by_name(name) for name in (b"1", b"2", b"3", b"4")}
        for feed in found.values():
            assert feed is not None
        third = found[b"3"]
        assert third is not None
        data_of(tmp_path, third).with_name("head").write_bytes(b"")
        await trio.sleep(2.5)
        for name in (b"1", b"2"):  # one of which is being read
            removed = found[name]
            assert removed is not None
            await feeds.delete_key(name, removed.feed_id)
        last = (await ended(feeds)).last
        assert last is not None
        assert (last.feeds, last.failed_feeds, last.damaged_blocks) == (4, 1, 0)
        assert "feeds that could not be read: 1 (see the log)" in shown(feeds)
    assert f"feed {third.feed_id.hex()} cannot be scrubbed: " in caplog.text


async def test_a_store_that_is_only_read_is_only_reported_on(
    tmp_path: Path, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await left(tmp_path, b"one")
    async with running(tmp_path, rate=None) as feeds:
        (feed,) = feeds
    flip(data_of(tmp_path, feed), 70_000)
    before = files_of(tmp_path)
    async with running(tmp_path, ro=True) as feeds:
        await ended(feeds)
        assert "damaged blocks: 1" in shown(feeds)
    assert "1 blocks are damaged; nothing is done about it, since the store is only" in caplog.text
    assert files_of(tmp_path) == before


async def test_no_feed_is_read_before_those_of_a_killed_run_are_open(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    """They are opened in a thread, and the files are for one thread at a time."""
    await left(tmp_path, b"one")
    with Store(tmp_path) as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options(scrub=RATE))
            await nursery.start(feeds.run)
            await trio.sleep(30)
            assert all(feed.open_log is None for feed in feeds)
            assert feeds.scrub_facts() is None
            await feeds.recover()
            assert (await ended(feeds)).last is not None
            nursery.cancel_scope.cancel()
        feeds.close()


async def test_without_the_option_nothing_is_scrubbed(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    await left(tmp_path, b"one")
    async with running(tmp_path, rate=None) as feeds:
        await trio.sleep(60)
        assert feeds.scrub_facts() is None
        assert "scrub" not in status_text.status(feeds)
        assert json.loads(status_text.status_json(feeds))["scrub"] is None
