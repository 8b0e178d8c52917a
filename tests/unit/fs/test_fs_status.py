"""The words of the status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.feeds.facts import (
    CheckFacts,
    DhtFacts,
    FeedFacts,
    FeedReport,
    LinkFacts,
    NodeFacts,
    PeerFacts,
    PeerState,
    ScrubCounts,
    ScrubFacts,
)
from protozorfs.fs import status_text
from protozorfs.fs.status import StatusTree
from protozorfs.types import FeedId
from tests.memory_feeds import MemoryFeed, MemoryFeeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID = FeedId(crypto.key_pair(b"\1" * 32).public_key)
PEER = PeerFacts(
    address="192.0.2.1:4000",
    state=PeerState.WAITING,
    is_users=True,
    retry_seconds=2.25,
    why="Connection refused",
    feed_count=3,
)


class KnownFeeds(MemoryFeeds):
    """Feeds of a node about which everything is known."""

    facts: NodeFacts | None = None

    check: CheckFacts | None = None
    scrub: ScrubFacts | None = None

    def node_facts(self) -> NodeFacts | None:
        return self.facts

    def check_facts(self) -> CheckFacts | None:
        return self.check

    def scrub_facts(self) -> ScrubFacts | None:
        return self.scrub


def facts(
    peers: Sequence[PeerFacts] = (), *, dht: DhtFacts | None, lan: Mapping[str, str] | None
) -> NodeFacts:
    return NodeFacts(
        addresses=["0.0.0.0:4000", "[::]:4000"],
        reachability="yes: 198.51.100.7 has dialled this node",
        dht=dht,
        lan=lan,
        peers=peers,
    )


@pytest.fixture
async def feeds() -> KnownFeeds:
    feeds = KnownFeeds()
    (await feeds.create(b"journal")).stage([b"x"])
    await feeds.follow(ID, b"paul")
    return feeds


async def test_status_for_people(feeds: KnownFeeds) -> None:
    dht = DhtFacts(nodes={"IPv4": 120, "IPv6": 0}, refreshed_share=0.955)
    feeds.facts = facts([PEER], dht=dht, lan={"eth0": "", "wlan0": "no route"})
    feeds.named[b"paul"].waiting_count = 1
    assert status_text.status(feeds) == (
        "listens at  0.0.0.0:4000, [::]:4000\n"
        "reachable   yes: 198.51.100.7 has dialled this node\n"
        "DHT         nodes that answer: 120 by IPv4, 0 by IPv6; "
        "96% of feeds had a turn in the last hour\n"
        "LAN         eth0, wlan0 (no route)\n"
        "free space  plenty\n"
        "feeds       2: 1 owned, 1 resolving\n"
        "\n"
        "readers wait\n"
        "  paul: a reason from memory\n"
        "\n"
        "peers\n"
        "  192.0.2.1:4000  waiting  (given by you; found for 3 feeds; dialled again in 2.2 s; "
        "Connection refused)\n"
    )


async def test_why_a_feed_is_frozen_is_said(feeds: KnownFeeds) -> None:
    paul = feeds.named[b"paul"]
    paul.state, paul.frozen_why = "frozen", "two histories of it are signed"
    assert status_text.status(feeds) == (
        "free space  plenty\n"
        "feeds       2: 1 frozen, 1 owned\n"
        "\n"
        "frozen; `protozorfs check --evidence NAME` prints the proof\n"
        "  paul: two histories of it are signed\n"
    )
    told = json.loads(status_text.status_json(feeds))["feeds"]
    assert [feed["frozen_why"] for feed in told] == [None, "two histories of it are signed"]


async def test_what_helps_damaged_feeds_is_said(feeds: KnownFeeds) -> None:
    feeds.named[b"journal"].state = "damaged"
    feeds.named[b"paul"].is_lost = True
    assert status_text.status(feeds) == (
        "free space  plenty\n"
        "feeds       2: 1 damaged, 1 unreadable\n"
        "\n"
        "damaged\n"
        "  journal: it takes no appends until a follower brings back what was lost;"
        " `protozorfs check` says what that is\n"
        "  paul: it cannot be opened; `protozorfs check` says why, and what helps\n"
    )


async def test_that_the_store_is_gone_is_said(feeds: KnownFeeds) -> None:
    assert json.loads(status_text.status_json(feeds))["store_trouble"] is None
    feeds.surroundings.trouble = "the store was deleted"
    assert status_text.status(feeds).startswith("store       the store was deleted\nfree space  ")
    assert json.loads(status_text.status_json(feeds))["store_trouble"] == "the store was deleted"


async def test_what_is_off_is_said(feeds: KnownFeeds) -> None:
    feeds.facts = facts(dht=None, lan=None)
    feeds.surroundings.has_room = False
    text = status_text.status(feeds)
    assert "DHT         off\nLAN         off\n" in text
    assert "free space  nearly none left, so that fetching is paused\n" in text
    feeds.facts = facts(dht=DhtFacts(nodes={}, refreshed_share=1.0), lan={})
    text = status_text.status(feeds)
    assert "DHT         nodes that answer: none; " in text
    assert "LAN         no link can be used\n" in text


async def test_before_anything_is_connected(feeds: KnownFeeds) -> None:
    assert status_text.status(feeds) == "free space  plenty\nfeeds       2: 1 owned, 1 resolving\n"
    assert json.loads(status_text.status_json(feeds))["node"] is None


async def test_a_check_behind_the_mount_is_told(feeds: KnownFeeds) -> None:
    assert json.loads(status_text.status_json(feeds))["check"] is None
    feeds.check = CheckFacts(
        feeds_left=3, bytes_left=2_500_000_000, bytes_done=500_000_000, bytes_per_second=1.5e8
    )
    assert status_text.status(feeds).splitlines()[1] == (
        "check       of what the last run left, behind the mount: 500 of about 3000 MB, 150 MB/s,"
        " feeds left: 3"
    )
    assert json.loads(status_text.status_json(feeds))["check"] == {
        "feeds_left": 3,
        "bytes_left": 2_500_000_000,
        "bytes_done": 500_000_000,
        "bytes_per_second": 150_000_000,
    }


async def test_long_lists_are_cut_for_people_only(feeds: KnownFeeds) -> None:
    feeds.facts = facts([PEER] * 60, dht=None, lan=None)
    lines = status_text.status(feeds).splitlines()
    assert sum("192.0.2.1" in line for line in lines) == status_text.MAX_LISTED
    assert lines[-1] == "  and 10 more"
    assert len(json.loads(status_text.status_json(feeds))["peers"]) == 60


async def test_status_for_programs(feeds: KnownFeeds) -> None:
    dht = DhtFacts(nodes={"IPv4": 120}, refreshed_share=0.5)
    feeds.facts = facts([PEER], dht=dht, lan={"eth0": ""})
    told = json.loads(status_text.status_json(feeds))
    assert told["node"] == {
        "addresses": ["0.0.0.0:4000", "[::]:4000"],
        "reachability": "yes: 198.51.100.7 has dialled this node",
        "dht": {"nodes": {"IPv4": 120}, "refreshed_share": 0.5},
        "lan": {"eth0": ""},
    }
    assert told["peers"][0]["retry_seconds"] == 2.25
    assert [feed["name"] for feed in told["feeds"]] == ["journal", "paul"]
    assert told["may_fetch"] is True


def test_peers_of_a_feed() -> None:
    found = FeedFacts(
        links=[
            LinkFacts(name="a:1", length=7, has_wanted=False, trouble="does not give anything"),
            LinkFacts(name="b:2", length=None, has_wanted=False, trouble=""),
        ],
        others=[PEER],
    )
    assert status_text.feed_peers(found).splitlines() == [
        "a:1  connected, has a head of length 7; does not give anything",
        "b:2  connected, has told nothing yet",
        "192.0.2.1:4000  waiting  (given by you; found for 3 feeds; dialled again in 2.2 s; "
        "Connection refused)",
    ]


def test_there_is_no_head_before_there_is_one() -> None:
    report = FeedReport(
        head=None, held_blocks=0, contiguous_blocks=0, waiting=0, why="", facts=FeedFacts()
    )
    feed = MemoryFeed(ID, is_owned=False)
    assert status_text.head(feed, report) == ""
    assert "blocks 0 of unknown\nbytes 0 of unknown\n" in status_text.progress(feed, report)


async def test_the_tree(feeds: KnownFeeds) -> None:
    tree = StatusTree(feeds, lambda: ["one", "two"])
    root = (b".protozorfs",)
    assert tree.read((*root, b"log")) == b"one\ntwo\n"
    assert tree.read((*root, b"feeds", b"gone", b"why")) == b""
    hex_id = ID.hex().encode()
    of_paul = (*root, b"feeds", hex_id)
    for name in (b"paul", hex_id):
        assert tree.find((*root, b"feeds"), name) == of_paul
    assert tree.find(of_paul, b"id") == (*of_paul, b"id")
    assert tree.find(of_paul, b"x") is None
    assert tree.find((*root, b"feeds"), b"x") is None
    assert tree.read((*of_paul, b"id")) == hex_id + b"\n"
    assert tree.is_directory(of_paul) is True
    assert tree.is_directory((*of_paul, b"why")) is False
    await feeds.rename(b"paul", b"p")
    assert tree.find((*root, b"feeds"), b"p") == of_paul
    await feeds.rename(b"p", b"paul")
    for path in ((b"x",), (b"feeds", b"x"), (b"feeds", b"paul", b"x"), (b"feeds",) * 4):
        assert tree.is_directory((*root, *path)) is None
    assert tree.entries((*root, b"feeds")) == [b"journal", b"paul"]


async def test_how_far_a_scrub_is_and_what_the_last_one_found(feeds: KnownFeeds) -> None:
    feeds.scrub = ScrubFacts(
        now=ScrubCounts(feeds=1, bytes=10_000_000),
        feeds_left=2,
        bytes_left=30_000_000,
        bytes_per_second=8e6,
        last=ScrubCounts(feeds=2, bytes=7_000_000, damaged_blocks=3, mended_nodes=1),
        ended_seconds=5400.0,
        next_seconds=None,
    )
    assert (
        "scrub       10 of about 40 MB, 8.0 MB/s, feeds left: 2, damaged blocks: 0;"
        " the last one ended 1.5 h ago: 7 MB of 2 feeds, damaged blocks: 3,"
        " nodes of trees made good: 1\n"
    ) in status_text.status(feeds)
    told = json.loads(status_text.status_json(feeds))["scrub"]
    assert told["now"]["bytes"] == 10_000_000
    assert told["last"]["damaged_blocks"] == 3
    assert (told["bytes_per_second"], told["next_seconds"]) == (8_000_000, None)


async def test_when_the_next_scrub_begins(feeds: KnownFeeds) -> None:
    feeds.scrub = ScrubFacts(
        now=None,
        feeds_left=0,
        bytes_left=0,
        bytes_per_second=0.0,
        last=ScrubCounts(feeds=2, bytes=7_000_000, failed_feeds=1),
        ended_seconds=0.0,
        next_seconds=604_800.0,
    )
    assert (
        "scrub       the last one ended 0.0 h ago: 7 MB of 2 feeds, damaged blocks: 0,"
        " feeds that could not be read: 1 (see the log); the next one begins in 168.0 h\n"
    ) in status_text.status(feeds)
