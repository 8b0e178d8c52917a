"""Feeds at rest: what is asked about them opens no log, and makes no files where nothing is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.feeds import registry
from protozorfs.feeds.ports import FeedState
from protozorfs.feeds.registry import Feeds
from protozorfs.log.at_rest import AtRest
from protozorfs.log.feed import Log
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.store.name_records import NameRow
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from protozorfs.feeds.feed import Feed

SEED = bytes(range(32))
FEED_ID = FeedId(crypto.key_pair(SEED).public_key)
BLOCKS = [b"one\n", b"two\n"]


def numbers(feed: Feed) -> tuple[int, int, int, int]:
    return feed.length, feed.byte_length, feed.held_bytes, feed.fork


def make_owned(store: Store, *, is_closed: bool = True) -> None:
    """A feed of ours with some blocks, left cleanly or not."""
    log = Log.create(store.feed(FEED_ID), SEED)
    log.append(BLOCKS)
    log.sync()
    log.close() if is_closed else log.rest()
    store.names.add(NameRow(b"journal", FEED_ID, True, 0, 0))


async def test_a_feed_of_which_nothing_is_here_gets_no_files_by_being_looked_at(
    tmp_path: Path,
) -> None:
    """Each file that is made takes its time: a listing of thousands would take minutes."""
    with Store(tmp_path / "store") as store:
        feeds = Feeds(store, Options())
        feed = await feeds.follow(FEED_ID, b"paul")
        assert numbers(feed) == (0, 0, 0, 0)
        assert feed.state == FeedState.RESOLVING
        assert feeds.report(FEED_ID).head is None
        assert feed.is_usable
        assert feed.log.length == 0
        assert not store.feed(FEED_ID).exists()
        feeds.close()
        assert not store.feed(FEED_ID).exists()


def test_a_feed_that_was_left_cleanly_tells_all_without_being_opened(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        make_owned(store)
        feeds = Feeds(store, Options())
        feed = feeds.by_id(FEED_ID)
        assert feed is not None
        assert numbers(feed) == (2, 8, 8, 0)
        assert feed.state == FeedState.OWNED
        assert isinstance(feed.extent, AtRest)
        assert store.pool.open_count == 0
        assert isinstance(feed.log, Log)
        assert isinstance(feed.extent, Log)
        assert numbers(feed) == (2, 8, 8, 0)
        feeds.close()


def test_a_feed_that_was_not_left_cleanly_is_opened_and_checked(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        make_owned(store, is_closed=False)
        feeds = Feeds(store, Options())
        feed = feeds.by_id(FEED_ID)
        assert feed is not None
        assert numbers(feed) == (2, 8, 8, 0)
        assert isinstance(feed.extent, Log)
        feeds.close()


def test_evidence_beside_a_feed_at_rest_is_read(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        make_owned(store)
        store.files.replace(f"{store.feed(FEED_ID).path}/evidence", b"damaged")
        feeds = Feeds(store, Options())
        feed = feeds.by_id(FEED_ID)
        assert feed is not None
        assert feed.state is FeedState.FROZEN
        feeds.close()


async def grown_feeds(store: Store, names: Iterable[bytes]) -> Feeds:
    """Feeds of ours with a block each, which are not durable yet."""
    feeds = Feeds(store, Options())
    for name in names:
        (await feeds.create(name)).log.append(BLOCKS)
    return feeds


async def test_what_there_is_no_time_to_close_is_left_as_by_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CLOSE_SECONDS", -1.0)
    with Store(tmp_path / "store") as store:
        (await grown_feeds(store, [b"one", b"two"])).close()
        assert not any(directory.is_marked_clean() for directory in store.feeds())
        assert all(Log.open(directory).length == len(BLOCKS) for directory in store.feeds())


async def test_one_feed_that_cannot_be_closed_does_not_keep_others_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path / "store") as store:
        feeds = await grown_feeds(store, [b"one", b"two"])
        lost, other = (feed for _, feed in feeds.names())
        shutil.rmtree(tmp_path / "store" / store.feed(lost.feed_id).path)
        feeds.close()
        assert store.feed(other.feed_id).is_marked_clean()
        assert f"feed {lost.feed_id.hex()} was not left cleanly" in caplog.text


async def test_a_removed_feed_at_rest_has_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        make_owned(store)
        feeds = Feeds(store, Options())
        feed = feeds.by_id(FEED_ID)
        assert feed is not None
        assert feed.length == 2
        await feeds.delete_key(b"journal", FEED_ID)
        assert numbers(feed) == (0, 0, 0, 0)
        feeds.close()
