"""One of the two networks (BEP 32: IPv4 and IPv6 are two DHTs): our id, table and place in it.

Decides when it is time to search for ourselves, to ping and to refresh; the engine does so.

    start      contacts of last time, nodes that the user gave; only if they do not do: routers
    again      after 0.5, 1, 2 ... seconds while fewer than 8 nodes are good
    id         random until others agree on our address, then one that belongs to it (BEP 42)
    read-only  (BEP 43) only when it is plain that nobody can reach us
Source: BEP 5, BEP 32, BEP 42, BEP 43; docs/dht.md (bootstrap).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protozorfs.dht.external_address import ExternalAddress
from protozorfs.dht.node_id import NodeId, belongs_to, make_node_id, random_id_at
from protozorfs.dht.routing import RoutingTable
from protozorfs.dht.transactions import RoundTrips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.dht.endpoint import Endpoint, Family
    from protozorfs.dht.krpc import Contact
    from protozorfs.dht.node_id import RandomSource

FEW_NODES = 3  # good ones; with fewer, whatever may be a node is asked
SETTLED_NODES = 8  # good ones; with fewer we look for more, with so many we reach the network
FIRST_RETRY = 0.5  # seconds, doubled each time
MAX_RETRY = 600.0
ROUTER_RETRY = 60.0  # seconds, doubled each time; they are shared by everybody
UPKEEP_INTERVAL = 5.0  # seconds between pings of known nodes; 200 entries within 17 minutes
NEWCOMER_INTERVAL = 1.0  # seconds between pings of nodes that asked us something
# The same while hardly any node is known: a small network that comes up finds itself at once.
FIRST_NEWCOMER_INTERVAL = 0.05
MAX_NEWCOMERS = 32
MAX_SUSPECTS = 64  # nodes that did not answer while nobody did
MAX_SEEDS = 32  # of a lookup; it asks 8, and the others only if those do not answer
MAX_HINTS = 32  # nodes heard of that are tried when too few are known
MAX_SAVED_CONTACTS = 300
READ_ONLY_AFTER = 900.0  # seconds with SETTLED_NODES and no query from a stranger


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedNetwork:
    """What is kept of a network across restarts; contacts are sorted, the freshest first."""

    family: Family
    node_id: NodeId
    external_ip: bytes | None
    contacts: tuple[Contact, ...]


class Network:
    """The state of one network; it sends nothing."""

    def __init__(
        self,
        family: Family,
        bootstrap: Iterable[Endpoint],
        saved: SavedNetwork | None,
        random: RandomSource,
        now: float,
    ) -> None:
        self.family = family
        self.round_trips = RoundTrips()
        self.is_settled = False  # the first search is over, whatever it found
        self._random = random
        self._bootstrap = [endpoint for endpoint in bootstrap if endpoint.family == family]
        self._routers: list[Endpoint] = []
        self._hints: deque[Contact] = deque(maxlen=MAX_HINTS)
        self._newcomers: deque[Contact] = deque()
        self._external = ExternalAddress(family, saved.external_ip if saved else None)
        self.table = RoutingTable(self._initial_id(saved), now)
        if saved is not None:
            self._hints.extend(reversed(saved.contacts[:MAX_HINTS]))
        self._search_at: float | None = now  # None: under way, or nothing to do
        self._retry_after = FIRST_RETRY
        self._routers_at = now
        self._router_retry_after = ROUTER_RETRY
        self._upkeep_at = now + UPKEEP_INTERVAL
        self._heard_at = now
        self._suspects: dict[Endpoint, None] = {}  # in the order that they failed
        self._silent_since: float | None = None  # no query from strangers; None: does not count
        self.is_read_only = False

    def _initial_id(self, saved: SavedNetwork | None) -> NodeId:
        external_ip = self._external.ip
        if saved is not None and (external_ip is None or belongs_to(saved.node_id, external_ip)):
            return saved.node_id
        return make_node_id(external_ip, self._random)

    @property
    def external_ip(self) -> bytes | None:
        """Our address as most others see it, None until that is clear."""
        return self._external.ip

    # --- what is learned --------------------------------------------------------------------------

    def on_response(
        self, contact: Contact, seen_as: Endpoint | None, seconds: float, now: float
    ) -> bool:
        """A reply to our query after that time; True if it made us take a new id."""
        self._heard_at = now
        self._suspects.pop(contact.endpoint, None)
        for endpoint in self._suspects:
            self.table.on_timeout(endpoint)
        self._suspects.clear()
        self.round_trips.add(seconds)
        if contact.endpoint not in self._routers:
            self.table.on_response(contact, now)
        if seen_as is None or not self._external.vote(contact.endpoint, seen_as, now):
            return False
        if belongs_to(self.table.own_id, self._external.ip or b""):
            return False
        self.table = self.table.with_id(make_node_id(self._external.ip, self._random), now)
        self._search_at = now
        return True

    def on_timeout(self, endpoint: Endpoint, sent_at: float) -> None:
        """A query was not answered. While nobody answers, it may be our line that is down.

        Such failures count only once somebody answers, and then no more than once for each node.
        """
        if self._heard_at > sent_at:
            self.table.on_timeout(endpoint)
        elif len(self._suspects) < MAX_SUSPECTS:
            self._suspects[endpoint] = None

    def on_query(
        self, contact: Contact, *, is_read_only: bool, is_stranger: bool, now: float
    ) -> None:
        """A query came. Its source may be forged, so the node is at most worth a ping."""
        if is_stranger:
            self._silent_since = now
            self.is_read_only = False
        self.table.on_query(contact, now)
        if is_read_only or len(self._newcomers) >= MAX_NEWCOMERS:
            return
        if contact not in self._newcomers and self.table.would_take(contact, now):
            self._newcomers.append(contact)
            self._upkeep_at = min(self._upkeep_at, now + self._newcomer_interval)

    def add_hint(self, contact: Contact) -> None:
        """A node that somebody named; of use only while hardly any are known."""
        if contact not in self._hints and contact.node_id != self.table.own_id:
            self._hints.append(contact)

    def add_bootstrap(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """More nodes to start from; searched at once if too few are known."""
        for endpoint in endpoints:
            if endpoint.family == self.family and endpoint not in self._bootstrap:
                self._bootstrap = [*self._bootstrap[-MAX_HINTS + 1 :], endpoint]
        self._search_now_if_needed(now)

    def add_routers(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Well-known nodes: asked for others, and never anything else."""
        self._routers = [endpoint for endpoint in endpoints if endpoint.family == self.family]
        if self._routers:
            self._search_now_if_needed(now)

    def _search_now_if_needed(self, now: float) -> None:
        if self._search_at is not None and not self.has_nodes(now):
            self._search_at = now

    def has_nodes(self, now: float) -> bool:
        """True if enough nodes are known to find others."""
        return self.table.good_count(now) >= FEW_NODES

    # --- searching for ourselves ------------------------------------------------------------------

    def seeds(self, target: NodeId) -> tuple[list[Contact], list[Endpoint]]:
        """Where a lookup starts: known nodes; while there are few, whatever may be one."""
        known = self.table.closest(target, MAX_SEEDS)
        if len(known) >= FEW_NODES:
            return known, []
        return [*known, *self._hints], self._bootstrap

    def start_search(self, now: float) -> tuple[list[Contact], list[Endpoint]] | None:
        """Where a search for our own id starts, None if it is not due; it counts as under way."""
        if self._search_at is None or now < self._search_at:
            return None
        self._search_at = None
        contacts, endpoints = self.seeds(self.table.own_id)
        few = len(self.table) < FEW_NODES
        return contacts, [*endpoints, *self._routers] if few else endpoints

    def on_search_done(self, now: float) -> bool:
        """The search is over; True if well-known routers are wanted now.

        Nodes that start together find hardly more than those they started from, and would go on
        depending on them: whoever knows few nodes looks again.
        """
        self.is_settled = True
        if self.table.good_count(now) >= SETTLED_NODES:
            self._retry_after = FIRST_RETRY
            return False
        self._search_at = now + self._retry_after
        self._retry_after = min(2 * self._retry_after, MAX_RETRY)
        if now < self._routers_at or self.has_nodes(now):
            return False
        self._routers_at = now + self._router_retry_after
        self._router_retry_after *= 2
        return True

    # --- upkeep -----------------------------------------------------------------------------------

    def is_upkeep_due(self, now: float) -> bool:
        """True if it is time for `next_ping` and `next_refresh`; once for each time it comes."""
        if now < self._upkeep_at:
            return False
        interval = self._newcomer_interval if self._newcomers else UPKEEP_INTERVAL
        self._upkeep_at = now + interval
        self._judge_reachability(now)
        return True

    @property
    def _newcomer_interval(self) -> float:
        few = len(self.table) < SETTLED_NODES
        return FIRST_NEWCOMER_INTERVAL if few else NEWCOMER_INTERVAL

    def next_ping(self, now: float) -> Contact | None:
        """A node to ping, None if none is due."""
        probe = self.table.freshest() if self._suspects else None
        return self._next_newcomer(now) or probe or self.table.next_to_ping(now)

    def _judge_reachability(self, now: float) -> None:
        """Read-only if we reach the network for long, and nobody there ever reached us."""
        if self.table.good_count(now) < SETTLED_NODES:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        silent_since = self._silent_since
        self.is_read_only = silent_since is not None and now >= silent_since + READ_ONLY_AFTER

    def _next_newcomer(self, now: float) -> Contact | None:
        while self._newcomers:
            contact = self._newcomers.popleft()
            if self.table.would_take(contact, now):
                return contact
        return None

    def next_refresh(self, now: float) -> NodeId | None:
        """An id to search for, to keep a silent bucket fresh; None if none is due."""
        if self._search_at is not None or len(self.table) == 0:
            return None
        if not self.has_nodes(now):
            self._search_at = now
            return None
        index = self.table.bucket_to_refresh(now)
        return None if index is None else random_id_at(self.table.own_id, index, self._random)

    def next_deadline(self) -> float:
        """When there is upkeep to do, or a search to start."""
        return self._upkeep_at if self._search_at is None else min(self._upkeep_at, self._search_at)

    def saved(self) -> SavedNetwork:
        """What to keep for the next start."""
        entries = [entry for entry in self.table.entries() if entry.fails == 0]
        entries.sort(key=lambda entry: entry.responded_at, reverse=True)
        contacts = [entry.contact for entry in entries] or list(self._hints)
        return SavedNetwork(
            family=self.family,
            node_id=self.table.own_id,
            external_ip=self._external.ip,
            contacts=tuple(contacts[:MAX_SAVED_CONTACTS]),
        )
