"""One cap on all DHT packets of a node, and who may use how much of it.

In no second leave more packets than the rate. A class of packets may leave only while the last
second holds less than its share of the rate; so what matters least stops first, and what matters
most finds room when it comes.
"""

from __future__ import annotations

import enum
import math
from collections import deque

WINDOW = 1.0  # seconds


class Priority(enum.IntEnum):
    """What packets are for, the most important first."""

    OWNED = 0  # heads and announces of feeds that are written here
    READER = 1  # what a reader waits for
    UPKEEP = 2  # the routing table: without it nothing above works
    FOLLOWED = 3  # followed feeds without a live peer
    SAMPLE = 4  # the rest


# Of the rate. Replies to strangers come on top of queries, inside the same cap.
_QUERY_SHARES = (1.0, 0.9, 0.8, 0.6, 0.5)
REPLY_SHARE = 0.5
MIN_RATE = 4  # packets a second: below that a lookup outlives its time limit


class PacketBudget:
    """Counts packets in a sliding window of one second."""

    def __init__(self, rate: int) -> None:
        """`rate` in packets per second, at least MIN_RATE."""
        self.rate = max(rate, MIN_RATE)
        self._sent: deque[float] = deque()
        self._replied: deque[float] = deque()

    def may_query(self, priority: Priority, now: float) -> bool:
        """True if a query of that class may leave now."""
        return self.query_time(priority, now) <= now

    def query_time(self, priority: Priority, now: float) -> float:
        """When, as it stands, the next query of that class may leave: `now` or later."""
        return _free_at(self._sent, self._limit(_QUERY_SHARES[priority]), now)

    def may_reply(self, now: float) -> bool:
        """True if a reply may leave now."""
        limit = self._limit(REPLY_SHARE)
        return (
            _free_at(self._replied, limit, now) <= now
            and _free_at(self._sent, self.rate, now) <= now
        )

    def on_query(self, now: float) -> None:
        """A query leaves."""
        self._sent.append(now)

    def on_reply(self, now: float) -> None:
        """A reply leaves."""
        self._sent.append(now)
        self._replied.append(now)

    def used(self, now: float) -> int:
        """Packets of the last second."""
        _forget(self._sent, now)
        return len(self._sent)

    def _limit(self, share: float) -> int:
        return max(1, math.floor(self.rate * share))


def _forget(times: deque[float], now: float) -> None:
    # Written as `_free_at` computes it: with `now - WINDOW` rounding could differ from there, and a
    # caller that sleeps until the time it was told would find nothing changed.
    while times and times[0] + WINDOW <= now:
        times.popleft()


def _free_at(times: deque[float], limit: int, now: float) -> float:
    """When fewer than `limit` of the times lie in the window; `now` if that is so already."""
    _forget(times, now)
    return now if len(times) < limit else times[len(times) - limit] + WINDOW
