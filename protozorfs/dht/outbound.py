"""The asking half of a node: which query may leave when, and what becomes of it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from protozorfs.dht import krpc
from protozorfs.dht.budget import PacketBudget, Priority
from protozorfs.dht.rate_limits import OutgoingGuard
from protozorfs.dht.transactions import PendingQuery, Transactions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from protozorfs import bencoding
    from protozorfs.dht.endpoint import Endpoint, Family, LocalAddress
    from protozorfs.dht.krpc import Contact
    from protozorfs.dht.network import Network
    from protozorfs.dht.node_id import NodeId, RandomSource
    from protozorfs.dht.operations import Operation, Request

MAX_DELAYED = 256  # requests held back for their host's pace; a lookup has few under way

Pending: TypeAlias = "PendingQuery[Request | None]"


class Datagram(NamedTuple):
    """What to send, where to, and, if that matters, from which address of ours."""

    data: bytes
    endpoint: Endpoint
    local: LocalAddress | None = None


class Outbound:
    """Sends queries inside the budget and at a pace that their hosts bear."""

    def __init__(
        self, networks: Mapping[Family, Network], budget: PacketBudget, random: RandomSource
    ) -> None:
        self.guard = OutgoingGuard()
        self.transactions: Transactions[Request | None] = Transactions(random)
        self._networks = networks
        self._budget = budget
        self._delayed: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self._budget_at: float | None = None  # when what the budget held up can go on
        self._is_held_up = False  # what was delayed is due, and has to wait for the budget, too

    def next_deadline(self) -> float | None:
        """When `queries` has more to give, or a query's time is over."""
        delayed_at = self._delayed[0][0] if self._delayed and not self._is_held_up else None
        times = (self.transactions.next_deadline(), self._budget_at, delayed_at)
        return min((time for time in times if time is not None), default=None)

    def take_reply(self, transaction: bytes, source: Endpoint) -> Pending | None:
        """The query that a reply from there belongs to, None if there is none; it is closed."""
        pending = self.transactions.take(transaction, source)
        if pending is not None:
            self.guard.on_answered(source)
        return pending

    def handle_timeout(self, now: float) -> None:
        """Tells networks and operations of queries that are slow, or will not be answered."""
        for pending in self.transactions.expire(now):
            request = pending.owner
            if self.transactions.is_open(pending):
                if request is not None:
                    request.operation.on_slow(request, now)
                continue
            network = self._networks[pending.endpoint.family]
            network.on_timeout(pending.endpoint, pending.sent_at)
            if request is not None:
                request.operation.on_timeout(request, now)

    def ping(self, contact: Contact, now: float) -> list[Datagram]:
        """The datagram that asks whether a node is there; none if it must not be sent now."""
        may_send = self._may_query(Priority.UPKEEP, now)
        if not may_send or self.guard.send_time(contact.endpoint, now) != now:
            return []
        return [self._query(contact.endpoint, contact.node_id, None, b"ping", {}, now)]

    def queries(self, operations: Iterable[Operation], now: float) -> Iterator[Datagram]:
        """The queries that operations want sent, the most important first, as far as may be."""
        self._budget_at = None
        self._is_held_up = False
        yield from self._held_back(now)
        for operation in sorted(operations, key=lambda operation: operation.priority):
            while self._may_query(operation.priority, now):
                request = operation.next_request()
                if request is None:
                    break
                yield from self._dispatch(request, now)

    def _may_query(self, priority: Priority, now: float) -> bool:
        if self.transactions.is_full:
            return False  # the next reply or time-out makes room
        at = self._budget.query_time(priority, now)
        if at > now:
            self._budget_at = at if self._budget_at is None else min(at, self._budget_at)
        return at <= now

    def _held_back(self, now: float) -> Iterator[Datagram]:
        """Requests whose host may be asked again."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, request = self._delayed[0]
            is_wanted = not request.operation.is_done
            if is_wanted and not self._may_query(request.operation.priority, now):
                self._is_held_up = True
                return
            heapq.heappop(self._delayed)
            if is_wanted:
                yield from self._dispatch(request, now)

    def _dispatch(self, request: Request, now: float) -> Iterator[Datagram]:
        """The request's datagram; none if it is held back for a while, or refused."""
        at = self.guard.send_time(request.endpoint, now, is_bootstrap=request.is_bootstrap)
        if at is None or (at > now and len(self._delayed) >= MAX_DELAYED):
            request.operation.on_timeout(request, now)
        elif at > now:
            heapq.heappush(self._delayed, (at, next(self._numbers), request))
        else:
            node_id = request.candidate.node_id
            yield self._query(
                request.endpoint, node_id, request, request.method, request.arguments, now
            )

    def _query(
        self,
        endpoint: Endpoint,
        node_id: NodeId | None,
        owner: Request | None,
        method: bytes,
        arguments: Mapping[bytes, bencoding.Encodable],
        now: float,
    ) -> Datagram:
        network = self._networks[endpoint.family]
        slow_after = network.round_trips.slow_after
        pending = self.transactions.open(endpoint, node_id, owner, slow_after, now)
        self._budget.on_query(now)
        self.guard.on_sent(endpoint, now)
        network.table.on_asked(endpoint, now)
        data = krpc.encode_query(
            pending.transaction,
            method,
            {**arguments, b"id": network.table.own_id},
            is_read_only=network.is_read_only,
        )
        return Datagram(data, endpoint)
