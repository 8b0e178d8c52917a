"""A followed feed of which nothing is here has no files, whatever is asked about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from pathlib import Path


def test_its_numbers_are_told_without_making_files(tmp_path: Path) -> None:
    """Each file that is made is synced: a listing of thousands would take a minute."""
    feed_id = FeedId(crypto.key_pair(bytes(range(32))).public_key)
    with Store(tmp_path / "store") as store:
        feeds = Feeds(store, Options())
        feed = feeds.follow(feed_id, b"paul")
        assert not feed.has_files
        assert (feed.length, feed.byte_length, feed.held_bytes, feed.fork) == (0, 0, 0, 0)
        assert not store.feed(feed_id).exists()
        assert feed.log.length == 0
        assert feed.has_files
        feeds.close()
