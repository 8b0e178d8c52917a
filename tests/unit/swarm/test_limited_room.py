"""A feed in less room than it needs: readers, peers and the limit, in memory on virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from protozorfs.errors import StoreFull
from protozorfs.feeds.room import AHEAD_SHARE, FILL_SHARE, Room
from protozorfs.swarm.asking import NO_ROOM_SECONDS
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.wants import Want

LIMIT = 1 << 20
CHUNK = 64 * 1024
MAX_STEPS = 2000  # of the network; a few per reader do


class LimitedPeer(Peer):
    """A follower with a limit, that checks what its peers are told of what is dropped."""

    def __init__(self, limit: int = LIMIT, *, is_sparse: bool = True) -> None:
        super().__init__(is_sparse=is_sparse, key=2)
        self.limit = limit
        self.dropped: list[tuple[int, int]] = []
        self.surroundings.room = Room(limit, self._dropping)
        self.feed.handles = int(is_sparse)  # who reads has it open

    @property
    def room(self) -> Room:
        return self.surroundings.room

    def _dropping(self, feed: Feed, start: int, end: int) -> None:
        assert any(feed.log.held.ranges(start, end)), "it is told before it is done"
        self.dropped.append((start, end))
        self.replicator.tell_dropped(start, end)

    def check(self) -> None:
        """Nothing takes more than it may, and everything that is held will be dropped once."""
        log = self.feed.log
        assert log.allocated_bytes == self.room.used_bytes <= self.limit


@dataclass
class Reader:
    """Reads one range, as a READ of whole pages does: all of it at one time."""

    peer: LimitedPeer
    start: int
    end: int
    want: Want | None = None
    data: bytes = b""

    def go_on(self, now: float) -> bool:
        """True when it has all; else it waits."""
        feed = self.peer.feed
        if self.want is not None and not self.want.done.is_set():
            return False
        if self.want is not None:
            self.end_wait(now)
        self.data = feed.reader.read_nowait(self.start, self.end - self.start)
        if len(self.data) == self.end - self.start:
            return True
        self.want = feed.wants.add(feed.log, self.start, self.end, now)
        self.peer.room.enter(feed, self.want)
        self.peer.replicator.flush(now)
        return False

    def end_wait(self, now: float) -> None:
        assert self.want is not None
        want, self.want = self.want, None
        self.peer.feed.wants.discard(want)
        if self.peer.room.leave(want):
            self.peer.replicator.flush(now)
        if want.error is not None:
            raise want.error


def connected(blocks: list[bytes], reader: LimitedPeer) -> Pipe:
    owner = Peer(is_owner=True, key=1)
    owner.append(blocks)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    return pipe


def read_all(readers: list[Reader], pipe: Pipe, *, max_seconds: int = 60) -> None:
    """Lets them go on, one step of the network at a time, until all have what they want."""
    waiting = list(readers)
    steps = 0
    for now in range(max_seconds):
        moved = True
        while waiting and moved:
            steps += 1
            assert steps < MAX_STEPS, "the same is fetched again and again"
            moved = pipe.step(float(now))
            before = len(waiting)
            waiting = [reader for reader in waiting if not reader.go_on(float(now))]
            moved = moved or len(waiting) < before
            readers[0].peer.check()
        if not waiting:
            return
        readers[0].peer.replicator.handle_timeout(float(now + 1))
    raise AssertionError(f"{len(waiting)} readers wait for ever")


def numbered(sizes: list[int]) -> list[bytes]:
    chance = random.Random(0)
    return [chance.randbytes(size) for size in sizes]


@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 900, 4096, 65_536, 65_537, 200_000]), min_size=20, max_size=60
    ),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 150_000)), min_size=1, max_size=30),
    rounds=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_readers_get_what_they_want_within_the_limit(
    sizes: list[int], places: list[tuple[float, int]], rounds: int
) -> None:
    blocks = numbered([*sizes, 5000])
    content = b"".join(blocks)
    peer, watcher = LimitedPeer(), Peer(is_sparse=True, key=3)
    pipe, to_watcher = connected(blocks, peer), Pipe(watcher, peer)
    to_watcher.offer()
    settle([to_watcher])
    for _ in range(rounds):
        starts = [int(place * (len(content) - 1)) for place, _ in places]
        readers = [
            Reader(peer, start, min(len(content), start + size))
            for start, (_, size) in zip(starts, places, strict=True)
        ]
        read_all(readers, pipe)
        for reader in readers:
            assert reader.data == content[reader.start : reader.end]
    settle([pipe, to_watcher])
    held = list(peer.feed.log.held.ranges(0, len(blocks)))
    (replica,) = watcher.replicator.links
    assert list(replica.remote_held.ranges(0, len(blocks))) == held, "others know what is here"
    peer.room.shrink(LIMIT)  # whatever there is can be dropped: nothing is forgotten
    assert peer.room.used_bytes <= 8192


def test_what_was_read_last_stays() -> None:
    blocks = numbered([CHUNK] * 40)
    peer = LimitedPeer()
    pipe = connected(blocks, peer)
    for index in range(40):
        read_all([Reader(peer, 0, CHUNK)], pipe)  # again and again
        read_all([Reader(peer, index * CHUNK, (index + 1) * CHUNK)], pipe)
    assert peer.feed.log.held.get(0)
    assert peer.feed.log.held.get(39)
    assert not peer.feed.log.held.get(5)


def test_blocks_much_larger_than_the_average_are_had_by_turns() -> None:
    """All seem to fit together, and only two do."""
    sizes = [400_000, *[10] * 200] * 6
    blocks = numbered(sizes)
    peer = LimitedPeer()
    pipe = connected(blocks, peer)
    starts = [number * (400_000 + 2000) for number in range(6)]
    readers = [Reader(peer, start + 1000, start + 399_000) for start in starts]
    read_all(readers, pipe, max_seconds=300)
    content = b"".join(blocks)
    for reader in readers:
        assert reader.data == content[reader.start : reader.end]


def test_who_wants_more_than_there_can_be_is_told() -> None:
    blocks = numbered([700_000, 700_000])
    peer = LimitedPeer()
    pipe = connected(blocks, peer)
    with pytest.raises(StoreFull):
        read_all([Reader(peer, 650_000, 750_000)], pipe, max_seconds=300)
    read_all([Reader(peer, 600_000, 700_000)], pipe, max_seconds=300)
    read_all([Reader(peer, 800_000, 900_000)], pipe, max_seconds=300)


def test_a_feed_is_fetched_whole_only_as_far_as_there_is_room() -> None:
    peer = LimitedPeer(is_sparse=False)
    pipe = connected(numbered([10_000] * 300), peer)
    peer.check()
    assert peer.dropped == []
    held = peer.feed.held_bytes
    assert held > LIMIT / 2
    peer.room.shrink(LIMIT - 100_000)
    assert peer.room.used_bytes <= 100_000
    later = NO_ROOM_SECONDS
    peer.replicator.flush(later)
    settle([pipe], later)
    assert peer.feed.held_bytes > LIMIT / 2


def test_when_nearly_all_room_is_used_only_what_is_read_is_fetched() -> None:
    peer = LimitedPeer(is_sparse=False)
    connected(numbered([10_000] * 93), peer)
    assert LIMIT * FILL_SHARE < peer.room.used_bytes <= LIMIT
    assert peer.feed.log.contiguous_length == 93
    assert not peer.feed.is_whole
    assert not peer.room.has_resumed()
    peer.room.shrink(LIMIT // 2)
    assert peer.room.has_resumed()
    assert not peer.room.has_resumed()
    assert peer.feed.is_whole


async def test_a_read_larger_than_all_room_is_served() -> None:
    """What came first is dropped before the last comes; the reader has it already."""
    blocks = numbered([20_000] * 100)
    peer = LimitedPeer(limit=LIMIT // 4)
    pipe = connected(blocks, peer)
    read: list[bytes] = []

    async def read_range() -> None:
        read.append(await peer.feed.reader.read(10_000, 10_000 + LIMIT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_range)
        await wait_all_tasks_blocked()
        while not read:
            peer.replicator.flush(0.0)
            assert pipe.step(0.0), "nothing comes any more"
            peer.check()
            await wait_all_tasks_blocked()
    assert read == [b"".join(blocks)[10_000 : 10_000 + LIMIT]]


def test_the_window_ahead_is_shared() -> None:
    peer = LimitedPeer()
    connected(numbered([1000] * 2000), peer)
    assert peer.room.ahead_bytes == LIMIT // AHEAD_SHARE
    wants = [peer.feed.wants.add(peer.feed.log, at, at + 1, 0.0) for at in (0, 1, 2, 3)]
    for want in wants:
        peer.room.enter(peer.feed, want)
    assert peer.room.ahead_bytes == LIMIT // AHEAD_SHARE // 4
    ranges = peer.feed.wants.ahead_ranges(peer.feed.log, peer.room.ahead_bytes)
    assert sum(end - start for start, end in ranges) * 1000 <= LIMIT // AHEAD_SHARE


def test_without_a_limit_nothing_is_counted() -> None:
    peer = Peer(key=2)
    owner = Peer(is_owner=True, key=1)
    owner.append(numbered([1000] * 50))
    pipe = Pipe(peer, owner)
    pipe.offer()
    settle([pipe])
    assert peer.surroundings.room.used_bytes == 0
    assert peer.surroundings.room.may_fill()
    assert peer.surroundings.room.ahead_bytes is None
    assert peer.feed.log.contiguous_length == 50
