"""Feeds that are let go and followed again while a connection lives: either side shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.swarm import session as sessions
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from protozorfs.swarm.replicator import Replicator
    from protozorfs.swarm.session import Session
    from protozorfs.types import DiscoveryKey


class Moody(Peer):
    """A node that lets its feed go, and takes it again."""

    def __init__(self, *, is_owner: bool = False, key: int = 0) -> None:
        super().__init__(is_owner=is_owner, key=key)
        self.has_feed = True

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        return super().replicator_for(discovery_key) if self.has_feed else None

    def let_go(self, session: Session, *, was_found: bool = False) -> None:
        self.has_feed = False
        session.withdraw(self.feed, 0.0, was_found=was_found)

    def come_back(self, session: Session) -> None:
        self.has_feed = True
        session.offer_if_awaited(self.feed, 0.0)


def joined() -> tuple[Moody, Moody, Pipe]:
    """A dialler and a listener that have the feed open."""
    dialler, listener = Moody(key=1), Moody(is_owner=True, key=2)
    listener.append([b"one"])
    pipe = Pipe(dialler, listener)
    pipe.offer()
    settle([pipe])
    assert dialler.feed.length == 1
    return dialler, listener, pipe


def are_joined(pipe: Pipe) -> bool:
    settle([pipe])
    return all(end.peer.replicator.links for end in (pipe.dialler, pipe.listener))


@pytest.mark.parametrize("side", ["dialler", "listener"])
def test_who_lets_go_and_comes_back_is_joined_at_once(side: str) -> None:
    dialler, listener, pipe = joined()
    peer, end = (dialler, pipe.dialler) if side == "dialler" else (listener, pipe.listener)
    for _ in range(3):
        peer.let_go(end.session)
        settle([pipe])
        assert not dialler.replicator.links
        assert not listener.replicator.links
        peer.come_back(end.session)
        assert are_joined(pipe)


@pytest.mark.parametrize("order", ["same", "reverse"])
def test_both_let_go_and_come_back_in_whatever_order(order: str) -> None:
    dialler, listener, pipe = joined()
    dialler.let_go(pipe.dialler.session)
    settle([pipe])
    listener.let_go(pipe.listener.session)
    settle([pipe])
    back = [(dialler, pipe.dialler), (listener, pipe.listener)]
    for peer, end in back if order == "same" else back[::-1]:
        peer.come_back(end.session)
        settle([pipe])
    assert are_joined(pipe)


def test_letting_go_and_coming_back_before_the_other_side_hears_of_it() -> None:
    dialler, listener, pipe = joined()
    dialler.let_go(pipe.dialler.session)
    dialler.come_back(pipe.dialler.session)
    listener.let_go(pipe.listener.session)
    listener.come_back(pipe.listener.session)
    assert are_joined(pipe)


def test_a_peer_that_was_found_for_a_feed_is_shown_it_after_the_handshake() -> None:
    """It was let go, and came back, while the handshake was under way."""
    dialler, listener = Moody(key=1), Moody(is_owner=True, key=2)
    listener.append([b"one"])
    pipe = Pipe(dialler, listener)
    dialler.let_go(pipe.dialler.session, was_found=True)
    dialler.come_back(pipe.dialler.session)
    assert are_joined(pipe)


def test_nothing_is_revealed_to_a_peer_that_knows_nothing_of_the_feed() -> None:
    dialler, listener = Moody(key=1), Moody(is_owner=True, key=2)
    pipe = Pipe(dialler, listener)
    settle([pipe])
    listener.let_go(pipe.listener.session)
    listener.come_back(pipe.listener.session)
    settle([pipe])
    assert not pipe.listener.session.is_opening(listener.feed)
    assert not listener.replicator.links


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_REMEMBERED", 0)
    dialler, _, pipe = joined()
    dialler.let_go(pipe.dialler.session)
    settle([pipe])
    dialler.come_back(pipe.dialler.session)
    assert not are_joined(pipe)
