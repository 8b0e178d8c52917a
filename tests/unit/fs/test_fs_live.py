"""Live views and the waking of watchers, apart from the kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from protozorfs import crypto, ids
from protozorfs.fs.directory import Directory
from protozorfs.fs.errnos import Refused
from protozorfs.fs.handles import LiveHandle
from protozorfs.fs.inodes import FeedInode, Inodes, LiveView
from protozorfs.fs.interrupts import Interrupts
from protozorfs.fs.live import is_readable, read_live, start_of
from protozorfs.fs.nudges import PERIOD, Nudges
from protozorfs.fs.origins import Origins
from protozorfs.fs.waits import Waits
from protozorfs.types import FeedId
from tests.memory_feeds import MemoryFeed, MemoryFeeds

if TYPE_CHECKING:
    from pathlib import Path

ID = FeedId(crypto.key_pair(b"\1" * 32).public_key)


async def test_which_feed_and_view_a_name_means() -> None:
    feeds = MemoryFeeds()
    directory = Directory(feeds)
    plain, signed = await feeds.create(b"a"), await feeds.create(b"a@1")
    assert directory.find_live(b"a") == (plain.feed_id, LiveView(None))
    assert directory.find_live(b"a@1") == (signed.feed_id, LiveView(None))
    assert directory.find_live(b"a@2") == (plain.feed_id, LiveView(2))
    assert directory.find_live(ids.format_hex(ID).encode() + b"@3") == (ID, LiveView(3))
    with pytest.raises(Refused):
        directory.find_live(b"b@1")


def test_views_have_inodes_of_their_own() -> None:
    inodes = Inodes(MemoryFeeds().numbers)
    plain, live, later = (inodes.of_feed(ID, v) for v in (None, LiveView(None), LiveView(1)))
    assert len({plain.number, live.number, later.number}) == 3
    assert inodes.of_feed(ID, LiveView(1)) is later
    inodes.forget(live.number, 0)
    assert inodes.get(live.number) is None
    assert inodes.find_feed(ID) is plain


def test_where_a_view_starts() -> None:
    feed = MemoryFeed(ID, is_owned=False)
    feed.stage([b"one", b"three"], held=False)
    starts = [
        start_of(feed, LiveView(n), from_end=end) for n in (None, 0, 1, 3) for end in (False, True)
    ]
    assert starts == [0, 8, 0, 0, 3, 3, None, None]


async def test_a_reader_of_a_view_sees_every_byte_once(autojump_clock: trio.abc.Clock) -> None:
    feed = MemoryFeed(ID, is_owned=False)
    handle = LiveHandle(
        FeedInode(2, ID, LiveView(1)), feed, None, is_from_end=False, never_waits=False
    )
    waits = Waits(Interrupts("/nowhere"))
    blocks = [b"%d," % number for number in range(50)]

    async def grow() -> None:
        for block in blocks:
            await trio.sleep(0.1)
            feed.stage([block], held=False)
            await trio.sleep(0.1)
            feed.hold(feed.byte_length)

    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(grow)
        while len(got) < len(b"".join(blocks[1:])):
            got += await read_live(
                handle, waits, Origins(), offset=len(got), size=3, timeout_seconds=3.0
            )
            assert is_readable(handle) == (feed.held_bytes > 2 + len(got))
    assert got == b"".join(blocks[1:])


async def test_nothing_but_the_mount_is_touched(tmp_path: Path) -> None:
    """After an unmount another file may have the name: it must keep its bytes."""
    feeds = MemoryFeeds()
    feed = await feeds.follow(ID, b"paul")
    (tmp_path / "paul").write_bytes(b"something else")
    before = os.stat(tmp_path / "paul")
    nudges = Nudges(str(tmp_path), feeds, is_enabled=True)
    feed.stage([b"x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: nudges.run(device=1, has_locked_pages=lambda _: False))
        nudges.grown(feed)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    after = os.stat(tmp_path / "paul")
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


async def test_a_feed_with_locked_pages_comes_later(tmp_path: Path) -> None:
    feeds = MemoryFeeds()
    feed = await feeds.follow(ID, b"paul")
    nudges = Nudges(str(tmp_path), feeds, is_enabled=True)
    looks = 0

    def has_locked_pages(feed_id: FeedId) -> bool:
        nonlocal looks
        looks += 1
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: nudges.run(device=1, has_locked_pages=has_locked_pages))
        nudges.grown(feed)
        with trio.fail_after(10 * PERIOD):
            while looks < 2:  # noqa: ASYNC110 - no event tells of it
                await trio.sleep(PERIOD / 10)
        nursery.cancel_scope.cancel()
    assert not nudges.is_asking(os.getpid())
