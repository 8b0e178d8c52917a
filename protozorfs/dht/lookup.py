"""The iterative search for the nodes nearest to a target, in one of the two networks.

    NEW -> ASKED -> ANSWERED
              +---> SLOW ----> ANSWERED (late)
              +-------+------> FAILED

At each step the nearest candidates that neither failed nor are slow are asked, a few at a time.
It is done when the 8 nearest of them have answered, and, where ids are forged (BEP 42), the 8
nearest with a genuine id as well: who sits down around a target cannot push the others out.

Liars: a responder whose nodes turn out dead is believed no longer; what only such responders named
is not asked. One candidate per host and per subnet, unless the one there fails.
Source: BEP 5; docs/dht.md (lookups); libtorrent traversal_algorithm (the window of asked
candidates).
"""

from __future__ import annotations

import bisect
import enum
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import Endpoint, host_key, is_plausible, subnet_key
from protozorfs.dht.krpc import Contact
from protozorfs.dht.node_id import NodeId, belongs_to, distance
from protozorfs.dht.routing import BUCKET_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

ALPHA = 5  # queries under way that are not slow; libtorrent's
MAX_CANDIDATES = 100  # more than a lookup among millions of nodes asks
MAX_BLOCKED = 32  # candidates that wait for another one of their subnet to fail
MAX_NAMED_PER_REPLY = 8  # nodes taken from one reply, nearest first; k
# A responder loses credit when so many of its nodes failed, and more than twice as many as
# answered. With 20 % dead nodes and 10 % loss an honest one has 3 of 8.
MIN_FAILURES_OF_LIAR = 4


class State(enum.Enum):
    """How far a candidate has come."""

    NEW = enum.auto()
    ASKED = enum.auto()
    SLOW = enum.auto()
    ANSWERED = enum.auto()
    FAILED = enum.auto()


@dataclass(slots=True, eq=False)
class Candidate:
    """A node that may be asked. `node_id` is None for a bootstrap node that has not answered."""

    endpoint: Endpoint
    node_id: NodeId | None
    distance: int
    belongs: bool
    referrers: list[Candidate] = field(default_factory=list)
    state: State = State.NEW
    token: bytes | None = None
    seq: int | None = None  # of the item that it says it has
    is_retried: bool = False
    good_referrals: int = 0
    bad_referrals: int = 0

    @property
    def is_liar(self) -> bool:
        """True if too many of the nodes that it named are dead."""
        return (
            self.bad_referrals >= MIN_FAILURES_OF_LIAR
            and self.bad_referrals > 2 * self.good_referrals
        )

    @property
    def is_credible(self) -> bool:
        """True if anybody credible named it, or it was in our own table."""
        return not self.referrers or not all(referrer.is_liar for referrer in self.referrers)


class Lookup:
    """One search. The owner sends what `next_candidate` gives and reports what becomes of it."""

    def __init__(
        self,
        target: NodeId,
        own_id: NodeId,
        seeds: Iterable[Contact],
        bootstrap: Iterable[Endpoint] = (),
    ) -> None:
        """`seeds` are nodes of our own table; `bootstrap` are nodes whose id is not known."""
        self.target = target
        self._own_id = own_id
        self._candidates: list[Candidate] = []  # by distance
        self._strangers: list[Candidate] = []
        self._by_host: dict[bytes, Candidate] = {}
        self._by_subnet: dict[bytes, Candidate] = {}
        self._blocked: deque[tuple[Contact, Candidate]] = deque(maxlen=MAX_BLOCKED)
        for contact in seeds:
            self._add(contact, None)
        for endpoint in bootstrap:
            if host_key(endpoint) not in self._by_host:
                stranger = Candidate(endpoint, None, -1, True)
                self._strangers.append(stranger)
                self._by_host[host_key(endpoint)] = stranger

    # --- asking -----------------------------------------------------------------------------------

    def next_candidate(self) -> Candidate | None:
        """The next node to ask, now counted as asked; None if it is time to wait, or done."""
        under_way = 0
        chosen: Candidate | None = None
        for candidate in (*self._strangers, *self._window()):
            if candidate.state is State.ASKED:
                under_way += 1
            elif candidate.state is State.NEW and chosen is None:
                chosen = candidate
        if chosen is None or under_way >= ALPHA:
            return None
        chosen.state = State.ASKED
        return chosen

    def retry_silent(self) -> None:
        """Asks the nearest that did not answer once more: their datagrams may have been lost."""
        silent = [
            candidate
            for candidate in self._candidates
            if candidate.state in (State.SLOW, State.FAILED) and not candidate.is_retried
        ]
        for candidate in silent[:BUCKET_SIZE]:
            candidate.state = State.NEW
            candidate.is_retried = True

    @property
    def is_done(self) -> bool:
        """True if asking further would not change what is nearest."""
        if any(stranger.state in (State.NEW, State.ASKED) for stranger in self._strangers):
            return False
        window = self._window()
        if any(candidate.state is not State.ANSWERED for candidate in window):
            return False
        if len(window) >= BUCKET_SIZE:
            return True
        everybody = (*self._strangers, *self._candidates)
        return not any(candidate.state is State.SLOW for candidate in everybody)

    def _window(self) -> list[Candidate]:
        """The 8 nearest that may yet answer or did, and the 8 nearest of them with genuine ids."""
        window = []
        count = genuine = 0
        for candidate in self._candidates:
            if candidate.state in (State.FAILED, State.SLOW):
                continue
            if candidate.state is State.NEW and not candidate.is_credible:
                continue
            if count < BUCKET_SIZE or (candidate.belongs and genuine < BUCKET_SIZE):
                window.append(candidate)
            count += 1
            genuine += candidate.belongs
            if genuine >= BUCKET_SIZE:
                break
        return window

    # --- what becomes of it -----------------------------------------------------------------------

    def on_response(self, candidate: Candidate, node_id: NodeId, nodes: Iterable[Contact]) -> bool:
        """A reply with the responder's id and the nodes it named; False if it does not count.

        A node with another id than was claimed is no use where it was looked for; it is tried again
        in its true place, once.
        """
        if candidate.node_id is None:
            self._settle(candidate, node_id)
        elif candidate.node_id != node_id:
            self._fail(candidate)
            self._retry_as(candidate, node_id)
            return False
        candidate.state = State.ANSWERED
        for referrer in candidate.referrers:
            referrer.good_referrals += 1
        named = dict.fromkeys(nodes)
        nearest = sorted(named, key=lambda contact: distance(contact.node_id, self.target))
        for contact in nearest[:MAX_NAMED_PER_REPLY]:
            if is_plausible(contact.endpoint, candidate.endpoint.ip):
                self._add(contact, candidate)
        return True

    def on_slow(self, candidate: Candidate) -> None:
        """No reply in the usual time."""
        if candidate.state is State.ASKED:
            candidate.state = State.SLOW
            self._blame(candidate)
            self._reconsider_blocked()

    def on_failure(self, candidate: Candidate) -> None:
        """No reply, or an error."""
        if candidate.state in (State.ASKED, State.SLOW):
            self._fail(candidate)

    def _fail(self, candidate: Candidate) -> None:
        if candidate.state is State.ASKED:
            self._blame(candidate)
        candidate.state = State.FAILED
        self._reconsider_blocked()

    @staticmethod
    def _blame(candidate: Candidate) -> None:
        for referrer in candidate.referrers:
            referrer.bad_referrals += 1

    def _settle(self, candidate: Candidate, node_id: NodeId) -> None:
        """A bootstrap node said its id: it takes its place among the others."""
        self._strangers.remove(candidate)
        candidate.node_id = node_id
        candidate.distance = distance(node_id, self.target)
        candidate.belongs = belongs_to(node_id, candidate.endpoint.ip)
        bisect.insort(self._candidates, candidate, key=lambda other: other.distance)

    def _retry_as(self, candidate: Candidate, node_id: NodeId) -> None:
        host = host_key(candidate.endpoint)
        if self._by_host.get(host) is candidate and candidate.referrers:
            del self._by_host[host]
            self._add(Contact(node_id, candidate.endpoint), None)

    # --- candidates -------------------------------------------------------------------------------

    def _add(self, contact: Contact, referrer: Candidate | None) -> None:
        if contact.node_id == self._own_id:
            return
        host, subnet = host_key(contact.endpoint), subnet_key(contact.endpoint)
        standing = self._by_host.get(host) or self._by_subnet.get(subnet)
        if standing is not None:
            if (standing.endpoint, standing.node_id) == (contact.endpoint, contact.node_id):
                if referrer is not None and standing.referrers:
                    standing.referrers.append(referrer)
                return
            if standing.state not in (State.FAILED, State.SLOW):
                if referrer is not None:
                    self._blocked.append((contact, referrer))
                return
        away = distance(contact.node_id, self.target)
        belongs = belongs_to(contact.node_id, contact.endpoint.ip)
        candidate = Candidate(contact.endpoint, contact.node_id, away, belongs)
        if referrer is not None:
            candidate.referrers.append(referrer)
        self._by_host[host] = self._by_subnet[subnet] = candidate
        bisect.insort(self._candidates, candidate, key=lambda other: other.distance)
        if len(self._candidates) > MAX_CANDIDATES:
            self._forget(self._candidates.pop())

    def _forget(self, candidate: Candidate) -> None:
        host, subnet = host_key(candidate.endpoint), subnet_key(candidate.endpoint)
        if self._by_host.get(host) is candidate:
            del self._by_host[host]
        if self._by_subnet.get(subnet) is candidate:
            del self._by_subnet[subnet]

    def _reconsider_blocked(self) -> None:
        """A candidate failed: others of its host or subnet may take its place."""
        waiting, self._blocked = self._blocked, deque(maxlen=MAX_BLOCKED)
        for contact, referrer in waiting:
            self._add(contact, referrer)

    # --- the result -------------------------------------------------------------------------------

    def answered(self) -> list[Candidate]:
        """All that answered, nearest first."""
        return [candidate for candidate in self._candidates if candidate.state is State.ANSWERED]

    def storing_candidates(self) -> list[Candidate]:
        """Where to store: with a token the 8 nearest, and the 8 nearest with genuine ids."""
        willing = [candidate for candidate in self.answered() if candidate.token is not None]
        genuine = [candidate for candidate in willing if candidate.belongs][:BUCKET_SIZE]
        return willing[:BUCKET_SIZE] + [
            candidate for candidate in genuine if candidate not in willing[:BUCKET_SIZE]
        ]
