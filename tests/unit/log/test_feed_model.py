"""A feed against a list of blocks, through reopening, kills, power cuts and full disks."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protozorfs.errors import StoreFull
from protozorfs.log.hashing import tree_hash
from protozorfs.log.tree import roots_of
from protozorfs.store import MemoryFiles
from tests.sizes import long_or_short
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    create_followed,
    create_owned,
    reopen,
    upgrade_pair,
)

if TYPE_CHECKING:
    from protozorfs.types import Head

BLOCKS = st.one_of(
    st.binary(max_size=40), st.integers(400, 1400).map(lambda size: b"%d" % size * (size // 4))
)


class FeedModel(RuleBasedStateMachine):
    """An owner and a follower, each with a disk of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.owner_files, self.follower_files = MemoryFiles(), MemoryFiles()
        self.owner = create_owned(self.owner_files)
        self.follower = create_followed(self.follower_files)
        self.blocks: list[bytes] = []
        self.synced = 0  # blocks that no power cut may take
        self.published: list[Head] = []
        self.held: set[int] = set()  # what the follower has

    @rule(blocks=st.lists(BLOCKS, min_size=1, max_size=5))
    def append(self, blocks: list[bytes]) -> None:
        head = self.owner.append(blocks)
        self.blocks += blocks
        assert head.length == len(self.blocks)

    @rule(block=BLOCKS, operation=st.integers(0, 2))
    def append_on_a_full_disk(self, block: bytes, operation: int) -> None:
        if self.owner.directory.is_marked_clean():
            operation += 2  # the mark is removed and that synced before anything is written
        self.owner_files.fail_at(self.owner_files.operations + operation, "full")
        with pytest.raises(StoreFull):
            self.owner.append([block])
        self.owner_files.fail_at(None)

    @rule()
    def sync(self) -> None:
        head = self.owner.sync()
        self.synced = len(self.blocks)
        if head is not None:
            self.published.append(head)

    @rule(is_clean=st.booleans())
    def reopen_owner(self, is_clean: bool) -> None:
        if is_clean:
            self.owner.close()
            self.synced = len(self.blocks)
        else:
            self.owner_files.kill()
        self.owner = reopen(self.owner_files)
        assert self.owner.length == len(self.blocks)

    @rule(seed=st.integers(0, 10_000))
    def cut_the_owners_power(self, seed: int) -> None:
        self.owner_files.power_cut(random.Random(seed))
        self.owner = reopen(self.owner_files)
        assert self.owner.length >= self.synced
        self.blocks = self.blocks[: self.owner.length]

    @precondition(lambda self: self.owner.durable_head is not None)
    @rule()
    def upgrade(self) -> None:
        durable = self.owner.durable_head
        assert durable is not None
        if durable.length > self.follower.length:
            self.publish_all()
            self.follower.apply(*upgrade_pair(self.owner, self.follower))

    @precondition(lambda self: self.follower.length > 0)
    @rule(choice=st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
    def fetch(self, choice: list[int]) -> None:
        self.publish_all()
        indexes = [number % self.follower.length for number in choice]
        self.follower.apply_all([block_pair(self.owner, self.follower, index) for index in indexes])
        self.held.update(indexes)

    @precondition(lambda self: self.follower.length > 0)
    @rule(start=st.integers(0, 60), count=st.integers(0, 20))
    def drop(self, start: int, count: int) -> None:
        self.follower.drop(start, start + count)
        self.held -= set(range(start, start + count))

    @rule(is_clean=st.booleans())
    def reopen_follower(self, is_clean: bool) -> None:
        if is_clean:
            self.follower.close()
        else:
            self.follower_files.kill()
        head = self.follower.head
        self.follower = reopen(self.follower_files)
        assert self.follower.head == head
        found = self.held_by_follower()
        # Recovery may find more: an empty block is whatever was lost of it.
        assert found == self.held if is_clean else found >= self.held
        self.held = found

    @rule(seed=st.integers(0, 10_000))
    def cut_the_followers_power(self, seed: int) -> None:
        self.follower_files.power_cut(random.Random(seed))
        self.follower = reopen(self.follower_files)
        check_all(self.follower)
        # What was dropped may be back, too: a hole that was not synced.
        self.held = self.held_by_follower()

    @rule(offset=st.integers(0, 5000), size=st.integers(0, 5000))
    def read(self, offset: int, size: int) -> None:
        data = b"".join(self.blocks)
        assert self.owner.read(offset, size) == data[offset : offset + size]
        got = self.follower.read(offset, size)
        assert got == data[offset : offset + len(got)]
        until = self.follower.held_until(offset, offset + size)
        assert len(got) == max(0, min(size, until - offset))

    @invariant()
    def all_agree(self) -> None:
        assert self.owner.byte_length == sum(map(len, self.blocks))
        assert self.owner.contiguous_length == len(self.blocks)
        assert not self.owner.damaged
        assert self.held_by_follower() == self.held
        assert self.follower.held_bytes == sum(len(self.blocks[i]) for i in self.held)
        for index in self.held:
            assert self.follower.block(index) == self.blocks[index]

    @invariant()
    def nothing_published_is_contradicted(self) -> None:
        for head in self.published[-3:]:
            roots = roots_of(self.owner.nodes, head.length)
            assert roots is not None
            assert tree_hash(roots) == head.tree_hash

    def held_by_follower(self) -> set[int]:
        return {index for index in range(self.follower.length) if self.follower.held.get(index)}

    def publish_all(self) -> None:
        """The helpers of replication sync the owner."""
        self.sync()


FeedModel.TestCase.settings = settings(
    max_examples=long_or_short(4000, 150), stateful_step_count=30, deadline=None
)
TestFeedModel = pytest.mark.crash(FeedModel.TestCase)
