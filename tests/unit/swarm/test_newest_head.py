"""Which peers tell an owner that no newer head is known: those that show one as new as ours."""

from __future__ import annotations

import pytest

from tests.unit.swarm.fork_peers import OURS, Liar, connect, follower, owner_of
from tests.unit.swarm.memory_peers import Peer, settle


def test_one_that_has_the_head_from_elsewhere_does() -> None:
    owner = owner_of(OURS)
    assert not owner.replicator.knows_newest()
    connect(follower(), owner)
    assert owner.replicator.knows_newest()


def test_so_does_one_that_has_a_newer_head_once_it_is_here() -> None:
    owner = owner_of(OURS[:1])
    connect(follower(), owner)
    assert owner.feed.length == len(OURS)
    assert owner.replicator.knows_newest()


@pytest.mark.parametrize("count", [0, 2], ids=["nothing", "less"])
def test_one_that_has_less_does_not_nor_when_it_got_the_rest_here(count: int) -> None:
    owner, reader = owner_of(OURS), follower(OURS[:count])
    for _ in range(2):
        pipe = connect(reader, owner)
        assert reader.feed.length == len(OURS)
        assert not owner.replicator.knows_newest()
        pipe.close(0.0)


@pytest.mark.parametrize("length", [len(OURS), 2 * len(OURS)])
def test_one_that_claims_a_length_and_shows_nothing_does_not(length: int) -> None:
    owner, liar = owner_of(OURS), Liar()
    pipe = connect(liar, owner)
    liar.claim(0, length)
    settle([pipe])
    assert not owner.replicator.knows_newest()


def test_beyond_what_can_be_remembered_nobody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protozorfs.swarm.replicator.MAX_GIVEN", 1)
    owner = owner_of(OURS)
    connect(Peer(key=5), owner)
    connect(follower(), owner)
    assert not owner.replicator.knows_newest()
