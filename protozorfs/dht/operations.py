"""Operations: what a node is asked to do, as objects without I/O.

    SEARCHING -> DONE              a search
    SEARCHING -> STORING -> DONE   a search, then stores at the nearest nodes found

An operation runs one lookup in each of the two networks that are up and brings their results
together. The engine takes requests from it, sends them, and reports what becomes of each.
Source: BEP 5, BEP 32, BEP 44; docs/dht.md.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from protozorfs.dht import krpc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protozorfs import bencoding
    from protozorfs.dht.budget import Priority
    from protozorfs.dht.endpoint import Endpoint, Family
    from protozorfs.dht.items import SignedItem
    from protozorfs.dht.lookup import Candidate, Lookup
    from protozorfs.dht.node_id import NodeId

SEARCH_TIME = 12.0  # seconds at most; a search that budget and pacing do not hold up takes one
STORE_TIME = 5.0  # seconds at most

Question: TypeAlias = "tuple[bytes, Mapping[bytes, bencoding.Encodable]]"


class Phase(enum.Enum):
    """How far an operation has come."""

    WAITING = enum.auto()
    SEARCHING = enum.auto()
    STORING = enum.auto()
    DONE = enum.auto()


class Kind(enum.Enum):
    """What a request is for."""

    LOOKUP = enum.auto()  # a step of the search
    FOLLOW_UP = enum.auto()  # the nodes that an answer left out
    STORE = enum.auto()
    CHECK = enum.auto()  # what a node holds that refused a store


@dataclass(slots=True, eq=False)
class Request:
    """A query that an operation wants sent; `arguments` lacks our id."""

    operation: Operation
    family: Family
    candidate: Candidate
    kind: Kind
    method: bytes
    arguments: Mapping[bytes, bencoding.Encodable]
    is_repeated: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """Where to."""
        return self.candidate.endpoint

    @property
    def is_bootstrap(self) -> bool:
        """True for the first question to a node of which only the address is known."""
        return self.candidate.node_id is None and self.method == b"find_node"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFound:
    """A verified item, newer than what the operation had found before. It may not be the newest."""

    operation: Operation
    item: SignedItem


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersFound:
    """Peers that the operation had not found before. Hints: nobody vouches for them."""

    operation: Operation
    peers: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDone:
    """An operation has its result; not told of cancelled ones."""

    operation: Operation


OperationEvent: TypeAlias = ItemFound | PeersFound | OperationDone


class Operation:
    """Base of all: a search that ends with the nearest nodes known."""

    def __init__(self, target: NodeId, priority: Priority) -> None:
        self.target = target
        self.priority = priority
        self.phase = Phase.WAITING
        self.deadline: float | None = None
        self.queries_sent = 0
        self.events: list[OperationEvent] = []  # taken by the engine
        self._lookups: dict[Family, Lookup] = {}
        self._extra: deque[Request] = deque()  # to be sent besides the lookups' steps
        self._awaited: set[Request] = set()  # of those: sent, and still worth waiting for

    # --- for whoever asked ------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """True once there is nothing more to come; also after `cancel`."""
        return self.phase is Phase.DONE

    @property
    def answered_count(self) -> int:
        """How many of the nodes nearest to the target answered, at most 8 in each network."""
        return sum(min(len(lookup.answered()), 8) for lookup in self._lookups.values())

    def cancel(self) -> None:
        """Ends the operation; replies that are under way do not count any more."""
        self.phase = Phase.DONE

    # --- for the engine ---------------------------------------------------------------------------

    def start(self, lookups: Mapping[Family, Lookup], now: float) -> None:
        """Begins the search."""
        self._lookups = dict(lookups)
        self.phase = Phase.SEARCHING
        self.deadline = now + SEARCH_TIME
        self._advance(now)

    def next_request(self) -> Request | None:
        """The next query to send, now counted as sent; None: nothing to send before a reply."""
        if self._extra:
            request = self._extra.popleft()
            self._awaited.add(request)
            self.queries_sent += 1
            return request
        if self.phase is not Phase.SEARCHING:
            return None
        for family, lookup in self._lookups.items():
            candidate = lookup.next_candidate()
            if candidate is not None:
                method, arguments = self._question()
                self.queries_sent += 1
                return Request(self, family, candidate, Kind.LOOKUP, method, arguments)
        return None

    def on_response(self, request: Request, response: krpc.Response, now: float) -> None:
        """A reply came, late ones included."""
        if self.is_done:
            return
        self._awaited.discard(request)
        candidate = request.candidate
        if request.kind in (Kind.LOOKUP, Kind.FOLLOW_UP):
            contacts = krpc.read_contacts(response.values, request.family)
            lookup = self._lookups[request.family]
            counts = lookup.on_response(candidate, response.sender_id, contacts)
            if counts and request.kind is Kind.LOOKUP:
                candidate.token = krpc.read_bytes(response.values, b"token")
                self._on_answer(candidate, response)
                self._follow_up(request, response)
        elif candidate.node_id != response.sender_id:
            self._on_refused(request, None)
        elif request.kind is Kind.STORE:
            self._on_stored(candidate)
        else:
            self._on_checked(candidate, response)
        self._advance(now)

    def on_error(self, request: Request, code: int, now: float) -> None:
        """An error came."""
        if self.is_done:
            return
        self._awaited.discard(request)
        if request.kind is Kind.LOOKUP:
            self._lookups[request.family].on_failure(request.candidate)
        elif request.kind is Kind.STORE:
            self._on_refused(request, code)
        self._advance(now)

    def on_slow(self, request: Request, now: float) -> None:
        """No reply in the usual time."""
        if self.is_done:
            return
        if request.kind is Kind.LOOKUP:
            self._lookups[request.family].on_slow(request.candidate)
        elif request.kind is Kind.STORE and request in self._awaited:
            self._on_unanswered_store(request)
        self._awaited.discard(request)
        self._advance(now)

    def on_timeout(self, request: Request, now: float) -> None:
        """No reply at all, or the node must not be asked."""
        if self.is_done:
            return
        if request.kind is Kind.LOOKUP:
            self._lookups[request.family].on_failure(request.candidate)
        elif request.kind is Kind.STORE and request in self._awaited:
            self._on_refused(request, None)
        self._awaited.discard(request)
        self._advance(now)

    def on_deadline(self, now: float) -> None:
        """The phase took too long: goes on with what there is."""
        if self.phase is Phase.SEARCHING:
            self._end_search(now)
        elif self.phase is Phase.STORING:
            self._finish()

    # --- phases -----------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        if self._extra or self._awaited:
            return
        if self.phase is Phase.SEARCHING:
            if all(lookup.is_done for lookup in self._lookups.values()):
                self._end_search(now)
        elif self.phase is Phase.STORING:
            self._finish()

    def _end_search(self, now: float) -> None:
        self._extra.clear()
        self._awaited.clear()
        if now < (self.deadline or now) and self._wants_more():
            self._advance(now)
            return
        self.phase = Phase.STORING
        self.deadline = now + STORE_TIME
        self._on_found()
        self._advance(now)

    def _finish(self) -> None:
        self.phase = Phase.DONE
        self.events.append(OperationDone(operation=self))

    def _follow_up(self, request: Request, response: krpc.Response) -> None:
        """Asks again for nodes where a value came without: bittorrent-dht sends one or the other.

        Without this a search that meets such a node ends there, with whatever that node holds.
        """
        has_value = response.raw_value is not None or b"values" in response.values
        if has_value and krpc.NODES_KEY[request.family] not in response.values:
            arguments = {b"target": self.target}
            self._extra.append(
                Request(
                    self,
                    request.family,
                    request.candidate,
                    Kind.FOLLOW_UP,
                    b"find_node",
                    arguments,
                )
            )

    # --- what the kinds of operations fill in -----------------------------------------------------

    def _question(self) -> Question:
        """Method and arguments of a step of the search."""
        return b"find_node", {b"target": self.target}

    def _on_answer(self, candidate: Candidate, response: krpc.Response) -> None:
        """A node answered the question."""

    def _wants_more(self) -> bool:
        """True if the search is to go on, after the lookups were told what else to ask."""
        return False

    def _on_found(self) -> None:
        """The search is over; what is to be stored is queued here."""

    def _on_stored(self, candidate: Candidate) -> None:
        """A node took what was to be stored."""

    def _on_unanswered_store(self, request: Request) -> None:
        """A store was not answered in the usual time."""

    def _on_refused(self, request: Request, code: int | None) -> None:
        """A store failed, with an error code or without an answer."""

    def _on_checked(self, candidate: Candidate, response: krpc.Response) -> None:
        """A node answered to a check."""


class FindNode(Operation):
    """A search for nodes alone: to start, and to keep the table fresh.

    With `want_both` nodes of both networks are asked for (BEP 32), which bootstrapping one from the
    other needs.
    """

    def __init__(self, target: NodeId, priority: Priority, *, want_both: bool = False) -> None:
        super().__init__(target, priority)
        self._want_both = want_both

    def _question(self) -> Question:
        if self._want_both:
            return b"find_node", {b"target": self.target, b"want": krpc.WANT_BOTH}
        return b"find_node", {b"target": self.target}
