"""What peers are told of the blocks that are here, and what Node's hypercore makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.swarm.link import MAX_REFUSALS
from protozorfs.wire import messages as m
from protozorfs.wire.replication import MAX_DROPPED_SEGMENTS, MAX_WANTED_BLOCKS, WANT_BLOCKS
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.wire.replication import Replica

BLOCKS = 100
WINDOW_BLOCKS = 32  # the smallest that a want may be about


@dataclass
class NodesView:
    """What a Node believes that a peer holds. Source: lib/replicator.js, `on{range,bitfield}`."""

    is_old: bool  # as up to 11.37.1
    contiguous: int = 0
    bits: set[int] = field(default_factory=set)
    told_contiguous: int = 0  # `remoteContiguousLength`: the most that was ever told
    messages: int = 0

    def receive(self, message_type: int, body: bytes) -> None:
        self.messages += message_type in (m.RANGE, m.BITFIELD)
        if message_type == m.RANGE:
            self._on_range(m.decode_range(body))
        elif message_type == m.BITFIELD:
            self._on_bitfield(m.decode_bitfield(body))

    def _on_range(self, message: m.Range) -> None:
        start, end = message.start, message.start + message.length
        if message.drop and start < self.contiguous:
            if not self.is_old:
                self.bits.update(range(end, self.contiguous))
            self.contiguous = start
        if message.drop:
            self.bits.difference_update(range(start, end))
        elif start == 0:
            self.contiguous = max(self.contiguous, end)
            self.told_contiguous = max(self.told_contiguous, end)
        else:
            self.bits.update(range(start, end))

    def _on_bitfield(self, message: m.BitfieldMessage) -> None:
        self.contiguous = min(self.contiguous, message.start)
        bits = int.from_bytes(message.words, "little")
        for at in range(8 * len(message.words)):
            (self.bits.add if bits >> at & 1 else self.bits.discard)(message.start + at)

    def held(self) -> set[int]:
        return self.bits | set(range(self.contiguous))


def look(peer: Peer, see: Callable[[int, bytes], None]) -> None:
    """Shows all messages of its feed that a peer gets from now on, before it takes them."""
    receive = peer.replicator.receive

    def see_and_receive(replica: Replica, message_type: int, body: bytes, now: float) -> None:
        see(message_type, body)
        receive(replica, message_type, body, now)

    peer.replicator.receive = see_and_receive  # type: ignore[method-assign]


class Watcher(Peer):
    """Fetches nothing, and looks at the messages that it gets with the eyes of two Nodes."""

    def __init__(self) -> None:
        super().__init__(is_sparse=True, key=3)
        self.views = [NodesView(is_old=True), NodesView(is_old=False)]
        for view in self.views:
            look(self, view.receive)

    def want(self, window: int) -> None:
        (replica,) = self.replicator.links
        want = m.Want(window * WINDOW_BLOCKS, WINDOW_BLOCKS)
        replica.connection.send(replica.channel, m.WANT, m.encode_want(want))


def owner_of(count: int) -> Peer:
    owner = Peer(is_owner=True, key=1)
    owner.append([bytes([index]) * 20 for index in range(count)])
    return owner


def watched(peer: Peer) -> tuple[Watcher, Pipe]:
    """Somebody who sees all that a peer tells."""
    watcher = Watcher()
    pipe = Pipe(watcher, peer, name="watcher-")
    pipe.offer()
    settle([pipe])
    return watcher, pipe


def fetch(peer: Peer, start: int, end: int, pipes: list[Pipe]) -> None:
    """Somebody reads these blocks."""
    for index in range(start, min(end, peer.feed.length)):
        want = peer.feed.wants.add_block(peer.feed.log, index, 0.0)
        peer.replicator.flush(0.0)
        settle(pipes)
        peer.feed.wants.discard(want)


def drop(peer: Peer, start: int, end: int) -> None:
    peer.replicator.tell_dropped(start, end)
    peer.feed.log.drop(start, end)


places = st.integers(0, BLOCKS - 1)
steps = st.one_of(
    st.tuples(st.just("drop"), places, st.integers(1, BLOCKS)),
    st.tuples(st.just("fetch"), places, st.integers(1, 12)),
    st.tuples(st.just("want"), st.integers(0, BLOCKS // WINDOW_BLOCKS), st.just(0)),
    st.tuples(st.just("whole"), st.just(0), st.just(0)),
    st.tuples(st.just("grow"), st.just(0), st.just(0)),
)


@given(st.lists(steps, max_size=25))
@settings(max_examples=60, deadline=None)
def test_every_node_knows_what_is_here_whatever_comes_and_goes(
    story: list[tuple[str, int, int]],
) -> None:
    owner, relay = owner_of(BLOCKS), Peer(key=2)
    to_owner = Pipe(relay, owner)
    to_owner.offer()
    settle([to_owner])
    relay.surroundings.is_sparse = True
    watcher, to_watcher = watched(relay)
    pipes = [to_owner, to_watcher]
    for what, start, count in story:
        if what == "drop":
            drop(relay, start, min(start + count, BLOCKS))
        elif what == "fetch":
            fetch(relay, start, start + count, pipes)
        elif what == "want":
            watcher.want(start)
        elif what == "whole":
            fetch(relay, 0, relay.feed.length, pipes)
        else:
            owner.append([b"more"])
        settle(pipes)
        log = relay.feed.log
        held = {index for index in range(log.length) if log.held.get(index)}
        for view in watcher.views:
            assert view.held() == held
        (replica,) = watcher.replicator.links
        assert set(replica.remote_held.ranges(0, log.length)) == set(log.held.ranges(0, log.length))
        if log.contiguous_length == log.length:
            assert watcher.views[0].told_contiguous == log.length


def test_many_drops_cost_one_message_each_and_few_more() -> None:
    """In the order of reading, one says once more what is behind them, however many follow."""
    owner = owner_of(200)
    relay = Peer(key=2)
    pipe = Pipe(relay, owner)
    pipe.offer()
    settle([pipe])
    watcher, to_watcher = watched(relay)
    for start in range(0, 200, 2):
        before = watcher.views[0].messages
        drop(relay, start, start + 2)
        settle([to_watcher])
        assert watcher.views[0].messages - before == (2 if start == 0 else 1)
    assert all(view.held() == set() for view in watcher.views)


def test_who_gets_everything_tells_the_one_it_has_it_from_once() -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    told: list[m.Range] = []

    def see(message_type: int, body: bytes) -> None:
        if message_type == m.RANGE:
            told.append(m.decode_range(body))

    look(owner, see)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    assert told == [m.Range(False, 0, BLOCKS)]
    owner.append([b"more"])
    settle([pipe])
    assert told[1:] == [m.Range(False, 0, BLOCKS + 1)]


def test_what_is_not_durable_is_told_to_nobody_who_asks() -> None:
    owner = owner_of(5)
    owner.feed.log.append([b"in the page cache only"])
    watcher, pipe = watched(owner)
    watcher.want(0)
    settle([pipe])
    assert watcher.views[0].held() == set(range(5))


def test_all_of_many_wants_at_once_are_answered() -> None:
    owner = owner_of(1)
    owner.append([b"."] * WINDOW_BLOCKS * 500)
    relay = Peer(is_sparse=True, key=2)
    pipe = Pipe(relay, owner)
    pipe.offer()
    settle([pipe])
    fetch(relay, 490 * WINDOW_BLOCKS, 490 * WINDOW_BLOCKS + 1, [pipe])
    watcher, to_watcher = watched(relay)
    assert watcher.views[0].held() == set()
    for window in range(500):
        watcher.want(window)
    settle([to_watcher])
    assert watcher.views[0].held() == {
        index for index in range(relay.feed.length) if relay.feed.log.held.get(index)
    }
    assert watcher.views[0].held()


def test_wants_of_more_than_can_be_looked_at_quickly_are_not_kept() -> None:
    owner = owner_of(1)
    watched(owner)
    (replica,) = owner.replicator.links
    most = MAX_WANTED_BLOCKS // WANT_BLOCKS
    for number in range(most + 10):
        replica.receive(m.WANT, m.encode_want(m.Want(number * WANT_BLOCKS, WANT_BLOCKS)))
    assert len(replica.to_tell) == most
    replica.receive(m.UNWANT, m.encode_unwant(m.Unwant(WANT_BLOCKS, WANT_BLOCKS)))
    assert replica.next_want() == (0, WANT_BLOCKS)
    for number in range(most, most + 10):
        replica.receive(m.WANT, m.encode_want(m.Want(number * WANT_BLOCKS, WANT_BLOCKS)))
    assert len(replica.to_tell) == most


def test_requests_that_cross_a_drop_cost_no_trust() -> None:
    """Neither that of our own kind, nor Node's, which counts 32 answers with a reason at most."""
    owner = owner_of(200)
    relay, reader = Peer(key=2), Peer(key=3)
    to_owner, to_relay = Pipe(relay, owner, name="a"), Pipe(reader, relay, name="b")
    to_owner.offer()
    settle([to_owner])
    to_owner.close(0.0)
    to_relay.offer()
    while len(reader.feed.wants.asked) <= MAX_REFUSALS:
        to_relay.step(0.0)
    (replica,) = reader.replicator.links
    reasons: list[int] = []

    def see(message_type: int, body: bytes) -> None:
        if message_type == m.NO_DATA:
            reasons.append(m.decode_no_data(body).reason)

    look(reader, see)
    drop(relay, 0, 190)
    settle([to_relay])
    assert len(reasons) >= MAX_REFUSALS
    assert set(reasons) == {0}
    assert replica.refusals == 0
    assert all(reader.feed.log.held.get(index) for index in range(190, 200))


def test_what_is_asked_again_after_a_drop_is_refused_with_a_reason() -> None:
    relay = owner_of(1)
    watched(relay)
    (replica,) = relay.replicator.links
    replica.send_dropped(3, 5)
    assert [replica.takes_dropped(3) for _ in range(2)] == [True, False]
    assert replica.takes_dropped(4)
    assert not replica.takes_dropped(5)
    for page in range(3 * MAX_DROPPED_SEGMENTS):
        replica.send_dropped(page * 8192, page * 8192 + 1)
        assert replica._dropped.segments <= MAX_DROPPED_SEGMENTS
