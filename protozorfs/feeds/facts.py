"""What is known about this node and its feeds, as plain values: the status is a view of them.

`fs` shows them and `swarm` knows them, and neither sees the other: they meet here. Times are in
seconds from now, since nobody who reads them knows our clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protozorfs.feeds.feed import Feed
    from protozorfs.types import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    """How far the check of what an unclean stop has left is.

    Attributes:
        feeds_left: that are not checked to the end.
        bytes_left: about how much of them is yet to be looked at.
        bytes_done: in this run, of these and of those that are done.
        bytes_per_second: on the average.
    """

    feeds_left: int
    bytes_left: int
    bytes_done: int
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubCounts:
    """What one scrub has read and found.

    Attributes:
        feeds: that were read to the end, or could not be.
        bytes: of blocks.
        damaged_blocks: that were held and are no more.
        mended_nodes: of trees, that were wrong on the disk and followed from others.
        failed_feeds: that could not be read; the log says why.
    """

    feeds: int = 0
    bytes: int = 0
    damaged_blocks: int = 0
    mended_nodes: int = 0
    failed_feeds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubFacts:
    """How far the scrub is, and what the last one found.

    Attributes:
        now: of the one that runs; None between two.
        feeds_left: that it has not read to the end.
        bytes_left: about how much of them is yet to be read.
        bytes_per_second: on the average, since it began.
        last: of the last one that ended in this run; None before one has.
        ended_seconds: since then.
        next_seconds: until the next one begins; None while one runs.
    """

    now: ScrubCounts | None
    feeds_left: int
    bytes_left: int
    bytes_per_second: float
    last: ScrubCounts | None
    ended_seconds: float | None
    next_seconds: float | None


class PeerState(enum.StrEnum):
    """What goes on with an address."""

    CONNECTED = "connected"
    DIALLING = "dialling"
    WAITING = "waiting"  # until it is dialled again
    LEFT_ALONE = "left alone"  # after something invalid, or because it is this node itself


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """One address that is or may be dialled, or a peer that has dialled us.

    Attributes:
        address: as text.
        is_users: the user named it.
        retry_seconds: until it is dialled again; None if that is not to be.
        why: what ended the last attempt or connection; empty if nothing has.
        feed_count: for how many feeds it was found; 0 for a peer that dialled us.
    """

    address: str
    state: PeerState
    is_users: bool
    retry_seconds: float | None
    why: str
    feed_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """A connected peer that has opened a feed.

    Attributes:
        name: its address.
        length: blocks of the head that it tells; None before it has told.
        has_wanted: it says that it has what a reader waits for.
        trouble: why it is not asked now; empty if it can be.
    """

    name: str
    length: int | None
    has_wanted: bool
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """The searches for one feed on the DHT.

    Attributes:
        is_online: the DHT has nodes that answer.
        is_running: one is under way.
        done_seconds: since the end of the last one; None before it.
        next_seconds: until the next one; None while that is not known.
    """

    is_online: bool
    is_running: bool
    done_seconds: float | None
    next_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LanFacts:
    """The questions about one feed on the local network.

    Attributes:
        has_links: there is a link on which to ask.
        may_answer: an answer may still come.
        asked_seconds: since the last question; None before it.
    """

    has_links: bool
    may_answer: bool
    asked_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFacts:
    """What the swarm knows of one feed.

    Attributes:
        links: who has it open.
        others: who else might have it.
        search: on the DHT; None with `nodht`.
        lan: on the local network; None with `nolan`.
    """

    links: Sequence[LinkFacts] = ()
    others: Sequence[PeerFacts] = ()
    search: SearchFacts | None = None
    lan: LanFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtFacts:
    """This node on the DHT.

    Attributes:
        nodes: how many nodes answer, by family ("IPv4", "IPv6").
        refreshed_share: of the feeds, how much had a turn in the last hour; 0 to 1.
    """

    nodes: Mapping[str, int]
    refreshed_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the swarm knows of this node.

    Attributes:
        addresses: where it listens.
        reachability: whether it can be dialled, and how that is known; one sentence.
        dht: None with `nodht`.
        lan: the links that are used, and what is wrong with each (empty: nothing); None with
            `nolan`.
        peers: every address that is known.
    """

    addresses: Sequence[str]
    reachability: str
    dht: DhtFacts | None
    lan: Mapping[str, str] | None
    peers: Sequence[PeerFacts]


class Informant(Protocol):
    """Who knows: the swarm. Both answer at once."""

    def node_facts(self) -> NodeFacts:
        """About this node."""

    def feed_facts(self, feed: Feed, wanted: int | None) -> FeedFacts:
        """About a feed; `wanted` is the block that is asked about, None for a newer head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedReport:
    """Everything that the status shows of one feed.

    Attributes:
        head: the newest head that is known; None before there is any.
        held_blocks: how many blocks are here.
        contiguous_blocks: how many from the first on, without a gap.
        waiting: how many readers wait.
        why: what they wait for; one sentence.
    """

    head: Head | None
    held_blocks: int
    contiguous_blocks: int
    waiting: int
    why: str
    facts: FeedFacts
