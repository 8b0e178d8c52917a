"""Our address as others see it: every responder says in `ip`; a clear majority is believed.

One vote per subnet of voters, so that neither one liar nor the machines of one owner move anything.
Source: BEP 42.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import is_local, subnet_key

if TYPE_CHECKING:
    from protozorfs.dht.endpoint import Endpoint, Family

MAX_VOTES = 50  # the most recent voters; libtorrent counts as many
MIN_VOTES = 5  # for one address; fewer could be one liar's
MAJORITY = 1.5  # times the votes of the runner-up; libtorrent's 3/2
MIN_CHANGE_INTERVAL = 300.0  # seconds between two changes: each costs the place in all tables


class ExternalAddress:
    """The votes on one family's address. `ip` is None until there is a majority."""

    def __init__(self, family: Family, ip: bytes | None = None) -> None:
        self.ip = ip
        self._family = family
        self._votes: OrderedDict[bytes, bytes] = OrderedDict()
        self._changed_at: float | None = None

    def vote(self, voter: Endpoint, seen_as: Endpoint, now: float) -> bool:
        """Counts what a responder says; True if that changes the address."""
        if seen_as.family != self._family or is_local(seen_as.ip) or is_local(voter.ip):
            return False
        key = subnet_key(voter)
        self._votes.pop(key, None)
        self._votes[key] = seen_as.ip
        if len(self._votes) > MAX_VOTES:
            self._votes.popitem(last=False)
        recently = self._changed_at is not None and now < self._changed_at + MIN_CHANGE_INTERVAL
        winner = self._winner()
        if winner is None or winner == self.ip or recently:
            return False
        self.ip = winner
        self._changed_at = now
        return True

    def _winner(self) -> bytes | None:
        ranked = Counter(self._votes.values()).most_common(2)
        ip, votes = ranked[0]
        others = ranked[1][1] if len(ranked) > 1 else 0
        return ip if votes >= MIN_VOTES and votes >= MAJORITY * others else None
