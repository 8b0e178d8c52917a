"""The swarm: every feed's replicator, and what brings peers to it.

Feeds tell it what is wanted, connections what has come, the DHT and the LAN who might help; here
these meet. The work is done in the modules beside this one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.feeds.facts import LanFacts
from protozorfs.ids import discovery_key_of
from protozorfs.swarm.connections import Connections
from protozorfs.swarm.dht_upkeep import CHECK_SECONDS, DhtUpkeep, infohash_of
from protozorfs.swarm.facts import SwarmFacts
from protozorfs.swarm.head import verify_kept
from protozorfs.swarm.lan import LocalDiscovery
from protozorfs.swarm.lan_node import run_lan
from protozorfs.swarm.port_mapping import keep_mapped
from protozorfs.swarm.replicator import Replicator
from protozorfs.swarm.searches import Searches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from protozorfs import crypto
    from protozorfs.dht.endpoint import Endpoint
    from protozorfs.dht.node import DhtNode
    from protozorfs.dht.node_id import NodeId, RandomSource
    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.registry import Feeds
    from protozorfs.store.known_peers import KnownPeers
    from protozorfs.swarm.connections import Entry
    from protozorfs.swarm.lan import Found
    from protozorfs.swarm.lan_node import LanNode
    from protozorfs.swarm.peers import Peer
    from protozorfs.swarm.port_mapping import MappingState
    from protozorfs.swarm.session import Session
    from protozorfs.types import Address, DiscoveryKey

TICK = 1.0  # seconds between looks at deadlines, while there are connections
LAN_COOKIE_BYTES = 8  # to know our own announcements again
ENOUGH_PEERS = 8  # connections per feed that we dial for; more come from others

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LanOptions:
    """How the LAN is used; `bind` as in `Options`."""

    bind: str | None


class Swarm:
    """What makes a node's feeds arrive, and serves them.

    Implements `feeds.ports.Listener`, `session.Directory`, `connections.Manager` and
    `dht_upkeep.Finds`.
    """

    def __init__(
        self,
        feeds: Feeds,
        node_key: crypto.KeyPair,
        listeners: Sequence[trio.SocketListener],
        known_peers: KnownPeers,
        *,
        users_peers: Sequence[Address],
        dht: DhtNode | None,
        lan: LanOptions | None,
        maps_port: bool,
        random: RandomSource,
    ) -> None:
        """`listeners` all have one port, which is announced; no `dht` with `nodht`, no `lan`
        with `nolan`; `maps_port` unless `noportmap`."""
        self.connections = Connections(node_key, listeners, self, self)
        self._port = self.connections.addresses[0].port
        self._maps_port = maps_port
        self.upkeep = DhtUpkeep(dht, self._port, self, random) if dht is not None else None
        self._lan_options = lan
        cookie = random.randbytes(LAN_COOKIE_BYTES).hex().encode()
        self._lan = LocalDiscovery(cookie, random.random)
        self._lan_node: LanNode | None = None
        self._by_infohash: dict[bytes, Feed] = {}
        self._feeds = feeds
        self._known_peers = known_peers
        self._replicators: dict[DiscoveryKey, Replicator] = {}
        self._busy: set[Replicator] = set()  # those that have deadlines now
        self._searches = Searches(self._may_find_head)
        self._settled = trio.Event()  # set and replaced when a peer has told something new
        for address in users_peers:
            self.connections.table.add_users(address)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; all connections end with it."""
        async with trio.open_nursery() as nursery:
            if self.upkeep is not None:
                await nursery.start(self.upkeep.node.run, self._announced_to_us)
                await nursery.start(self.upkeep.run)
            if self._lan_options is not None:
                run = partial(run_lan, bind=self._lan_options.bind)
                found = self._found_on_lan
                self._lan_node = await nursery.start(run, self._lan, self._port, found)
            if self._maps_port:
                await nursery.start(keep_mapped, self._port, self._mapping_changed)
            self._feeds.subscribe(self, self._facts())
            await nursery.start(self.connections.run)
            nursery.start_soon(self._tick_loop)
            task_status.started()

    def _facts(self) -> SwarmFacts:
        return SwarmFacts(
            self.connections,
            self.upkeep,
            lan_links=lambda: None if self._lan_node is None else self._lan_node.links,
            lan_facts=self._lan_facts,
            replicator_of=lambda feed: self._replicators.get(discovery_key_of(feed.feed_id)),
        )

    def _lan_facts(self, feed: Feed) -> LanFacts | None:
        if self._lan_node is None:
            return None
        asked_at = self._lan.announced_at(infohash_of(feed.feed_id))
        return LanFacts(
            has_links=self._lan_node.can_ask,
            may_answer=self._lan_may_answer(feed),
            asked_seconds=None if asked_at is None else trio.current_time() - asked_at,
        )

    # feeds.ports.Listener

    def feed_opened(self, feed: Feed) -> None:
        """Looks for the feed, and shows it to whom it may be shown."""
        key = discovery_key_of(feed.feed_id)
        if key in self._replicators:
            return
        self._replicators[key] = Replicator(feed, self.channel_settled, self._busy)
        self._searches.start(feed)
        now = trio.current_time()
        for session, entry in list(self.connections.entries.items()):
            if entry.shows_all:
                session.offer([feed], now)
            else:
                session.offer_if_awaited(feed, now)
        if not feed.is_owned:
            remembered = self._known_peers.of_feed(feed.feed_id)
            self.peers_found(feed, [peer.address for peer in remembered])
        if self.upkeep is not None:
            self.upkeep.add(feed)
        self._by_infohash[infohash_of(feed.feed_id)] = feed
        if self._lan_node is not None:
            self._lan.add(infohash_of(feed.feed_id), now)
            self._lan_node.wake()
        self.channel_settled(feed)

    def feed_closed(self, feed: Feed) -> None:
        """Shows it to nobody any more."""
        if self.upkeep is not None:
            self.upkeep.remove(feed)
        if self._by_infohash.pop(infohash_of(feed.feed_id), None) is not None:
            self._lan.remove(infohash_of(feed.feed_id))
        now = trio.current_time()
        for session, entry in list(self.connections.entries.items()):
            session.withdraw(feed, now, was_found=feed.feed_id in entry.found_for)
        replicator = self._replicators.pop(discovery_key_of(feed.feed_id), None)
        if replicator is not None:
            self._busy.discard(replicator)
        self._searches.forget(feed)
        self.connections.table.forget_feed(feed.feed_id)
        self._known_peers.forget_feed(feed.feed_id)

    def wants_changed(self, feed: Feed) -> None:
        """Asks for what a reader waits for."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is None:
            return
        now = trio.current_time()
        replicator.flush(now)
        for session in list(self.connections.entries):
            session.hurry(feed, now)
        if self.upkeep is not None and len(feed.wants) and not feed.wants.asked:
            self.upkeep.reader_waits(feed)

    def head_wanted(self, feed: Feed) -> None:
        """Asks everybody again who may be asked for the first head of a feed."""
        if discovery_key_of(feed.feed_id) not in self._replicators:
            return
        verify_kept(feed)  # what an earlier run has learnt
        if not feed.is_unknown:
            return
        now = trio.current_time()
        for session in list(self.connections.entries):
            session.hurry(feed, now)
        self.connections.table.hasten_all(feed.feed_id, now)
        self.connections.table_changed()
        if self.upkeep is not None:
            self.upkeep.head_wanted(feed)
        if self._lan_node is not None:
            self._lan.ask(infohash_of(feed.feed_id), now)
            self._lan_node.wake()
        self._searches.start(feed)
        self._searches.check(feed)

    def head_published(self, feed: Feed) -> None:
        """Tells every peer at once, and the DHT soon."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is not None:
            replicator.head_published(trio.current_time())
        if self.upkeep is not None:
            self.upkeep.head_grew(feed)

    def blocks_dropped(self, feed: Feed, start: int, end: int) -> None:
        """Tells every peer that they cannot be asked for here any more."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is not None:
            replicator.tell_dropped(start, end)

    def blocks_found(self, feed: Feed, blocks: Sequence[int]) -> None:
        """Tells every peer that they can be asked for here."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is not None:
            replicator.tell_found(blocks, trio.current_time())

    async def check_newest(self, feed: Feed) -> bool:
        """Asks the peers and the DHT, both at once, for a newer head of an owned feed."""
        succeeded: list[bool] = []

        async def ask(check: Callable[[Feed], Awaitable[bool]]) -> None:
            succeeded.append(await check(feed))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, self._wait_for_peers)
            if self.upkeep is not None:
                nursery.start_soon(ask, self.upkeep.check_newest)
        return any(succeeded)

    async def _wait_for_peers(self, feed: Feed) -> bool:
        """True once a connected peer has shown its head, and ours is as new; see `knows_newest`."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is None:
            return False
        with trio.move_on_after(CHECK_SECONDS):
            while (
                any(peer.is_users and not peer.was_tried for peer in self.connections.table)
                or any(self._may_show(entry, feed) for entry in self.connections.entries.values())
                or any(replica.is_history_asked for replica in replicator.links)
                or (replicator.links and feed.log.length < feed.remote_length)
            ):
                await self._settled.wait()
            return replicator.knows_newest()
        return False

    def _may_show(self, entry: Entry, feed: Feed) -> bool:
        """A connected peer that was found for the feed has not told its state of it yet."""
        session = entry.session
        if session.is_ready:
            return session.is_opening(feed)
        return entry.shows_all or feed.feed_id in entry.found_for

    def _settle(self) -> None:
        self._settled.set()
        self._settled = trio.Event()

    # session.Directory

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        """The replicator of a feed that is here."""
        return self._replicators.get(discovery_key)

    def session_ready(self, session: Session) -> str | None:
        """Judges a new connection."""
        return self.connections.session_ready(session)

    def channel_settled(self, feed: Feed) -> None:
        """What is known of a feed's peers has changed, or a search for it is over."""
        self._settle()
        if self.upkeep is not None:
            self.upkeep.connected(feed, bool(feed.peers))
        self._searches.check(feed)

    def _may_find_head(self, feed: Feed) -> bool:
        """Somebody may still bring the first head of the feed."""
        return (
            (self.upkeep is not None and self.upkeep.is_searching(feed))
            or self._lan_may_answer(feed)
            or self.connections.table.may_be_reached(feed.feed_id, trio.current_time())
            or any(session.may_bring_head(feed) for session in self.connections.entries)
        )

    def _lan_may_answer(self, feed: Feed) -> bool:
        is_asked = self._lan_node is not None and self._lan_node.can_ask
        return is_asked and self._lan.may_answer(infohash_of(feed.feed_id))

    # connections.Manager

    def connection_ready(self, entry: Entry) -> None:
        """Shows the peer what it may be shown, and remembers it."""
        now = trio.current_time()
        if entry.shows_all:
            feeds = [replicator.feed for replicator in self._replicators.values()]
        else:
            keys = map(discovery_key_of, entry.found_for)
            feeds = [self._replicators[key].feed for key in keys if key in self._replicators]
        entry.session.offer(feeds, now)
        if entry.peer is not None:
            peer = entry.peer
            self._known_peers.remember(
                peer.feeds, peer.address, entry.session.remote_key, time.time()
            )

    def connection_ended(self, entry: Entry) -> None:
        """Its feeds may do with another peer; some may have waited for this one."""
        self._settle()
        if entry.peer is not None and not entry.session.is_ready:
            self._known_peers.note_failure(entry.peer.feeds, entry.peer.address)
        now = trio.current_time()
        self.connections.table.hurry(entry.found_for, now)
        self._searches.lost_a_peer()

    def attempt_failed(self, peer: Peer) -> None:
        """Nothing will come from there for the moment."""
        self._settle()
        self._known_peers.note_failure(peer.feeds, peer.address)
        self._searches.lost_a_peer()

    def wants_peer(self, peer: Peer) -> bool:
        """Whether a feed that the peer was found for could do with one more."""
        feeds = (self._feeds.by_id(feed_id) for feed_id in peer.feeds)
        return any(feed is not None and len(feed.peers) < ENOUGH_PEERS for feed in feeds)

    def peer_put_off(self) -> None:
        """Nothing will come from there for the moment: some may have waited for it."""
        self._searches.lost_a_peer()

    # dht_upkeep.Finds

    def peers_found(self, feed: Feed, addresses: Sequence[Address]) -> None:
        """Hints where a feed's peers are: dialled if more are needed."""
        table = self.connections.table
        now = trio.current_time()
        # What is heard again and again, as anybody on the LAN can make it, costs nothing.
        new = [address for address in addresses if not table.is_found(address, feed.feed_id)]
        if not new:
            return
        for address in new:
            peer = table.add_found(address, feed.feed_id)
            if peer is not None and peer.is_connected:
                self._offer_to(peer, feed, now)
        if len(feed.peers) < ENOUGH_PEERS:
            table.hurry({feed.feed_id}, now)
        self.connections.table_changed()

    def _offer_to(self, peer: Peer, feed: Feed, now: float) -> None:
        for entry in list(self.connections.entries.values()):
            if peer in entry.peers:
                entry.session.offer([feed], now)

    def search_ended(self, feed: Feed) -> None:
        """Perhaps the last that could have brought a head."""
        self.channel_settled(feed)

    def _announced_to_us(self, infohash: NodeId, peer: Endpoint) -> None:
        """A DHT node near a feed of ours is ourselves: no search would have told sooner."""
        feed = self._by_infohash.get(infohash)
        if feed is not None:
            self.peers_found(feed, [peer.to_address()])

    def _found_on_lan(self, found: Sequence[Found]) -> None:
        now = trio.current_time()
        for one in found:
            feed = self._by_infohash.get(one.infohash)
            if feed is not None and not self._has_open(one.address, feed):
                self._lan.answer_early(one, now)
                self.peers_found(feed, [one.address])
                self._heard_of(one.address, feed, now)

    def _has_open(self, address: Address, feed: Feed) -> bool:
        """A peer of that address is connected and has the feed open."""
        peer = self.connections.table.find(address)
        return peer is not None and peer.is_connected and peer.connected_as in feed.peers

    def _heard_of(self, address: Address, feed: Feed, now: float) -> None:
        """A peer is there now, and has or follows the feed: that ends a back-off."""
        peer = self.connections.table.find(address)
        if peer is None or not self.connections.table.hasten(peer, now):
            return
        if peer.is_connected:
            self._offer_to(peer, feed, now)
        else:
            self.connections.table_changed()

    def _mapping_changed(self, state: MappingState) -> None:
        self.connections.reachability.mapping = state
        if self.upkeep is not None:
            external = state.external
            self.upkeep.announced_port = external.port if external is not None else self._port

    async def _tick_loop(self) -> None:
        while True:
            await trio.sleep(TICK)
            with Boundary(logger, "the end of searches for heads"):
                self._check_searches(trio.current_time())
            if self.connections.entries:
                with Boundary(logger, "a look at deadlines"):
                    self._tick(trio.current_time())

    def _check_searches(self, now: float) -> None:
        unanswered = self._lan.take_unanswered(now)
        feeds = map(self._by_infohash.get, unanswered)
        self._searches.check_all(feed for feed in feeds if feed is not None)

    def _tick(self, now: float) -> None:
        for entry in list(self.connections.entries.values()):
            with Boundary(logger, f"the connection with {entry.session.name}") as boundary:
                entry.session.tick(now)
            if boundary.error is not None:
                entry.driver.end("a bug of this program")
        for replicator in list(self._busy):
            with Boundary(logger, f"feed {replicator.feed.feed_id.hex()}") as boundary:
                replicator.handle_timeout(now)
            if boundary.error is not None:  # until something happens to it
                self._busy.discard(replicator)
        if self._feeds.surroundings.has_room_again():
            for replicator in list(self._replicators.values()):
                with Boundary(logger, f"feed {replicator.feed.feed_id.hex()}"):
                    replicator.flush(now)
