"""The addresses that may be dialled, and when: back-off, and who is left alone for misbehaving.

Pure: time and chance are arguments.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Set

    from protozorfs.types import Address, FeedId

FIRST_DELAY = 0.25  # seconds after the first failure; a peer that restarts is back soon
MAX_DELAY = 300.0
MAX_USER_DELAY = 10.0  # for a peer that the user named: somebody waits for it
FIRST_BAN = 60.0  # seconds without contact after something invalid; doubles each time
MAX_BAN = 3600.0
UNWANTED_DELAY = 60.0  # until a peer whose feeds have enough connections is considered again
MAX_FAILURES = 6  # in a row, then a peer that was only found is forgotten
MAX_PEERS = 4096  # in all; anybody may have put them where we found them
MAX_PEERS_PER_FEED = 64  # that were found; many more than are ever connected
HASTE_INTERVAL = 5.0  # seconds between two dials of one peer before its back-off is over
JITTER = 0.25  # of a delay, so that peers that lost each other do not dial in step


@dataclass(slots=True)
class Peer:
    """One address.

    Attributes:
        is_users: the user named it: all feeds are shown to it, and it is never forgotten.
        feeds: for which it was found; these are shown to it.
        is_dialling, is_connected: what goes on with it.
        was_tried: the first attempt is over.
        connected_as: the name of the connection; empty if there is none.
        next_dial: the end of the back-off; seconds, monotonic.
        put_off_until: until then its feeds have enough connections.
        hastened_at: when its back-off was ended before its time.
        failures, bans: in a row.
        why: what ended the last attempt or connection.
    """

    address: Address
    is_users: bool
    feeds: set[FeedId] = field(default_factory=set)
    is_dialling: bool = False
    is_connected: bool = False
    was_tried: bool = False
    connected_as: str = ""
    next_dial: float = 0.0
    put_off_until: float = -math.inf
    hastened_at: float = -math.inf
    failures: int = 0
    bans: int = 0
    why: str = ""

    @property
    def due(self) -> float:
        """The earliest time of the next attempt."""
        return max(self.next_dial, self.put_off_until)

    def concerns(self, feed_id: FeedId) -> bool:
        """The feed may be shown to it."""
        return self.is_users or feed_id in self.feeds


@dataclass(slots=True)
class PeerTable:
    """All addresses that are known."""

    _peers: dict[Address, Peer] = field(default_factory=dict)
    _found: Counter[FeedId] = field(default_factory=Counter)  # peers per feed

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def find(self, address: Address) -> Peer | None:
        """The entry of an address, if it is known."""
        return self._peers.get(address)

    def is_found(self, address: Address, feed_id: FeedId) -> bool:
        """It was found for that feed before."""
        peer = self._peers.get(address)
        return peer is not None and feed_id in peer.feeds

    def add_users(self, address: Address) -> Peer:
        """The entry of an address that the user named."""
        peer = self._peers.setdefault(address, Peer(address, True))
        peer.is_users = True
        return peer

    def add_found(self, address: Address, feed_id: FeedId) -> Peer | None:
        """The entry of an address that was found for a feed; None if there are too many."""
        peer = self._peers.get(address)
        if peer is not None and feed_id in peer.feeds:
            return peer
        if self._found[feed_id] >= MAX_PEERS_PER_FEED:
            return None
        if peer is None:
            if not self._make_room():
                return None
            peer = self._peers[address] = Peer(address, False)
        peer.feeds.add(feed_id)
        self._found[feed_id] += 1
        return peer

    def forget_feed(self, feed_id: FeedId) -> None:
        """The feed is not here any more."""
        for peer in list(self._peers.values()):
            peer.feeds.discard(feed_id)
            self._forget_if_useless(peer)
        del self._found[feed_id]

    def due(self, now: float, is_wanted: Callable[[Peer], bool]) -> list[Peer]:
        """Those to dial now, the user's first. Who is not wanted now is put off for a while."""
        due = []
        for peer in self._idle():
            if peer.due > now:
                continue
            if peer.is_users or is_wanted(peer):
                due.append(peer)
            else:
                peer.put_off_until = now + UNWANTED_DELAY
        return sorted(due, key=lambda peer: (not peer.is_users, peer.failures))

    def hurry(self, feed_ids: Set[FeedId], now: float) -> None:
        """Feeds need peers: those put off because they had enough are due again."""
        for peer in self._idle():
            if not peer.feeds.isdisjoint(feed_ids):
                peer.put_off_until = min(peer.put_off_until, now)

    def hasten(self, peer: Peer, now: float) -> bool:
        """Ends a back-off before its time, since the peer was just heard of, or a reader waits.

        False, and no effect, if that was done just before, or the peer is left alone.
        """
        if peer.bans or math.isinf(peer.next_dial) or now < peer.hastened_at + HASTE_INTERVAL:
            return False
        peer.hastened_at = now
        peer.next_dial = min(peer.next_dial, now)
        peer.put_off_until = min(peer.put_off_until, now)
        return True

    def hasten_all(self, feed_id: FeedId, now: float) -> None:
        """The same for all peers that the feed may be shown to."""
        for peer in self._idle():
            if peer.concerns(feed_id):
                self.hasten(peer, now)

    def may_be_reached(self, feed_id: FeedId, now: float) -> bool:
        """A peer that the feed may be shown to is being dialled, or is due."""
        return any(
            not peer.is_connected and (peer.is_dialling or peer.due <= now)
            for peer in self._peers.values()
            if peer.concerns(feed_id)
        )

    def next_due(self) -> float | None:
        """When the next one may be dialled; None if there is none."""
        return min((peer.due for peer in self._idle()), default=None)

    def failed(self, peer: Peer, why: str, now: float, chance: float) -> None:
        """An attempt failed, or a connection ended. `chance` is in [0, 1)."""
        limit = MAX_USER_DELAY if peer.is_users else MAX_DELAY
        delay = min(limit, FIRST_DELAY * 2.0 ** min(peer.failures, 32))
        peer.failures += 1
        self._end(peer, why, now + delay * (1 + JITTER * chance))
        if peer.failures >= MAX_FAILURES:
            self._drop_feeds(peer)
        self._forget_if_useless(peer)

    def misbehaved(self, peer: Peer, why: str, now: float, chance: float) -> None:
        """It sent something invalid: it is left alone."""
        delay = min(MAX_BAN, FIRST_BAN * 2.0 ** min(peer.bans, 32))
        peer.bans += 1
        self._end(peer, why, now + delay * (1 + JITTER * chance))

    def is_this_node(self, peer: Peer) -> None:
        """It turned out to be ourselves: never again in this run."""
        self._end(peer, "that is this node itself", math.inf)

    def connected(self, peer: Peer, name: str) -> None:
        """The handshake of the connection of that name is over."""
        peer.is_connected = True
        peer.connected_as = name
        peer.is_dialling = False
        peer.was_tried = True
        peer.failures = 0
        peer.why = ""

    def _make_room(self) -> bool:
        if len(self._peers) < MAX_PEERS:
            return True
        useless = [peer for peer in self._idle() if not peer.is_users]
        if not useless:
            return False
        worst = max(useless, key=lambda peer: (peer.bans, peer.failures))
        self._drop_feeds(worst)
        del self._peers[worst.address]
        return True

    def _drop_feeds(self, peer: Peer) -> None:
        self._found.subtract(peer.feeds)
        peer.feeds.clear()

    def _forget_if_useless(self, peer: Peer) -> None:
        # A ban is remembered: else it would end when the peer is found again.
        is_idle = not peer.is_dialling and not peer.is_connected
        if not peer.is_users and not peer.feeds and is_idle and not peer.bans:
            self._peers.pop(peer.address, None)

    def _idle(self) -> Iterable[Peer]:
        return [
            peer for peer in self._peers.values() if not peer.is_dialling and not peer.is_connected
        ]

    @staticmethod
    def _end(peer: Peer, why: str, next_dial: float) -> None:
        peer.is_dialling = False
        peer.is_connected = False
        peer.connected_as = ""
        peer.was_tried = True
        peer.why = why
        peer.next_dial = next_dial
