"""When the newest block of a feed came: shown at once, kept for the next run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_append_is_the_newest_block_and_its_time_is_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options())
            await nursery.start(feeds.run)
            feed, other = feeds.create(b"journal"), feeds.create(b"silent")
            made_ns, silent_ns = feed.mtime_ns, other.mtime_ns
            await feed.append([b"one"])
            grown_ns = feed.mtime_ns
            assert grown_ns > made_ns
            await feed.sync()
            nursery.cancel_scope.cancel()
        feeds.close()
    with Store(tmp_path / "store") as store:
        feeds = Feeds(store, Options())
        times = {name: feed.mtime_ns for name, feed in feeds.names()}
        assert times == {b"journal": grown_ns, b"silent": silent_ns}
        feeds.close()
