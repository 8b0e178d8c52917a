"""Inode numbers: derived, below 2**53, never shared, and the same for ever."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protozorfs import crypto
from protozorfs.feeds.numbers import Numbers, identity_of_feed
from protozorfs.feeds.registry import Feeds
from protozorfs.feeds.visits import MAX_VISITS
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.numbers import INODES_FILE, KeptNumbers
from protozorfs.types import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = bytes(32)
ID, OTHER = (FeedId(crypto.key_pair(bytes([n]) * 32).public_key) for n in (1, 2))
FEW = range(100, 112)
IDENTITIES = [b"%d" % count for count in range(9)]  # of so few numbers most collide


def test_numbers_are_below_2_to_the_53_and_above_the_fixed_ones() -> None:
    numbers = Numbers(KeptNumbers(MemoryFiles(), SEED))
    found = [numbers.take(b"%d" % count) for count in range(10_000)]
    assert len(set(found)) == len(found)
    assert all(2**16 <= number < 2**53 for number in found)
    assert max(found) > 2**52  # all of it is used


def test_numbers_depend_on_the_key_of_the_store() -> None:
    one, two = (Numbers(KeptNumbers(MemoryFiles(), seed)) for seed in (SEED, bytes(range(32))))
    assert one.take(b"x") != two.take(b"x")


def test_a_number_is_free_when_all_have_given_it_back() -> None:
    numbers = Numbers(KeptNumbers(MemoryFiles(), SEED), range(5, 6))
    identity = identity_of_feed(ID)
    assert numbers.take(identity) == numbers.take(identity) == 5
    numbers.give_back(identity)
    assert numbers.feed_of(5) == ID
    numbers.give_back(identity)
    assert numbers.feed_of(5) is None
    assert numbers.take(b"path") == 5
    assert numbers.feed_of(5) is None


def test_in_a_collision_both_keep_their_numbers() -> None:
    """Whichever comes first in the next run."""
    files = MemoryFiles()
    numbers = Numbers(KeptNumbers(files, SEED), FEW)
    before = {identity: numbers.take(identity) for identity in IDENTITIES}
    assert len(set(before.values())) == len(before)
    assert KeptNumbers(files, SEED).numbers  # some did collide
    again = Numbers(KeptNumbers(files, SEED), FEW)
    assert {identity: again.take(identity) for identity in reversed(IDENTITIES)} == before


class Runs(RuleBasedStateMachine):
    """Files come and go, some of them named for good, over many runs of a mount."""

    def __init__(self) -> None:
        super().__init__()
        self.files = MemoryFiles()
        self.named: dict[bytes, int] = {}
        self.start()

    def start(self) -> None:
        self.numbers = Numbers(KeptNumbers(self.files, SEED), FEW)
        self.held: dict[bytes, list[int]] = {}
        for identity in sorted(self.named):
            assert self.numbers.take(identity) == self.named[identity]

    @rule(identity=st.sampled_from(IDENTITIES))
    def take(self, identity: bytes) -> None:
        number = self.numbers.take(identity)
        assert number in FEW
        assert self.named.get(identity, number) == number
        self.held.setdefault(identity, []).append(number)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        identity = data.draw(st.sampled_from(sorted(self.held)))
        self.numbers.give_back(identity)
        self.held[identity].pop()
        if not self.held[identity]:
            del self.held[identity]

    @rule(identity=st.sampled_from(IDENTITIES))
    def name(self, identity: bytes) -> None:
        if identity not in self.named:
            self.named[identity] = self.numbers.take(identity)

    @precondition(lambda self: self.named)
    @rule(data=st.data())
    def unname(self, data: st.DataObject) -> None:
        identity = data.draw(st.sampled_from(sorted(self.named)))
        del self.named[identity]
        self.numbers.give_back(identity)

    @rule()
    def remount(self) -> None:
        self.start()

    @invariant()
    def no_two_share_a_number(self) -> None:
        known = {identity: {number} for identity, number in self.named.items()}
        for identity, numbers in self.held.items():
            known.setdefault(identity, set()).update(numbers)
        assert all(len(numbers) == 1 for numbers in known.values())
        assert len(set().union(*known.values())) == len(known)


Runs.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_numbers_over_many_runs = Runs.TestCase


@contextmanager
def opened(path: Path) -> Iterator[Feeds]:
    with Store(path) as store:
        feeds = Feeds(store, Options())
        yield feeds
        feeds.close()


def number(feeds: Feeds, feed_id: FeedId) -> int:
    found = feeds.numbers.take(identity_of_feed(feed_id))
    feeds.numbers.give_back(identity_of_feed(feed_id))
    return found


async def test_a_feed_keeps_its_number_whatever_happens_to_it(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as feeds:
        before = number(feeds, ID)
        assert feeds.by_number(before) is None
        feed = await feeds.visit(ID)
        assert feeds.by_number(before) is feed
        await feeds.follow(ID, b"paul")
        await feeds.rename(b"paul", b"p")
        assert feeds.by_number(before) is feed
        await feeds.remove(b"p")
        assert feeds.by_number(before) is None
        await feeds.follow(OTHER, b"paul")
        assert number(feeds, OTHER) != before
        assert feeds.by_number(before) is None
        await feeds.follow(ID, b"p")
        assert feeds.by_number(before) is feeds.by_id(ID)
    with opened(tmp_path / "store") as feeds:
        assert feeds.by_number(before) is feeds.by_id(ID) is not None
        assert number(feeds, ID) == before
    (tmp_path / "store" / INODES_FILE).unlink()  # as in a store of version 0.1.0
    with opened(tmp_path / "store") as feeds:
        assert number(feeds, ID) == before


async def test_feeds_that_are_forgotten_leave_no_number(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as feeds:
        for count in range(MAX_VISITS + 5):
            await feeds.visit(FeedId(crypto.key_pair(count.to_bytes(32, "big")).public_key))
        assert len(feeds.numbers._known) == MAX_VISITS


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_feed_that_comes_back_is_another_unless_it_is_open(
    tmp_path: Path, is_open: bool
) -> None:
    """What the mount goes by when it drops pages of another history: fs/inodes.py."""
    with opened(tmp_path / "store") as feeds:
        feed = await feeds.follow(ID, b"paul")
        if is_open:
            feed.acquire()
        await feeds.remove(b"paul")
        assert (await feeds.follow(ID, b"paul") is feed) == is_open
