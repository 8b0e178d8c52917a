"""The addresses that may be dialled, and when: back-off, and who is left alone for misbehaving.

Pure: time and chance are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.types import Address

FIRST_DELAY = 0.25  # seconds after the first failure; a peer that restarts is back soon
MAX_DELAY = 300.0
MAX_USER_DELAY = 10.0  # for a peer that the user named: somebody waits for it
FIRST_BAN = 60.0  # seconds without contact after something invalid; doubles each time
MAX_BAN = 3600.0
JITTER = 0.25  # of a delay, so that peers that lost each other do not dial in step


@dataclass(slots=True)
class Peer:
    """One address.

    Attributes:
        is_users: the user named it: all feeds are shown to it, and it is never forgotten.
        is_dialling, is_connected: what goes on with it.
        was_tried: the first attempt is over.
        next_dial: the earliest time of the next attempt; seconds, monotonic.
        failures, bans: in a row.
        why: what ended the last attempt or connection.
    """

    address: Address
    is_users: bool
    is_dialling: bool = False
    is_connected: bool = False
    was_tried: bool = False
    next_dial: float = 0.0
    failures: int = 0
    bans: int = 0
    why: str = ""


@dataclass(slots=True)
class PeerTable:
    """All addresses that are known."""

    _peers: dict[Address, Peer] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def add(self, address: Address, *, is_users: bool) -> Peer:
        """The entry of an address, made if it is new."""
        peer = self._peers.get(address)
        if peer is None:
            peer = self._peers[address] = Peer(address, is_users)
        peer.is_users = peer.is_users or is_users
        return peer

    def due(self, now: float) -> list[Peer]:
        """Those that may be dialled now."""
        return [peer for peer in self._idle() if peer.next_dial <= now]

    def next_due(self) -> float | None:
        """When the next one may be dialled; None if there is none."""
        return min((peer.next_dial for peer in self._idle()), default=None)

    def failed(self, peer: Peer, why: str, now: float, chance: float) -> None:
        """An attempt failed, or a connection ended. `chance` is in [0, 1)."""
        limit = MAX_USER_DELAY if peer.is_users else MAX_DELAY
        delay = min(limit, FIRST_DELAY * 2.0 ** min(peer.failures, 32))
        peer.failures += 1
        self._end(peer, why, now + delay * (1 + JITTER * chance))

    def misbehaved(self, peer: Peer, why: str, now: float, chance: float) -> None:
        """It sent something invalid: it is left alone."""
        delay = min(MAX_BAN, FIRST_BAN * 2.0 ** min(peer.bans, 32))
        peer.bans += 1
        self._end(peer, why, now + delay * (1 + JITTER * chance))

    def superfluous(self, peer: Peer, why: str, now: float, chance: float) -> None:
        """Another connection to the same node stays; looks again after a while."""
        self._end(peer, why, now + MAX_USER_DELAY * (1 + JITTER * chance))

    def connected(self, peer: Peer) -> None:
        """The handshake is over."""
        peer.is_connected = True
        peer.is_dialling = False
        peer.was_tried = True
        peer.failures = 0
        peer.why = ""

    def _idle(self) -> Iterator[Peer]:
        return (
            peer for peer in self._peers.values() if not peer.is_dialling and not peer.is_connected
        )

    @staticmethod
    def _end(peer: Peer, why: str, next_dial: float) -> None:
        peer.is_dialling = False
        peer.is_connected = False
        peer.was_tried = True
        peer.why = why
        peer.next_dial = next_dial
