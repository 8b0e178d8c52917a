"""When a feed became longer: shown at once, kept for the next run, moved by nothing else."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

import trio

from protozorfs.feeds.registry import Feeds
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.options import Options
from protozorfs.store.layout import Store
from tests.unit.swarm.memory_peers import FEED_ID, Peer, Pipe, settle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FIRST = Request(block=BlockRequest(0, 0), upgrade=UpgradeRequest(0, 2))
NANOSECONDS = 1_000_000_000  # of a second: the head is written again when it is synced


async def test_an_append_is_the_newest_block_and_its_time_is_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options())
            await nursery.start(feeds.run)
            feed, other = await feeds.create(b"journal"), await feeds.create(b"silent")
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


async def test_after_a_kill_a_feed_is_as_new_as_what_was_written_last(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options())
            await nursery.start(feeds.run)
            feed = await feeds.create(b"journal")
            await feed.append([b"one"])
            grown_ns = feed.mtime_ns
            shutil.copytree(tmp_path / "store", tmp_path / "killed")  # with the times of files
            nursery.cancel_scope.cancel()
        feeds.close()
    with Store(tmp_path / "killed") as store:
        feeds = Feeds(store, Options())
        await feeds.recover()
        (found,) = feeds
        assert abs(found.mtime_ns - grown_ns) < NANOSECONDS
        feeds.close()
    with Store(tmp_path / "killed") as store:
        feeds = Feeds(store, Options())
        assert [feed.mtime_ns for feed in feeds] == [found.mtime_ns]
        feeds.close()


def test_old_bytes_that_arrive_make_no_feed_newer() -> None:
    owner, reader = Peer(is_owner=True, key=1), Peer(is_sparse=True, key=2)
    owner.append([bytes(1000)] * 100)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    feed = reader.feed
    assert feed.mtime_ns > 0, "a head was found"
    feed.mtime_ns = 1
    want = feed.wants.add(feed.log, 0, 100_000, 0.0)
    reader.replicator.flush(0.0)
    settle([pipe])
    assert want.done.is_set()
    assert feed.mtime_ns == 1
    owner.append([b"more"])
    settle([pipe])
    assert feed.mtime_ns > 1


def test_a_record_of_a_longer_head_makes_a_feed_newer_and_its_blocks_do_not() -> None:
    owner, reader = Peer(is_owner=True, key=1), Peer(key=2)
    owner.append([b"one", b"two"])
    head = owner.feed.log.head
    assert head is not None
    feed = reader.feed
    feed.learn_head(head, b"a record")
    assert feed.mtime_ns > 0
    feed.mtime_ns = 1
    feed.learn_head(head, b"a record")  # as the next run does with the one that was kept
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    assert feed.log.contiguous_length == 2
    assert feed.mtime_ns == 1


async def test_reading_and_a_kill_make_no_feed_newer(tmp_path: Path) -> None:
    """The head of a follower becomes durable when it stops, and is written anew by a recovery."""
    owner = Peer(is_owner=True, key=1)
    owner.append([b"one", b"two"])
    path = tmp_path / "store"
    with Store(path) as store:
        feeds = Feeds(store, Options())
        feed = await feeds.follow(FEED_ID, b"paul")
        feed.apply_all([(request, owner.feed.proof(request)) for request in (FIRST,)])
        grown_ns = feed.mtime_ns = feed.mtime_ns - NANOSECONDS * 100
        feeds.close()
    for _ in range(2):  # two kills, one after the other
        for mark in path.rglob("clean"):  # taken back by whatever is written
            mark.unlink()
        with Store(path) as store:
            feeds = Feeds(store, Options())
            await feeds.recover()
            assert [feed.mtime_ns for feed in feeds] == [grown_ns]
            feeds.close()


async def test_times_that_cannot_be_kept_leave_the_feeds_to_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is no reason to leave logs open, nor is that of a removal."""
    with Store(tmp_path / "store") as store:
        async with trio.open_nursery() as nursery:
            feeds = Feeds(store, Options())
            await nursery.start(feeds.run)
            feed = await feeds.create(b"journal")
            await feed.append([b"one"])
            visited = await feeds.visit(FEED_ID)
            assert visited.log.length == 0
            store.feed(FEED_ID).mkdir()
            nursery.cancel_scope.cancel()
        with monkeypatch.context() as patch:
            patch.setattr(store.names, "set_mtimes", fail)
            patch.setattr(store, "remove_feed", fail)
            feeds.close()
        assert feed.open_log is None
        assert store.feed(feed.feed_id).is_marked_clean()
        assert store.feed(FEED_ID).exists()
    with Store(tmp_path / "store") as store:
        Feeds(store, Options()).close()
        assert not store.feed(FEED_ID).exists(), "the next start removes it"


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "the disk fails")
