"""Changes of names while the disk takes its time: nothing else waits, nothing shows half of one."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from protozorfs import crypto
from protozorfs.errors import Closing, FeedNameError, StoreFull
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.files import RealFile, RealFiles
from protozorfs.store.layout import Store
from protozorfs.types import FeedId
from tests.sizes import long_or_short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from protozorfs.feeds.feed import Feed

FOLLOWED = FeedId(crypto.key_pair(bytes([7]) * 32).public_key)
PATIENCE_SECONDS = 20.0
LIVES = long_or_short(200, 4)
NAMES = (b"a", b"b", b"c")


class Disk:
    """Syncs of the store's files; while it is slow they wait, and none is the event loop's."""

    def __init__(self) -> None:
        self._loop = threading.get_ident()
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._is_syncing = threading.Event()

    def be_slow(self) -> None:
        """Syncs that begin from now on wait."""
        self._is_syncing.clear()
        self._may_go_on.clear()

    async def wait_sync(self) -> None:
        """Returns when a sync waits."""
        assert await trio.to_thread.run_sync(self._is_syncing.wait, PATIENCE_SECONDS)
        await trio.testing.wait_all_tasks_blocked()

    def go_on(self) -> None:
        """Ends all waits."""
        self._may_go_on.set()

    def sync(self) -> None:
        """Called before each sync."""
        if not self._may_go_on.is_set():
            assert threading.get_ident() != self._loop, "the event loop waits for the disk"
            self._is_syncing.set()
            assert self._may_go_on.wait(PATIENCE_SECONDS)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    sync_file, sync_directory = RealFile.fdatasync, RealFiles.sync_dir

    def fdatasync(file: RealFile) -> None:
        disk.sync()
        sync_file(file)

    def sync_dir(files: RealFiles, path: str) -> None:
        disk.sync()
        sync_directory(files, path)

    monkeypatch.setattr(RealFile, "fdatasync", fdatasync)
    monkeypatch.setattr(RealFiles, "sync_dir", sync_dir)
    yield disk
    disk.go_on()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    with Store(tmp_path / "store") as store:
        yield store


@pytest.fixture
async def feeds(store: Store) -> AsyncIterator[Feeds]:
    feeds = Feeds(store, Options())
    async with trio.open_nursery() as nursery:
        await nursery.start(feeds.run)
        yield feeds
        nursery.cancel_scope.cancel()
    feeds.close()


@pytest.fixture
async def journal(feeds: Feeds) -> Feed:
    journal = await feeds.create(b"journal")
    await journal.append([b"one\n"])
    await journal.sync()
    return journal


@pytest.fixture
async def empty(feeds: Feeds) -> Feed:
    return await feeds.create(b"empty")


def shown(feeds: Feeds) -> set[bytes]:
    return {name for name, _ in feeds.names()}


def kept(store: Store) -> dict[bytes, FeedId]:
    return {row.name: row.feed_id for row in store.names.all()}


def directories(store: Store) -> set[FeedId]:
    return {directory.feed_id for directory in store.feeds()}


CHANGES: dict[str, tuple[Callable[[Feeds], Awaitable[object]], set[bytes]]] = {
    "create": (lambda feeds: feeds.create(b"new"), {b"journal", b"empty", b"new"}),
    "follow": (lambda feeds: feeds.follow(FOLLOWED, b"paul"), {b"journal", b"empty", b"paul"}),
    "rename": (lambda feeds: feeds.rename(b"empty", b"new"), {b"journal", b"new"}),
    "remove": (lambda feeds: feeds.remove(b"empty"), {b"journal"}),
    "delete_key": (
        lambda feeds: feeds.delete_key(b"empty", dict(feeds.names())[b"empty"].feed_id),
        {b"journal"},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_all_else_goes_on_while_a_change_waits_for_the_disk(
    feeds: Feeds, disk: Disk, journal: Feed, empty: Feed, change: str
) -> None:
    make, after = CHANGES[change]
    disk.be_slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, feeds)
        await disk.wait_sync()
        assert shown(feeds) == {b"journal", b"empty"}
        assert feeds.name_of(empty) == b"empty"
        assert feeds.by_name(b"new") is feeds.by_id(FOLLOWED) is None
        await journal.append([b"two\n"])
        assert await journal.reader.read(0, 8) == b"one\ntwo\n"
        disk.go_on()
    assert shown(feeds) == after
    assert (empty in list(feeds)) == (change not in ("remove", "delete_key"))


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_is_cancelled_is_made_as_a_whole(
    store: Store, feeds: Feeds, disk: Disk, journal: Feed, empty: Feed, change: str
) -> None:
    make, after = CHANGES[change]
    disk.be_slow()
    ended = trio.Event()

    async def run() -> None:
        await make(feeds)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await disk.wait_sync()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        disk.go_on()
    assert ended.is_set()
    assert kept(store) == {name: feed.feed_id for name, feed in feeds.names()}
    assert shown(feeds) == after
    assert directories(store) == {feed.feed_id for _, feed in feeds.names()} - {FOLLOWED}


async def test_a_change_that_is_cancelled_while_it_waits_for_another_is_not_made(
    store: Store, feeds: Feeds, disk: Disk
) -> None:
    disk.be_slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feeds.create, b"first")
        await disk.wait_sync()
        with trio.move_on_after(0) as scope:
            await feeds.create(b"second")
        assert scope.cancelled_caught
        disk.go_on()
    assert shown(feeds) == {b"first"}
    assert len(directories(store)) == 1


async def test_of_two_that_make_one_name_one_is_refused(
    store: Store, feeds: Feeds, disk: Disk
) -> None:
    made: list[Feed] = []
    refused: list[FeedNameError] = []

    async def create() -> None:
        try:
            made.append(await feeds.create(b"journal"))
        except FeedNameError as error:
            refused.append(error)

    disk.be_slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        nursery.start_soon(create)
        await disk.wait_sync()
        disk.go_on()
    assert [feed.feed_id for feed in made] == list(directories(store))
    assert len(refused) == 1


async def test_a_feed_that_finds_no_space_leaves_nothing(
    store: Store, feeds: Feeds, journal: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFull("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(store.names, "add", full)
        with pytest.raises(StoreFull):
            await feeds.create(b"new")
    assert shown(feeds) == {b"journal"}
    assert directories(store) == {journal.feed_id}
    await feeds.create(b"new")


async def test_the_end_waits_for_a_change_and_lets_none_begin(store: Store, disk: Disk) -> None:
    feeds = Feeds(store, Options())
    refused = trio.Event()

    async def create_too_late() -> None:
        with pytest.raises(Closing):
            await feeds.create(b"late")
        refused.set()

    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        await nursery.start(feeds.run)
        disk.be_slow()
        callers.start_soon(feeds.create, b"journal")
        await disk.wait_sync()
        nursery.cancel_scope.cancel()
        callers.start_soon(create_too_late)
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        assert not feeds.names()
        disk.go_on()
    assert shown(feeds) == {b"journal"}  # when `run` had ended, at the latest
    await refused.wait()
    feeds.close()
    assert set(kept(store)) == {b"journal"}


@pytest.mark.parametrize("comes_back", ["visited", "followed"])
async def test_a_feed_that_comes_back_while_its_files_go_is_another(
    store: Store, feeds: Feeds, disk: Disk, empty: Feed, comes_back: str
) -> None:
    """It was open when it was removed. Its files go when it is closed."""
    empty.acquire()
    await feeds.remove(b"empty")
    assert directories(store) == {empty.feed_id}
    disk.be_slow()
    empty.release()
    assert feeds.by_id(empty.feed_id) is None
    found: list[Feed] = []

    async def come_back() -> None:
        if comes_back == "visited":
            found.append(await feeds.visit(empty.feed_id))
        else:
            found.append(await feeds.follow(empty.feed_id, b"again"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_back)
        await disk.wait_sync()
        assert not found
        disk.go_on()
    assert found[0] is feeds.by_id(empty.feed_id) is not empty
    assert found[0].is_unknown
    assert directories(store) == set()


@pytest.mark.parametrize("seed", range(LIVES))
async def test_changes_in_any_order_leave_memory_and_disk_the_same(
    tmp_path: Path, seed: int
) -> None:
    path, choice = tmp_path / "lives", random.Random(seed)

    async def change(feeds: Feeds) -> None:
        for _ in range(6):
            one, other = choice.choice(NAMES), choice.choice(NAMES)
            calls = (
                partial(feeds.create, one),
                partial(feeds.rename, one, other),
                partial(feeds.remove, one),
                partial(feeds.follow, FOLLOWED, one),
                partial(feeds.visit, FOLLOWED),
            )
            with trio.CancelScope() as scope:
                if choice.random() < 0.2:
                    scope.cancel()
                with suppress(FeedNameError):
                    await choice.choice(calls)()

    with Store(path) as store:
        feeds = Feeds(store, Options())
        async with trio.open_nursery() as running:
            await running.start(feeds.run)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(change, feeds)
            running.cancel_scope.cancel()
        named = {name: feed.feed_id for name, feed in feeds.names()}
        assert kept(store) == named
        feeds.close()
        assert directories(store) == {feed.feed_id for _, feed in feeds.names() if feed.is_owned}
    with Store(path) as store:
        assert kept(store) == named
