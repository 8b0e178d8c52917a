"""The DHT node without I/O: datagrams and time in, datagrams and events out.

    receive_datagram   a reply goes to whoever asked, a query is answered, the rest is dropped
    datagrams_to_send  replies, then queries by priority, inside the one budget
    next_deadline      when `handle_timeout` has something to do, or there is room to send again
    next_event         what the operations found

The driver calls `datagrams_to_send` and `next_event` after what it reports, which may be several
datagrams of one moment.
Source: BEP 5, BEP 32, BEP 42, BEP 43, BEP 44.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from protozorfs.dht import krpc
from protozorfs.dht.answers import Answers
from protozorfs.dht.budget import PacketBudget, Priority
from protozorfs.dht.endpoint import Endpoint, Family, LocalAddress, is_plausible, is_usable
from protozorfs.dht.item_operations import GetItem, PutItem
from protozorfs.dht.items import SignedItem
from protozorfs.dht.lookup import Lookup
from protozorfs.dht.network import Network, SavedNetwork
from protozorfs.dht.operation_queue import OperationQueue
from protozorfs.dht.operations import (
    FindNode,
    ItemFound,
    Operation,
    OperationDone,
    PeersFound,
)
from protozorfs.dht.outbound import Datagram, Outbound
from protozorfs.dht.peer_operations import Announce, GetPeers
from protozorfs.dht.rate_limits import StrangerLimits
from protozorfs.errors import DecodeError
from protozorfs.options import DEFAULT_DHT_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.dht.node_id import NodeId, RandomSource
    from protozorfs.types import PublicKey

SWEEP_INTERVAL = 300.0  # seconds between looking for stored things whose time is over
# Our own operations wait for the first search, but not longer: whoever runs without any network
# is told that nothing was found.
MAX_SETTLING_TIME = 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutersWanted:
    """No other way into that network was found; `Engine.add_routers` takes the answer."""

    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class IdChanged:
    """Others agree on an address of ours, and our id in that network now belongs to it."""

    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Somebody announced itself to this node, as a peer of that infohash."""

    infohash: NodeId
    peer: Endpoint


Event: TypeAlias = ItemFound | PeersFound | OperationDone | RoutersWanted | IdChanged | Announced


class Engine:
    """A node of one or both networks."""

    def __init__(
        self,
        *,
        families: Iterable[Family],
        random: RandomSource,
        now: float,
        rate: int = DEFAULT_DHT_RATE,
        bootstrap: Iterable[Endpoint] = (),
        saved: Iterable[SavedNetwork] = (),
    ) -> None:
        """`rate` in packets per second; `saved` is what `saved` gave in an earlier run."""
        given, earlier = tuple(bootstrap), {network.family: network for network in saved}
        self.networks = {
            family: Network(family, given, earlier.get(family), random, now) for family in families
        }
        self.budget = PacketBudget(rate)
        self.answers = Answers(
            lambda: {family: network.table for family, network in self.networks.items()},
            random,
            now,
        )
        self.operations = OperationQueue()
        self._outbound = Outbound(self.networks, self.budget, random)
        self._strangers = StrangerLimits()
        self._searches: dict[Operation, Network] = {}  # for our own id
        self._replies: list[Datagram] = []
        self._events: deque[Event] = deque()
        self._sweep_at = now + SWEEP_INTERVAL
        self._settled_by: float | None = now + MAX_SETTLING_TIME

    # --- operations -------------------------------------------------------------------------------

    def get_item(
        self,
        public_key: PublicKey,
        *,
        salt: bytes = b"",
        newer_than: int = 0,
        priority: Priority = Priority.READER,
    ) -> GetItem:
        """Starts to look for the newest item of a key; nodes leave out items up to `newer_than`.

        Like all that follow, it raises LocalProtocolError when too many operations wait already,
        and ends early by the operation's `cancel`.
        """
        return self.operations.add(GetItem(public_key, salt, newer_than, priority))

    def put_item(
        self,
        item: SignedItem,
        *,
        priority: Priority = Priority.OWNED,
        skip_if_fresh: bool = False,
    ) -> PutItem:
        """Starts to store an item unless a newer one is found; see `PutItem`."""
        return self.operations.add(PutItem(item, priority, skip_if_fresh=skip_if_fresh))

    def get_peers(self, infohash: NodeId, *, priority: Priority = Priority.READER) -> GetPeers:
        """Starts to look for the peers of an infohash."""
        return self.operations.add(GetPeers(infohash, priority))

    def announce(
        self,
        infohash: NodeId,
        port: int,
        *,
        priority: Priority = Priority.OWNED,
        implied_port: bool = False,
    ) -> Announce:
        """Starts to announce us as a peer that listens at that TCP port."""
        return self.operations.add(Announce(infohash, port, priority, implied_port=implied_port))

    # --- what is known ----------------------------------------------------------------------------

    def add_bootstrap(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Nodes to start from, of unknown id: given by the user, or told by a peer."""
        usable = [endpoint for endpoint in endpoints if is_usable(endpoint)]
        for network in self.networks.values():
            network.add_bootstrap(usable, now)

    def add_routers(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Well-known nodes, the answer to `RoutersWanted`."""
        usable = [endpoint for endpoint in endpoints if is_usable(endpoint)]
        for network in self.networks.values():
            network.add_routers(usable, now)

    def saved(self) -> tuple[SavedNetwork, ...]:
        """What to give to the next run."""
        return tuple(network.saved() for network in self.networks.values())

    def next_event(self) -> Event | None:
        """The oldest event that was not taken yet."""
        return self._events.popleft() if self._events else None

    # --- receiving --------------------------------------------------------------------------------

    def receive_datagram(
        self, data: bytes, source: Endpoint, now: float, local: LocalAddress | None = None
    ) -> None:
        """Takes a datagram; whatever it is, it raises nothing.

        `local`, where it was sent to, goes into the reply; None on a host with one address.
        """
        network = self.networks.get(source.family)
        if network is None or not is_usable(source):
            return
        is_awaited = self._outbound.transactions.is_awaited(source)
        if not is_awaited and not self._strangers.may_query(source, now):
            return  # before decoding: a flood must stay cheap
        try:
            message = krpc.decode_message(data)
        except DecodeError:
            return  # never answered: somebody else may have aimed it at us and the source
        if not isinstance(message, krpc.Query):
            self._receive_reply(message, network, source, now)
        elif not is_awaited or self._strangers.may_query(source, now):
            self._receive_query(message, network, source, local, now)

    def _receive_query(
        self,
        query: krpc.Query,
        network: Network,
        source: Endpoint,
        local: LocalAddress | None,
        now: float,
    ) -> None:
        if query.sender_id is not None:
            network.on_query(
                krpc.Contact(query.sender_id, source),
                is_read_only=query.is_read_only,
                is_stranger=not self._outbound.guard.was_contacted(source, now),
                now=now,
            )
        # Also as a read-only node: who asks has us in its table already, and silence would cost it.
        if not self.budget.may_reply(now):
            return
        reply = self.answers.answer(query, source, now)
        for infohash, peer in self.answers.take_announced():
            self._events.append(Announced(infohash=infohash, peer=peer))
        if self._strangers.may_be_sent(reply, source, now):
            self.budget.on_reply(now)
            self._replies.append(Datagram(reply, source, local))

    def _receive_reply(
        self,
        reply: krpc.Response | krpc.ErrorReply,
        network: Network,
        source: Endpoint,
        now: float,
    ) -> None:
        pending = self._outbound.take_reply(reply.transaction, source)
        if pending is None:
            return
        request = pending.owner
        if isinstance(reply, krpc.ErrorReply):
            if request is not None:
                request.operation.on_error(request, reply.code, now)
            return
        contact = krpc.Contact(reply.sender_id, source)
        if network.on_response(contact, reply.own_endpoint, now - pending.sent_at, now):
            self._events.append(IdChanged(family=network.family))
        self._take_hints(reply, network, source)
        if request is not None:
            request.operation.on_response(request, reply, now)

    def _take_hints(self, reply: krpc.Response, network: Network, source: Endpoint) -> None:
        """Nodes of the other network, which an answer to `want` may bring."""
        for family, other in self.networks.items():
            if other is not network and krpc.NODES_KEY[family] in reply.values:
                for contact in krpc.read_contacts(reply.values, family):
                    if is_plausible(contact.endpoint, source.ip):
                        other.add_hint(contact)

    # --- time and sending -------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When to call `handle_timeout`, and then `datagrams_to_send`, at the latest."""
        times = [
            self._sweep_at,
            self._settled_by,
            self.operations.next_deadline(),
            self._outbound.next_deadline(),
            *(network.next_deadline() for network in self.networks.values()),
        ]
        return min(time for time in times if time is not None)

    def handle_timeout(self, now: float) -> None:
        """Does what is due."""
        self._outbound.handle_timeout(now)
        self.operations.handle_timeout(now)
        if self._sweep_at <= now:
            self._sweep_at = now + SWEEP_INTERVAL
            self.answers.expire(now)

    def datagrams_to_send(self, now: float) -> list[Datagram]:
        """Datagrams to send now, each once, from the socket of its family."""
        datagrams, self._replies = self._replies, []
        for network in self.networks.values():
            datagrams.extend(self._upkeep(network, now))
        self._settle(now)
        while True:
            datagrams.extend(self._outbound.queries(self.operations.running, now))
            if not self._settle(now):
                return datagrams

    def _upkeep(self, network: Network, now: float) -> list[Datagram]:
        if network.is_upkeep_due(now):
            contact = network.next_ping(now)
            target = network.next_refresh(now)
            if target is not None:
                contacts, endpoints = network.seeds(target)
                self._find_node(network, target, contacts, endpoints, now)
            return self._outbound.ping(contact, now) if contact is not None else []
        seeds = network.start_search(now)
        if seeds is not None:
            search = self._find_node(network, network.table.own_id, *seeds, now)
            self._searches[search] = network
        return []

    def _find_node(
        self,
        network: Network,
        target: NodeId,
        contacts: Iterable[krpc.Contact],
        endpoints: Iterable[Endpoint],
        now: float,
    ) -> FindNode:
        want_both = len(self.networks) > 1 and not all(
            other.has_nodes(now) for other in self.networks.values()
        )
        lookup = Lookup(target, network.table.own_id, contacts, endpoints)
        operation = FindNode(target, Priority.UPKEEP, want_both=want_both)
        return self.operations.run_now(operation, {network.family: lookup}, now)

    def _make_lookups(self, operation: Operation, now: float) -> dict[Family, Lookup]:
        """The searches of an operation; what this node keeps for others counts as a first find.

        In a network of a few nodes we are among the nearest ourselves, and are not asked.
        """
        if isinstance(operation, GetItem):
            kept = self.answers.items.get(operation.target, now)
            if isinstance(kept, SignedItem):
                operation.add_kept(kept)
        elif isinstance(operation, GetPeers):
            for family in self.networks:
                operation.add_kept(self.answers.kept_peers(operation.target, family, now))
        return {
            family: Lookup(operation.target, network.table.own_id, *network.seeds(operation.target))
            for family, network in self.networks.items()
        }

    def _settle(self, now: float) -> bool:
        """Takes what the operations found, and starts those that wait; True if any of it was."""
        events = self.operations.collect()
        for event in events:
            network = self._searches.pop(event.operation, None)
            if network is not None:
                if network.on_search_done(now):
                    self._events.append(RoutersWanted(family=network.family))
            elif not isinstance(event.operation, FindNode):
                self._events.append(event)
        is_settled = all(network.is_settled for network in self.networks.values())
        if is_settled or (self._settled_by is not None and now >= self._settled_by):
            self._settled_by = None
        started = self._settled_by is None and self.operations.start_due(self._make_lookups, now)
        return bool(events) or started
