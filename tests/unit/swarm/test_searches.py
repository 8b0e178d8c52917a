"""When the search for a first head is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.swarm.searches import Searches
from tests.unit.swarm.memory_peers import Peer

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed


class World:
    """A feed of which nothing is known, and whether somebody may bring its head."""

    def __init__(self) -> None:
        self.feed = Peer().feed
        self.is_hopeful = True
        self.looks = 0
        self.searches = Searches(self._may_find)

    def _may_find(self, feed: Feed) -> bool:
        assert feed is self.feed
        self.looks += 1
        return self.is_hopeful


def test_it_goes_on_while_somebody_may_bring_a_head() -> None:
    world = World()
    world.searches.start(world.feed)
    world.searches.check(world.feed)
    assert not world.feed.head_search.is_over
    world.is_hopeful = False
    world.searches.check(world.feed)
    assert world.feed.head_search.is_over
    world.searches.start(world.feed)
    assert not world.feed.head_search.is_over, "a new one"


def test_the_loss_of_peers_is_looked_into_once_a_second() -> None:
    world = World()
    world.searches.start(world.feed)
    for _ in range(1000):
        world.searches.lost_a_peer()
    assert world.looks == 0
    world.searches.check_all([])
    world.searches.check_all([])
    assert world.looks == 1
    world.is_hopeful = False
    world.searches.lost_a_peer()
    world.searches.check_all([])
    assert world.feed.head_search.is_over


def test_a_feed_that_the_lan_does_not_answer_for_is_looked_into() -> None:
    world = World()
    world.searches.start(world.feed)
    world.is_hopeful = False
    world.searches.check_all([])
    assert not world.feed.head_search.is_over
    world.searches.check_all([world.feed])
    assert world.feed.head_search.is_over


def test_a_feed_that_was_let_go_is_looked_into_no_more() -> None:
    world = World()
    world.searches.start(world.feed)
    world.searches.forget(world.feed)
    world.searches.check(world.feed)
    assert world.looks == 0
