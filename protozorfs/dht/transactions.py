"""Queries under way: which reply belongs to which, and when to stop waiting.

Two steps: a query is *slow* after a little more than the usual round trip, and whoever asked turns
to others; it is given up later, and a reply until then still counts. Source: docs/dht.md.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from protozorfs.dht.endpoint import Endpoint
    from protozorfs.dht.node_id import NodeId, RandomSource

TRANSACTION_BYTES = 4  # what somebody off the path has to guess; BEP 5's two are too few
# At the default rate 100 can be under way with every node dead; this bounds memory at any rate.
MAX_QUERIES_IN_FLIGHT = 512

FIRST_SLOW_AFTER = 1.0  # seconds, before any round trip is known
MIN_SLOW_AFTER = 0.25
MAX_SLOW_AFTER = 1.0
GIVE_UP_AFTER = 2.0  # seconds; slower nodes are of no use to a lookup

OwnerT = TypeVar("OwnerT")


class RoundTrips:
    """The usual round trip of one network, smoothed. Source: RFC 6298."""

    def __init__(self) -> None:
        self._smoothed: float | None = None
        self._variation = 0.0

    def add(self, seconds: float) -> None:
        """A reply came after that time."""
        if self._smoothed is None:
            self._smoothed, self._variation = seconds, seconds / 2
            return
        self._variation += (abs(seconds - self._smoothed) - self._variation) / 4
        self._smoothed += (seconds - self._smoothed) / 8

    @property
    def slow_after(self) -> float:
        """Seconds after which a reply is later than usual."""
        if self._smoothed is None:
            return FIRST_SLOW_AFTER
        expected = max(2 * self._smoothed, self._smoothed + 4 * self._variation)
        return min(max(expected, MIN_SLOW_AFTER), MAX_SLOW_AFTER)


@dataclass(slots=True)
class PendingQuery(Generic[OwnerT]):
    """One query that waits for its reply. `expected_id` is None where it was not known."""

    transaction: bytes
    endpoint: Endpoint
    expected_id: NodeId | None
    owner: OwnerT
    sent_at: float
    give_up_at: float
    is_slow: bool = False


@dataclass(order=True, slots=True)
class _Timer(Generic[OwnerT]):
    at: float
    number: int
    pending: PendingQuery[OwnerT] = field(compare=False)


class Transactions(Generic[OwnerT]):
    """All queries under way."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self._pending: dict[bytes, PendingQuery[OwnerT]] = {}
        self._endpoints: dict[Endpoint, int] = {}
        self._timers: list[_Timer[OwnerT]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """True if no query may be opened."""
        return len(self._pending) >= MAX_QUERIES_IN_FLIGHT

    def is_awaited(self, endpoint: Endpoint) -> bool:
        """True if a reply from there is expected."""
        return endpoint in self._endpoints

    def open(
        self,
        endpoint: Endpoint,
        expected_id: NodeId | None,
        owner: OwnerT,
        slow_after: float,
        now: float,
    ) -> PendingQuery[OwnerT]:
        """Notes a query that leaves now, under a new transaction id."""
        transaction = self._random.randbytes(TRANSACTION_BYTES)
        while transaction in self._pending:
            transaction = self._random.randbytes(TRANSACTION_BYTES)
        pending = PendingQuery(
            transaction=transaction,
            endpoint=endpoint,
            expected_id=expected_id,
            owner=owner,
            sent_at=now,
            give_up_at=now + GIVE_UP_AFTER,
        )
        self._pending[transaction] = pending
        self._endpoints[endpoint] = self._endpoints.get(endpoint, 0) + 1
        heapq.heappush(self._timers, _Timer(now + slow_after, next(self._numbers), pending))
        return pending

    def take(self, transaction: bytes, source: Endpoint) -> PendingQuery[OwnerT] | None:
        """The query that a reply from `source` answers, now closed; None if there is none."""
        pending = self._pending.get(transaction)
        if pending is None or pending.endpoint != source:
            return None
        self._close(pending)
        return pending

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        while self._timers and self._is_closed(self._timers[0].pending):
            heapq.heappop(self._timers)
        return self._timers[0].at if self._timers else None

    def expire(self, now: float) -> list[PendingQuery[OwnerT]]:
        """The queries whose time is over: slow ones (`is_slow`, still open) and closed ones.

        A query is given up when it comes for the second time; `is_open` tells.
        """
        expired = []
        while self._timers and self._timers[0].at <= now:
            timer = heapq.heappop(self._timers)
            pending = timer.pending
            if self._is_closed(pending):
                continue
            if pending.is_slow or pending.give_up_at <= now:
                self._close(pending)
            else:
                timer.at = pending.give_up_at
                heapq.heappush(self._timers, timer)
            pending.is_slow = True
            expired.append(pending)
        return expired

    def is_open(self, pending: PendingQuery[OwnerT]) -> bool:
        """True while a reply still counts."""
        return not self._is_closed(pending)

    def _is_closed(self, pending: PendingQuery[OwnerT]) -> bool:
        return self._pending.get(pending.transaction) is not pending

    def _close(self, pending: PendingQuery[OwnerT]) -> None:
        del self._pending[pending.transaction]
        left = self._endpoints[pending.endpoint] - 1
        if left:
            self._endpoints[pending.endpoint] = left
        else:
            del self._endpoints[pending.endpoint]
