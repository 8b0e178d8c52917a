"""Group commits, and heads that become durable behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from protozorfs.errors import StoreError, StoreFull
from protozorfs.feeds import commits
from protozorfs.feeds.commits import Committer, Publisher
from protozorfs.types import Head, Signature, TreeHash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from protozorfs.log.feed import Log


class FakeSync:
    """A sync that takes as long as its log says."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log
        self.length = log.length

    def run(self) -> None:
        if self._log.sync_error is not None:
            raise self._log.sync_error
        self._log.synced.append(self.length)
        if len(self._log.synced) < self._log.busy_syncs:
            self._log.length += self._log.blocks_meanwhile


class FakeLog:
    """A log in memory that counts what is asked of it."""

    def __init__(self) -> None:
        self.commits: list[list[bytes]] = []
        self.length = 0
        self.durable_head: Head | None = None
        self.synced: list[int] = []
        self.append_error: Exception | None = None
        self.sync_error: Exception | None = None
        self.rests = 0
        self.busy_syncs = self.blocks_meanwhile = 0  # so many are appended during each but the last
        self._pending: FakeSync | None = None
        self.sync_began = trio.Event()

    def rest(self) -> None:
        self.rests += 1

    def commit(self, blocks: Sequence[bytes]) -> None:
        if self.append_error is not None:
            raise self.append_error
        self.commits.append(list(blocks))
        self.length += len(blocks)

    def begin_sync(self) -> FakeSync:
        assert self._pending is None, "one sync at a time"
        self._pending = FakeSync(self)
        self.sync_began.set()
        return self._pending

    def end_sync(self) -> None:
        assert self._pending is not None
        if self.synced and self.synced[-1] == self._pending.length:
            self.durable_head = Head(
                fork=0,
                length=self._pending.length,
                byte_length=0,
                tree_hash=TreeHash(bytes(32)),
                signature=Signature(bytes(64)),
            )
        self._pending = None


def as_log(fake: FakeLog) -> Log:
    """The fake has what commits use of a log."""
    return fake  # type: ignore[return-value]


async def test_writers_that_wait_share_a_commit_and_keep_their_blocks() -> None:
    log = FakeLog()
    committer = Committer(as_log(log))
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(committer.commit, [b"%d" % number])
    assert sorted(block for group in log.commits for block in group) == [
        b"%d" % number for number in range(8)
    ]
    assert len(log.commits) == 1


async def test_one_writer_alone_hardly_waits_for_others() -> None:
    log = FakeLog()
    committer = Committer(as_log(log))
    for number in range(200):
        await committer.commit([b"%d" % number])
    assert [b"".join(group) for group in log.commits] == [b"%d" % n for n in range(200)]


async def test_groups_form_again_after_a_time_alone() -> None:
    log = FakeLog()
    committer = Committer(as_log(log))
    for _ in range(100):
        await committer.commit([b"x"])
    before = len(log.commits)
    for _ in range(4 * commits.ALONE_COMMITS):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(committer.commit, [b"y"])
    assert sum(len(group) for group in log.commits[before:]) == 16 * commits.ALONE_COMMITS
    assert max(len(group) for group in log.commits[before:]) == 4


async def test_a_failed_commit_fails_for_all_of_its_group() -> None:
    log = FakeLog()
    log.append_error = StoreFull("no space")
    committer = Committer(as_log(log))
    failures = 0

    async def write() -> None:
        nonlocal failures
        with pytest.raises(StoreFull):
            await committer.commit([b"x"])
        failures += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(write)
    assert failures == 5
    log.append_error = None
    await committer.commit([b"y"])
    assert log.commits == [[b"y"]]


async def test_a_cancelled_follower_is_still_committed() -> None:
    log = FakeLog()
    committer = Committer(as_log(log))

    async def cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await committer.commit([b"follower"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.commit, [b"leader"])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(cancelled)
    assert sorted(block for group in log.commits for block in group) == [b"follower", b"leader"]


def publisher_of(log: FakeLog, nursery: trio.Nursery, published: Callable[[], None]) -> Publisher:
    def start(run: Callable[[], Awaitable[None]]) -> None:
        nursery.start_soon(run)

    return Publisher(as_log(log), start, published, trio.CapacityLimiter(1))


async def test_what_is_published_is_durable_first() -> None:
    log = FakeLog()
    seen: list[int] = []

    def published() -> None:
        assert log.durable_head is not None
        seen.append(log.durable_head.length)

    async with trio.open_nursery() as nursery:
        publisher = publisher_of(log, nursery, published)
        for _ in range(20):
            log.commit([b"x"])
            publisher.nudge()
            await publisher.wait_durable()
            assert log.synced[-1] == log.length
    assert seen == sorted(seen)
    assert seen[-1] == 20


@pytest.mark.parametrize(("blocks_meanwhile", "is_paused"), [(1, False), (2, True)])
async def test_syncs_of_a_feed_that_is_written_in_bulk_leave_time_between_them(
    blocks_meanwhile: int, is_paused: bool, autojump_clock: trio.abc.Clock
) -> None:
    """Else quick syncs of a few blocks each would follow one another, and slow the appends down."""
    log = FakeLog()
    log.busy_syncs, log.blocks_meanwhile = 10, blocks_meanwhile
    async with trio.open_nursery() as nursery:
        log.commit([b"x"])
        publisher_of(log, nursery, lambda: None).nudge()
    assert len(log.synced) == 10
    seconds = autojump_clock.current_time()
    assert seconds >= 9 * commits.MIN_PAUSE if is_paused else seconds < commits.MIN_PAUSE


async def test_a_failed_sync_ends_durability_for_good() -> None:
    log = FakeLog()
    published: list[None] = []
    async with trio.open_nursery() as nursery:
        publisher = publisher_of(log, nursery, lambda: published.append(None))
        log.commit([b"x"])
        log.sync_error = OSError("the disk is gone")
        with pytest.raises(StoreError):
            await publisher.wait_durable()
        log.sync_error = None  # the kernel may call the pages clean now: that proves nothing
        with pytest.raises(StoreError):
            publisher.check()
        with pytest.raises(StoreError):
            await publisher.wait_durable()
    assert not published


async def test_a_removed_feed_is_neither_made_durable_nor_published_again() -> None:
    log, published = FakeLog(), list[int]()
    async with trio.open_nursery() as nursery:
        publisher = publisher_of(log, nursery, lambda: published.append(log.length))
        log.commit([b"x"])
        publisher.nudge()
        await log.sync_began.wait()
        log.commit([b"y"])
        publisher.stop()
    assert log.synced == [1]
    assert published == []
    assert log.rests == 1
    publisher.nudge()
    assert log.synced == [1]
