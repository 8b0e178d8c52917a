"""Peers that announced themselves to this node. Source: BEP 5; docs/dht.md."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from protozorfs.dht.endpoint import host_key
from protozorfs.dht.krpc import SERVER_ERROR, KrpcError
from protozorfs.dht.node_id import distance

if TYPE_CHECKING:
    from protozorfs.dht.endpoint import Endpoint, Family
    from protozorfs.dht.node_id import NodeId, RandomSource

PEER_LIFETIME = 2700.0  # seconds; libtorrent's, with announces every 15 to 30 minutes
MAX_INFOHASHES = 2000  # libtorrent's
MAX_PEERS_PER_INFOHASH = 200  # a reply has at most 50 of them
MAX_PEERS_PER_HOST = 4  # ports of one host under one infohash
MAX_INFOHASHES_PER_HOST = 500  # one host must not fill the store; a mount may announce thousands


class PeerStore:
    """A bounded table of peers by infohash."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, dict[Endpoint, float]] = {}  # the value: when it expires
        self._per_host: Counter[bytes] = Counter()  # of entries

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, infohash: NodeId, peer: Endpoint, own_id: NodeId, now: float) -> None:
        """Keeps a peer for 45 minutes.

        Raises:
            KrpcError: 202 no room.
        """
        peers = self._peers.get(infohash, {})
        if peer not in peers:
            self._check_host(peers, peer)
            if not peers:
                self._make_room(infohash, own_id, now)
            elif len(peers) >= MAX_PEERS_PER_INFOHASH:
                self._drop(infohash, min(peers, key=peers.__getitem__))
            self._per_host[host_key(peer)] += 1
        self._peers.setdefault(infohash, peers)[peer] = now + PEER_LIFETIME

    def _check_host(self, peers: dict[Endpoint, float], peer: Endpoint) -> None:
        host = host_key(peer)
        if self._per_host[host] >= MAX_INFOHASHES_PER_HOST:
            raise KrpcError(SERVER_ERROR, "too many announces of yours")
        if sum(host_key(other) == host for other in peers) >= MAX_PEERS_PER_HOST:
            raise KrpcError(SERVER_ERROR, "too many ports of yours")

    def _make_room(self, infohash: NodeId, own_id: NodeId, now: float) -> None:
        if len(self._peers) >= MAX_INFOHASHES:
            self.expire(now)
        if len(self._peers) < MAX_INFOHASHES:
            return
        farthest = max(self._peers, key=lambda kept: distance(kept, own_id))
        if distance(farthest, own_id) <= distance(infohash, own_id):
            raise KrpcError(SERVER_ERROR, "no room")
        for peer in list(self._peers[farthest]):
            self._drop(farthest, peer)

    def _drop(self, infohash: NodeId, peer: Endpoint) -> None:
        peers = self._peers[infohash]
        del peers[peer]
        if not peers:
            del self._peers[infohash]
        host = host_key(peer)
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]

    def sample(
        self, infohash: NodeId, family: Family, count: int, random: RandomSource, now: float
    ) -> list[Endpoint]:
        """At most `count` peers of that family, any of them equally likely."""
        peers = [
            peer
            for peer, expires_at in self._peers.get(infohash, {}).items()
            if peer.family == family and now < expires_at
        ]
        if len(peers) <= count:
            return peers
        return sorted(peers, key=lambda _: random.random())[:count]

    def expire(self, now: float) -> None:
        """Drops what was not announced again in time."""
        for infohash, peers in list(self._peers.items()):
            for peer in [peer for peer, expires_at in peers.items() if expires_at <= now]:
                self._drop(infohash, peer)
