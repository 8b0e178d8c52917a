"""One connection with thousands of feeds: all are shown, and at rest none is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import crypto
from protozorfs.feeds.feed import Feed
from protozorfs.ids import discovery_key_of
from protozorfs.swarm import session as sessions
from protozorfs.swarm.replicator import Replicator
from protozorfs.types import FeedId
from protozorfs.wire.connection import Connection
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    import pytest

    from protozorfs.swarm.session import Session
    from protozorfs.types import DiscoveryKey
    from protozorfs.wire.connection import ChannelId, ChannelName

MANY = 1000


class Crowd(Peer):
    """A node that follows many feeds, of which it has nothing."""

    def __init__(self, count: int, *, key: int = 0) -> None:
        super().__init__(key=key)
        self.feeds = [self._feed(number) for number in range(count)]
        self._replicators = {
            discovery_key_of(feed.feed_id): Replicator(feed, lambda feed: None, self.busy)
            for feed in self.feeds
        }

    def _feed(self, number: int) -> Feed:
        keys = crypto.key_pair(crypto.blake2b_256(b"feed %d" % number))
        return Feed(
            FeedId(keys.public_key),
            self.surroundings,
            is_owned=False,
            is_followed=True,
            created_ns=0,
            mtime_ns=0,
        )

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        return self._replicators.get(discovery_key)

    @property
    def shown(self) -> int:
        """How many of its feeds the other side has opened, too."""
        return sum(bool(one.links) for one in self._replicators.values())


def opening(crowd: Crowd, session: Session) -> int:
    """How many feeds are shown without an answer, or wait to be shown."""
    return sum(session.is_opening(feed) for feed in crowd.feeds)


def test_thousands_of_feeds_are_open_as_fast_as_both_sides_answer() -> None:
    """No time passes here: only answers let more out."""
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    settle([pipe])
    assert dialler.shown == MANY
    assert listener.shown == MANY


def test_feeds_that_cross_are_opened_once() -> None:
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    pipe.listener.session.offer(reversed(listener.feeds), 0.0)
    settle([pipe])
    assert dialler.shown == MANY
    assert pipe.dialler.fault is None
    assert pipe.listener.fault is None


def test_who_does_not_have_them_is_asked_for_all() -> None:
    """Rejected opens make room as well."""
    dialler, listener = Crowd(MANY), Crowd(1, key=1)
    pipe = Pipe(dialler, listener)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    settle([pipe])
    assert opening(dialler, pipe.dialler.session) == 0
    assert dialler.shown == 1


def test_who_does_not_answer_is_shown_a_few_dozen_then_some_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    settle([pipe])
    pipe.is_cut = True
    connection = pipe.dialler.session.connection
    opened: list[ChannelName] = []

    def open_channel(name: ChannelName, handshake: bytes) -> ChannelId:
        opened.append(name)
        return Connection.open(connection, name, handshake)

    monkeypatch.setattr(connection, "open", open_channel)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    assert len(opened) == sessions.MAX_OPENING
    for second in (1, 2, 3):
        pipe.dialler.session.tick(float(second))
        assert len(opened) == sessions.MAX_OPENING + second * sessions.OPENS_PER_SECOND


def test_in_the_long_run_the_pace_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OPEN_BURST", 300)
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    settle([pipe])
    assert dialler.shown == 300
    pipe.dialler.session.tick(1.0)
    settle([pipe], 1.0)
    assert dialler.shown == 300 + sessions.OPENS_PER_SECOND


def test_what_a_reader_waits_for_is_shown_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OPEN_BURST", 300)
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    session = pipe.dialler.session
    session.offer(dialler.feeds, 0.0)
    settle([pipe])
    wanted = dialler.feeds[-1]
    assert session.is_opening(wanted)
    session.hurry(wanted, 0.5)
    session.hurry(dialler.feeds[0], 0.5)  # shown long ago: nothing to hurry
    session.tick(1.0)
    settle([pipe], 1.0)
    assert not session.is_opening(wanted)
    assert session.is_opening(dialler.feeds[-2])


def test_an_end_forgets_all_channels() -> None:
    dialler, listener = Crowd(MANY), Crowd(MANY, key=1)
    pipe = Pipe(dialler, listener)
    pipe.dialler.session.offer(dialler.feeds, 0.0)
    settle([pipe])
    pipe.dialler.session.withdraw(dialler.feeds[0], 0.0, was_found=False)
    settle([pipe])
    assert listener.shown == MANY - 1
    pipe.close(0.0)
    assert dialler.shown == listener.shown == 0


def test_a_replicator_is_busy_only_while_something_is_under_way() -> None:
    owner, follower = Peer(is_owner=True), Peer(key=1)
    owner.append([b"one"])
    pipe = Pipe(follower, owner)
    pipe.offer()
    while follower.feed.length == 0 and not follower.busy:
        assert pipe.step(0.0)
    assert follower.busy == {follower.replicator}
    settle([pipe])
    assert follower.feed.log.contiguous_length == 1
    assert not follower.busy
    assert not owner.busy


def test_a_peer_that_is_gone_keeps_nothing_busy() -> None:
    owner, follower = Peer(is_owner=True), Peer(key=1)
    owner.append([b"one"])
    pipe = Pipe(follower, owner)
    pipe.offer()
    while not follower.busy:
        assert pipe.step(0.0)
    pipe.close(1.0)
    assert not follower.busy
