"""Whatever the kernel looks up, forgets and opens, in whatever order: no two files share a number,
and a number can be looked up again."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pyfuse3 import FUSEError

from protozorfs import crypto
from protozorfs.feeds.numbers import NUMBERS, Numbers, identity_of_feed
from protozorfs.fs.inodes import FIRST_THROWN_AWAY, ROOT_INODE, FeedInode, LiveView
from protozorfs.fs.interrupts import Interrupts
from protozorfs.fs.mount import MountOptions, _make_parts
from protozorfs.fs.operations import Operations
from protozorfs.fs.self_test import SelfTest
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.numbers import KeptNumbers
from protozorfs.types import FeedId
from tests.memory_feeds import MemoryFeed, MemoryFeeds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IDS = [FeedId(crypto.key_pair(bytes([n]) * 32).public_key) for n in range(1, 6)]
NAMES = [b"a", b"b", b"c", b"d"]
ASKING: Any = SimpleNamespace(uid=os.geteuid(), pid=os.getpid())
# Five feeds with two live views, a directory and a file each, and three directories: hardly more,
# so that most numbers are asked for by several.
FEW = range(100, 130)


def make_operations(feeds: MemoryFeeds) -> Operations:
    options = MountOptions(mount_point="/nowhere", source="memory")
    return Operations(_make_parts(feeds, options, Interrupts("/nowhere"), tuple))


def test_ranges_of_numbers_do_not_meet() -> None:
    assert NUMBERS.start > ROOT_INODE
    assert NUMBERS.stop <= FIRST_THROWN_AWAY < 2**62 < SelfTest.INODE < 2**63
    assert SelfTest.HANDLE < 2**63


class Kernel(RuleBasedStateMachine):
    """What the kernel may ask, with so few numbers that they collide."""

    def __init__(self) -> None:
        super().__init__()
        self.feeds = MemoryFeeds()
        self.feeds.numbers = Numbers(KeptNumbers(MemoryFiles(), bytes(32)), FEW)
        self.operations = make_operations(self.feeds)
        self.lookups: dict[int, int] = {}
        self.handles: list[tuple[int, int]] = []  # of the mount, and the inode's number
        self.meanings: dict[int, bytes] = {}  # of what the kernel knows now

    def do(self, call: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        async def run() -> Any:
            return await call(*arguments, ASKING)

        return trio.run(run)

    def lookup(self, parent: int, *names: bytes) -> int:
        """Looks a path up, as the kernel does; returns the last one's number."""
        number = parent
        for name in names:
            number = self.do(self.operations.lookup, number, name).st_ino
            self.note(number)
        return number

    def note(self, number: int) -> None:
        inode = self.operations._inodes.get(number)
        assert inode is not None
        assert self.meanings.setdefault(number, inode.identity) == inode.identity
        self.lookups[number] = self.lookups.get(number, 0) + 1

    @rule(feed_id=st.sampled_from(IDS), name=st.sampled_from(NAMES))
    def follow(self, feed_id: FeedId, name: bytes) -> None:
        if name not in self.feeds.named and self.feeds.name_by_id(feed_id) is None:
            answer = self.do(self.operations.symlink, ROOT_INODE, name, feed_id.hex().encode())
            assert answer.st_ino >= FIRST_THROWN_AWAY

    @precondition(lambda self: self.feeds.named)
    @rule(data=st.data(), new=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, new: bytes) -> None:
        old = data.draw(st.sampled_from(sorted(self.feeds.named)))
        if new in self.feeds.named:
            return
        before = self.lookup(ROOT_INODE, old)
        self.do(lambda ctx: self.operations.rename(ROOT_INODE, old, ROOT_INODE, new, 0, ctx))
        assert self.lookup(ROOT_INODE, new) == before

    @precondition(lambda self: self.feeds.named)
    @rule(data=st.data())
    def unfollow(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.feeds.named)))
        self.do(self.operations.unlink, ROOT_INODE, name)

    @precondition(lambda self: self.feeds.named)
    @rule(data=st.data(), where=st.sampled_from(["", "live", "block", "status", "why"]))
    def look_at(self, data: st.DataObject, where: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.feeds.named)))
        status = (b".protozorfs", b"feeds", name)
        paths = {"": (name,), "live": (b".live", name), "block": (b".live", name + b"@1")}
        self.lookup(ROOT_INODE, *paths.get(where, status), *([b"why"] if where == "why" else []))

    @rule(feed_id=st.sampled_from(IDS))
    def look_at_id(self, feed_id: FeedId) -> None:
        self.lookup(ROOT_INODE, feed_id.hex().encode())

    @precondition(lambda self: self.feeds.named)
    @rule(data=st.data())
    def look_up_by_number(self, data: st.DataObject) -> None:
        feed = self.feeds.named[data.draw(st.sampled_from(sorted(self.feeds.named)))]
        number = self.feeds.numbers.take(identity_of_feed(feed.feed_id))
        self.feeds.numbers.give_back(identity_of_feed(feed.feed_id))
        assert self.lookup(number, b".") == number
        assert self.meanings[number] == identity_of_feed(feed.feed_id)
        assert self.do(self.operations.lookup, number, b"..").st_ino == ROOT_INODE

    @precondition(lambda self: self.lookups)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.lookups)))
        inode = self.operations._inodes.get(number)
        if isinstance(inode, FeedInode):
            feed = self.feeds.by_id(inode.feed_id)
            if feed is None:
                feed = trio.run(self.feeds.visit, inode.feed_id)
            if feed.is_unknown:
                feed.stage([b"found"])  # else it cannot be opened
            self.do(self.operations.getattr, number)
            opened = self.do(self.operations.open, number, os.O_RDONLY | os.O_NONBLOCK)
            self.handles.append((opened.fh, number))

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.handles) - 1))
        handle, _ = self.handles.pop(place)
        self.do(lambda ctx: self.operations.release(handle))
        self.drop_meanings()

    @precondition(lambda self: self.lookups)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.lookups)))
        count = data.draw(st.integers(1, self.lookups[number]))
        self.forget_some([(number, count)])

    @rule()
    def forget_all(self) -> None:
        self.forget_some(list(self.lookups.items()))

    def forget_some(self, counts: list[tuple[int, int]]) -> None:
        self.do(lambda ctx: self.operations.forget(counts))
        for number, count in counts:
            self.lookups[number] -= count
            if not self.lookups[number]:
                del self.lookups[number]
        self.drop_meanings()

    def drop_meanings(self) -> None:
        known = {*self.lookups, *(number for _, number in self.handles)}
        self.meanings = {number: self.meanings[number] for number in known}

    @invariant()
    def no_two_known_files_share_a_number(self) -> None:
        assert len(set(self.meanings.values())) == len(self.meanings)
        assert set(self.meanings) <= set(FEW)

    @invariant()
    def nothing_but_what_is_known_is_kept(self) -> None:
        assert len(self.operations._inodes) == len(self.meanings)
        here = (*self.feeds.named.values(), *self.feeds.visited.values())
        identities = {identity_of_feed(feed.feed_id) for feed in here} | {*self.meanings.values()}
        assert set(self.feeds.numbers._known) == identities
        for number in self.meanings:
            assert self.do(self.operations.getattr, number).st_ino == number


Kernel.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
test_what_the_kernel_may_ask = Kernel.TestCase


async def test_directories_of_what_is_looked_up_by_number() -> None:
    feeds = MemoryFeeds()
    operations = make_operations(feeds)
    await feeds.follow(IDS[0], b"a")

    async def number(parent: int, *names: bytes) -> int:
        for name in names:
            parent = (await operations.lookup(parent, name, ASKING)).st_ino
        return parent

    feed, live = await number(ROOT_INODE, b"a"), await number(ROOT_INODE, b".live", b"a")
    status = await number(ROOT_INODE, b".protozorfs", b"feeds")
    of_feed = await number(status, b"a")
    assert await number(feed, b"..") == ROOT_INODE
    assert await number(live, b"..") == await number(ROOT_INODE, b".live")
    assert await number(await number(of_feed, b"why"), b"..") == of_feed
    assert await number(of_feed, b"..") == status
    assert await number(status, b"..", b"..") == ROOT_INODE
    assert await number(ROOT_INODE, b".") == await number(ROOT_INODE, b"..") == ROOT_INODE
    with pytest.raises(FUSEError) as caught:
        await number(NUMBERS.stop - 1, b".")
    assert os.strerror(caught.value.errno) == "Stale file handle"


def test_pages_are_kept_until_the_feed_is_another() -> None:
    inode = FeedInode(2, IDS[0])
    first, second = (MemoryFeed(IDS[0], is_owned=False) for _ in range(2))
    assert inode.may_keep_pages(first)  # there are none yet
    assert inode.may_keep_pages(first)
    assert not inode.may_keep_pages(second)
    assert inode.may_keep_pages(second)
    del second
    assert not inode.may_keep_pages(MemoryFeed(IDS[0], is_owned=False))


def test_live_views_have_identities_of_their_own() -> None:
    views = [None, LiveView(None), LiveView(0), LiveView(1), LiveView(2**53 - 1)]
    identities = {FeedInode(2, feed_id, view).identity for view in views for feed_id in IDS}
    assert len(identities) == len(views) * len(IDS)
