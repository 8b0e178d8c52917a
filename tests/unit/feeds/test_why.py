"""What is said of waiting readers, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.feeds.facts import FeedFacts, LanFacts, LinkFacts, PeerFacts, PeerState, SearchFacts
from protozorfs.feeds.ports import FeedState
from protozorfs.feeds.why import explain, make_report
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed

NOW = 100.0
A_READER = "for which 1 reader has waited 12 s"
ASKING = SearchFacts(is_online=True, is_running=True, done_seconds=None, next_seconds=None)


def link(name: str = "a:1", *, has: bool = False, trouble: str = "") -> LinkFacts:
    return LinkFacts(name=name, length=3, has_wanted=has, trouble=trouble)


def peer(state: PeerState, retry: float | None = None, why: str = "") -> PeerFacts:
    return PeerFacts(
        address="b:2", state=state, is_users=True, retry_seconds=retry, why=why, feed_count=1
    )


def sparse_reader() -> Peer:
    """A peer that knows the head of a feed of three blocks and has none of them."""
    owner, reader = Peer(is_owner=True, key=1), Peer(is_sparse=True, key=2)
    owner.append([b"one", b"two", b"three"])
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    pipe.close(0.0)
    assert reader.feed.log.length == 3
    assert reader.feed.held_bytes == 0
    return reader


@pytest.fixture
def reader() -> Peer:
    return sparse_reader()


NOBODY = "no peer that has the feed is connected; no other is known"
ADVICE = "; see that somebody who has it is up, or name its address with peer=HOST:PORT"


@pytest.fixture
def feed(reader: Peer) -> Feed:
    """Its first block is waited for."""
    reader.feed.wants.add(reader.feed.log, 0, 3, NOW - 12)
    return reader.feed


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            FeedFacts(),
            "no peer that has the feed is connected; no other is known",
        ),
        (
            FeedFacts(links=[link(), link("c:3")], search=ASKING),
            "2 peers are connected, none has it; the DHT is being asked",
        ),
        (
            FeedFacts(links=[link(has=True, trouble="does not give anything")]),
            "a:1 has it but does not give anything",
        ),
        (
            FeedFacts(links=[link(has=True, trouble="sulks"), link("c:3", has=True)]),
            "c:3 has it, and is asked as soon as what was asked before has come",
        ),
        (
            FeedFacts(others=[peer(PeerState.DIALLING)]),
            "no peer that has the feed is connected; b:2 is being dialled",
        ),
        (
            FeedFacts(others=[peer(PeerState.CONNECTED)]),
            "no peer that has the feed is connected; b:2 is connected, but has not opened it",
        ),
        (
            FeedFacts(others=[peer(PeerState.WAITING, 3.0, "refused")] * 5),
            "no peer that has the feed is connected; "
            + ", ".join(["b:2 is dialled in 3.0 s (refused)"] * 3)
            + " and 2 more",
        ),
        (
            FeedFacts(others=[peer(PeerState.LEFT_ALONE, None, "that is this node itself")]),
            "no peer that has the feed is connected; b:2 is left alone (that is this node itself)",
        ),
        (
            FeedFacts(
                search=SearchFacts(
                    is_online=False, is_running=True, done_seconds=None, next_seconds=None
                )
            ),
            "no peer that has the feed is connected; no other is known; no DHT node answers",
        ),
        (
            FeedFacts(
                search=SearchFacts(
                    is_online=True, is_running=False, done_seconds=300.0, next_seconds=60.0
                )
            ),
            "no peer that has the feed is connected; no other is known; "
            "the DHT was asked 5 min ago",
        ),
        (
            FeedFacts(
                search=SearchFacts(
                    is_online=True, is_running=False, done_seconds=None, next_seconds=1.0
                )
            ),
            "no peer that has the feed is connected; no other is known; the DHT was not asked yet",
        ),
    ],
)
def test_nobody_was_asked(feed: Feed, facts: FeedFacts, reason: str) -> None:
    assert explain(feed, facts, NOW) == f"block 0, {A_READER}: {reason}"


def test_who_was_asked_is_told(feed: Feed) -> None:
    feed.wants.note_asked(0, "a:1", NOW - 3)
    feed.wants.note_asked(0, "c:3", NOW - 0.5)
    assert explain(feed, FeedFacts(links=[link(has=True)]), NOW) == (
        f"block 0, {A_READER}: asked of a:1 3.0 s ago, c:3 0.5 s ago"
    )


def test_several_readers(feed: Feed) -> None:
    feed.wants.add(feed.log, 3, 6, NOW - 1)
    assert explain(feed, FeedFacts(), NOW).startswith(
        "block 0, for which 2 readers have waited up to 12 s: "
    )


def test_a_full_disk(feed: Feed, reader: Peer) -> None:
    reader.surroundings.has_room = False
    assert explain(feed, FeedFacts(links=[link(has=True)]), NOW) == (
        f"block 0, {A_READER}: the disk is nearly full, so fetching is paused"
    )


def test_a_reader_whose_turn_has_not_come(feed: Feed) -> None:
    (want,) = feed.wants
    want.is_admitted = False
    assert explain(feed, FeedFacts(links=[link(has=True)]), NOW) == (
        f"block 0, {A_READER}: what other readers wait for comes first,"
        " since cache_size has no room for all"
    )


def test_a_reader_of_a_whole_block(reader: Peer) -> None:
    want = reader.feed.wants.add_block(reader.feed.log, 2, NOW)
    assert explain(reader.feed, FeedFacts(), NOW + 12).startswith(f"block 2, {A_READER}: ")
    assert reader.feed.wants.urgent_blocks() == [2]
    reader.feed.wants.discard(want)


def test_nobody_waits(reader: Peer) -> None:
    feed = reader.feed
    assert explain(feed, FeedFacts(), NOW) == (
        "nobody waits: 3 of 3 blocks are missing and are fetched when they are read"
    )
    reader.surroundings.is_sparse = False
    assert explain(feed, FeedFacts(), NOW) == (
        "nobody waits: 3 of 3 blocks are missing and are being fetched"
    )
    reader.surroundings.has_room = False
    assert explain(feed, FeedFacts(), NOW) == (
        "nobody waits: 3 of 3 blocks are missing and are not fetched, since the disk is nearly full"
    )
    owner = Peer(is_owner=True)
    assert explain(owner.feed, FeedFacts(), NOW) == "nobody waits: nothing was appended yet"
    owner.append([b"x"])
    assert explain(owner.feed, FeedFacts(), NOW) == "nobody waits: its only block is here"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            FeedFacts(lan=LanFacts(has_links=True, may_answer=True, asked_seconds=0.5)),
            f"{NOBODY}; the local network is being asked{ADVICE}",
        ),
        (
            FeedFacts(lan=LanFacts(has_links=True, may_answer=False, asked_seconds=12.0)),
            f"{NOBODY}; the local network was asked 12 s ago{ADVICE}",
        ),
        (
            FeedFacts(lan=LanFacts(has_links=True, may_answer=False, asked_seconds=None)),
            f"{NOBODY}; the local network was not asked yet{ADVICE}",
        ),
        (
            FeedFacts(lan=LanFacts(has_links=False, may_answer=False, asked_seconds=None)),
            f"{NOBODY}; no local network can be used{ADVICE}",
        ),
        (
            FeedFacts(others=[peer(PeerState.DIALLING)], search=ASKING),
            "no peer that has the feed is connected; b:2 is being dialled; "
            f"the DHT is being asked{ADVICE}",
        ),
        (
            FeedFacts(links=[link()]),
            "1 peer is connected, none has told one; "
            "it is known as soon as its owner appends to it",
        ),
    ],
)
def test_a_feed_of_which_nothing_is_known(facts: FeedFacts, reason: str) -> None:
    expected = f"nobody waits: no head is known yet; {reason}"
    assert explain(Peer().feed, facts, NOW) == expected


def test_readers_at_the_end(reader: Peer) -> None:
    feed = reader.feed
    with feed.wants.for_growth.one(NOW - 12):
        known = FeedFacts(links=[link()])
        start = f"block 3, the next one, {A_READER}: "
        assert explain(feed, known, NOW) == start + "1 peer is connected, none knows of it"
        feed.remote_length = 5
        assert explain(feed, known, NOW) == (
            start + "1 peer is connected, a head of length 5 is being fetched"
        )
        assert make_report(feed, None, NOW).waiting == 1
    assert make_report(feed, None, NOW).waiting == 0


def test_opens_that_wait_for_a_head() -> None:
    feed = Peer().feed
    with feed.wants.for_head.one(NOW - 12):
        assert explain(feed, FeedFacts(links=[link()], search=ASKING), NOW) == (
            "the first head, for which 1 open has waited 12 s: "
            "1 peer is connected, none has told one; the DHT is being asked"
        )


def test_a_frozen_feed(feed: Feed) -> None:
    """Two signed heads that are not of one history."""
    own = feed.log.head
    assert own is not None
    rival = Peer(is_owner=True, key=3)
    rival.append([b"another", b"history", b"altogether"])
    other = rival.feed.log.head
    assert other is not None
    assert feed.conflicts.check_head(feed.log, feed.known_head.head, other)
    assert feed.state is FeedState.FROZEN
    assert explain(feed, FeedFacts(), NOW) == (
        f"block 0, {A_READER}: the feed is frozen, since two histories of it are signed: "
        "nothing is fetched"
    )


def test_the_report_counts_what_is_here(reader: Peer) -> None:
    report = make_report(reader.feed, None, NOW)
    assert (report.held_blocks, report.contiguous_blocks, report.waiting) == (0, 0, 0)
    assert report.head == reader.feed.log.head
