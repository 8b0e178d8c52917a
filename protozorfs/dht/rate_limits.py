"""Limits per host: on what strangers may ask of us, and on what we send to one address.

The tables of hosts are bounded; the host seen longest ago is forgotten first. Limits over all hosts
together are in `budget`. Source: docs/dht.md (hostile nodes); BEP 5.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import host_key

if TYPE_CHECKING:
    from protozorfs.dht.endpoint import Endpoint

MAX_TRACKED_HOSTS = 4096  # about 1 MB

QUERIES_PER_SECOND = 4.0  # to one host; libtorrent bans a host that sends 50 within 10 s
QUERIES_BURST = 8.0
# A stranger's address may be anybody's: whoever never answered gets two datagrams a minute.
MAX_UNANSWERED = 2
MAX_UNANSWERED_KNOWN = 8  # of a host that answered before: several lookups may ask it at once
UNANSWERED_WINDOW = 60.0  # seconds
CONTACT_MEMORY = 300.0  # seconds; UDP mappings of a NAT last that long at most. RFC 4787, REQ-5


class KeyedBuckets:
    """Token buckets by key: `rate` units a second each, at most `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._levels: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def allow(self, key: bytes, cost: float, now: float) -> bool:
        """Takes `cost` units from the key's bucket; False, and takes none, if it has fewer."""
        level, updated = self._levels.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - updated) * self._rate)
        allowed = level >= cost
        self._levels[key] = (level - cost if allowed else level, now)
        if len(self._levels) > MAX_TRACKED_HOSTS:
            self._levels.popitem(last=False)
        return allowed


@dataclass(slots=True)
class _Host:
    """What was sent to one host. `level` is how many queries it may get at once."""

    sent_at: float
    level: float
    unanswered: int = 0
    unanswered_since: float = 0.0
    has_answered: bool = False


class OutgoingGuard:
    """Paces queries per host, and keeps lists of strangers from aiming us at somebody."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[bytes, _Host] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def send_time(
        self, endpoint: Endpoint, now: float, *, is_bootstrap: bool = False
    ) -> float | None:
        """When a query may go there: `now` or later; None if it must not be asked at present.

        Bootstrap nodes are the user's choice: they are asked however long they are silent.
        """
        host = self._hosts.get(host_key(endpoint))
        if host is None:
            return now
        most = MAX_UNANSWERED_KNOWN if host.has_answered else MAX_UNANSWERED
        is_silent = host.unanswered >= most and not is_bootstrap
        if is_silent and now < host.unanswered_since + UNANSWERED_WINDOW:
            return None
        level = min(QUERIES_BURST, host.level + (now - host.sent_at) * QUERIES_PER_SECOND)
        return now if level >= 1.0 else now + (1.0 - level) / QUERIES_PER_SECOND

    def on_sent(self, endpoint: Endpoint, now: float) -> None:
        """A query left for that host."""
        key = host_key(endpoint)
        host = self._hosts.pop(key, None) or _Host(sent_at=now, level=QUERIES_BURST)
        if host.unanswered == 0 or now >= host.unanswered_since + UNANSWERED_WINDOW:
            host.unanswered = 0
            host.unanswered_since = now
        host.unanswered += 1
        elapsed = now - host.sent_at
        host.level = min(QUERIES_BURST, host.level + elapsed * QUERIES_PER_SECOND) - 1.0
        host.sent_at = now
        self._hosts[key] = host
        if len(self._hosts) > MAX_TRACKED_HOSTS:
            self._hosts.popitem(last=False)

    def on_answered(self, endpoint: Endpoint) -> None:
        """A reply to a query of ours came from there."""
        host = self._hosts.get(host_key(endpoint))
        if host is not None:
            host.unanswered = 0
            host.has_answered = True

    def was_contacted(self, endpoint: Endpoint, now: float) -> bool:
        """True if we sent a query there not long ago."""
        host = self._hosts.get(host_key(endpoint))
        return host is not None and now < host.sent_at + CONTACT_MEMORY


# What strangers may make us decode. A busy public node gets a few queries a second in all.
STRANGER_QUERIES_PER_SECOND = 10.0  # of one host
STRANGER_QUERIES_BURST = 40.0
ALL_STRANGERS_PER_SECOND = 200.0
ALL_STRANGERS_BURST = 400.0
# Of replies to one host: five full items a second. More would make us somebody's amplifier.
REPLY_BYTES_PER_SECOND = 7_500.0
REPLY_BYTES_BURST = 22_500.0
MAX_REPLY_BYTES = 1500  # a full item with 8 nodes has 1400


class StrangerLimits:
    """What hosts that we did not ask may cost us."""

    def __init__(self) -> None:
        self._queries = KeyedBuckets(STRANGER_QUERIES_PER_SECOND, STRANGER_QUERIES_BURST)
        self._all_queries = KeyedBuckets(ALL_STRANGERS_PER_SECOND, ALL_STRANGERS_BURST)
        self._reply_bytes = KeyedBuckets(REPLY_BYTES_PER_SECOND, REPLY_BYTES_BURST)

    def may_query(self, source: Endpoint, now: float) -> bool:
        """True if a datagram from there may be looked at. One host alone cannot use up the lot."""
        return self._queries.allow(host_key(source), 1.0, now) and self._all_queries.allow(
            b"", 1.0, now
        )

    def may_be_sent(self, reply: bytes, source: Endpoint, now: float) -> bool:
        """True if the reply may go there."""
        return len(reply) <= MAX_REPLY_BYTES and self._reply_bytes.allow(
            host_key(source), len(reply), now
        )
