"""What the swarm knows, as the status and `why` show it. Reads, and changes nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from protozorfs.feeds.facts import (
    DhtFacts,
    FeedFacts,
    LinkFacts,
    NodeFacts,
    PeerFacts,
    PeerState,
    SearchFacts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from protozorfs.feeds.facts import LanFacts
    from protozorfs.feeds.feed import Feed
    from protozorfs.swarm.connections import Connections
    from protozorfs.swarm.dht_upkeep import DhtUpkeep
    from protozorfs.swarm.link import Link
    from protozorfs.swarm.peers import Peer
    from protozorfs.swarm.replicator import Replicator


class SwarmFacts:
    """Implements `feeds.facts.Informant`."""

    def __init__(
        self,
        connections: Connections,
        upkeep: DhtUpkeep | None,
        *,
        lan_links: Callable[[], Mapping[str, str] | None],
        lan_facts: Callable[[Feed], LanFacts | None],
        replicator_of: Callable[[Feed], Replicator | None],
    ) -> None:
        self._connections = connections
        self._upkeep = upkeep
        self._lan_links = lan_links
        self._lan_facts = lan_facts
        self._replicator_of = replicator_of

    def node_facts(self) -> NodeFacts:
        """About this node."""
        dialable, reason = self._connections.reachability.judge()
        return NodeFacts(
            addresses=[str(address) for address in self._connections.addresses],
            reachability=f"{dialable}: {reason}",
            dht=self._dht_facts(),
            lan=self._lan_links(),
            peers=[*self._dialled(), *self._dialled_us()],
        )

    def feed_facts(self, feed: Feed, wanted: int | None) -> FeedFacts:
        """About a feed; see `Informant`."""
        now = trio.current_time()
        replicator = self._replicator_of(feed)
        links = [] if replicator is None else list(replicator.links.values())
        return FeedFacts(
            links=[_link_facts(link, feed, wanted, now) for link in links],
            others=[
                peer_facts(peer, now)
                for peer in self._connections.table
                if peer.concerns(feed.feed_id)
            ],
            search=self._search_facts(feed, now),
            lan=self._lan_facts(feed),
        )

    def _dht_facts(self) -> DhtFacts | None:
        if self._upkeep is None:
            return None
        now = trio.current_time()
        networks = self._upkeep.node.engine.networks
        return DhtFacts(
            nodes={
                f"IPv{family}": network.table.good_count(now)
                for family, network in networks.items()
            },
            refreshed_share=self._upkeep.schedule.refreshed_share(now),
        )

    def _search_facts(self, feed: Feed, now: float) -> SearchFacts | None:
        if self._upkeep is None:
            return None
        turns = self._upkeep.schedule.turns_of(feed.feed_id)
        if turns is None:
            return None
        return SearchFacts(
            is_online=self._upkeep.is_online,
            is_running=turns.is_running,
            done_seconds=None if turns.last_done is None else now - turns.last_done,
            next_seconds=None if turns.next_due is None else turns.next_due - now,
        )

    def _dialled(self) -> Iterable[PeerFacts]:
        now = trio.current_time()
        return [peer_facts(peer, now) for peer in self._connections.table]

    def _dialled_us(self) -> Iterable[PeerFacts]:
        return [
            PeerFacts(
                address=entry.session.name,
                state=PeerState.CONNECTED if entry.session.is_ready else PeerState.DIALLING,
                is_users=False,
                retry_seconds=None,
                why="",
                feed_count=0,
            )
            for entry in self._connections.entries.values()
            if not entry.peers
        ]


def _link_facts(link: Link, feed: Feed, wanted: int | None, now: float) -> LinkFacts:
    remote = link.replica.remote
    length = feed.log.length
    if wanted is None or wanted >= length:
        has_wanted = remote.is_known and remote.length > length
    else:
        has_wanted = link.replica.remote_has(wanted)
    return LinkFacts(
        name=link.name,
        length=remote.length if remote.is_known else None,
        has_wanted=has_wanted,
        trouble=link.trouble(now, feed.log.fork),
    )


def peer_facts(peer: Peer, now: float) -> PeerFacts:
    """What goes on with an address. `now`: seconds, monotonic."""
    if peer.is_connected:
        state = PeerState.CONNECTED
    elif peer.is_dialling:
        state = PeerState.DIALLING
    elif peer.bans or math.isinf(peer.next_dial):
        state = PeerState.LEFT_ALONE
    else:
        state = PeerState.WAITING
    is_idle = state in (PeerState.WAITING, PeerState.LEFT_ALONE)
    will_be_dialled = is_idle and not math.isinf(peer.next_dial)
    return PeerFacts(
        address=str(peer.address),
        state=state,
        is_users=peer.is_users,
        retry_seconds=max(0.0, peer.due - now) if will_be_dialled else None,
        why=peer.why,
        feed_count=len(peer.feeds),
    )
