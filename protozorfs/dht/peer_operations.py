"""Finding peers, and announcing ourselves as one. Source: BEP 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.dht import krpc
from protozorfs.dht.endpoint import Endpoint, is_plausible
from protozorfs.dht.operations import Operation, PeersFound, Question
from protozorfs.dht.storing import Storing

if TYPE_CHECKING:
    from protozorfs import bencoding
    from protozorfs.dht.budget import Priority
    from protozorfs.dht.lookup import Candidate
    from protozorfs.dht.node_id import NodeId

MAX_PEERS = 200  # of one search: unverified hints, more would only be dialled in vain


class GetPeers(Operation):
    """Peers of an infohash.

    Attributes:
        peers: what was found so far, in no order; grows until the operation is done.
    """

    def __init__(self, infohash: NodeId, priority: Priority) -> None:
        super().__init__(infohash, priority)
        self.peers: set[Endpoint] = set()

    def add_kept(self, peers: list[Endpoint]) -> None:
        """Peers that announced themselves to our own node."""
        self._add(peers)

    def _question(self) -> Question:
        return b"get_peers", {b"info_hash": self.target}

    def _on_answer(self, candidate: Candidate, response: krpc.Response) -> None:
        named_by = candidate.endpoint.ip
        self._add(
            [peer for peer in krpc.read_peers(response.values) if is_plausible(peer, named_by)]
        )

    def _add(self, peers: list[Endpoint]) -> None:
        new = [peer for peer in dict.fromkeys(peers) if peer not in self.peers]
        new = new[: MAX_PEERS - len(self.peers)]
        if new:
            self.peers.update(new)
            self.events.append(PeersFound(operation=self, peers=tuple(new)))


class Announce(Storing, GetPeers):
    """Tells the 8 nodes nearest to an infohash that we serve it; finds its peers on the way."""

    def __init__(
        self, infohash: NodeId, port: int, priority: Priority, *, implied_port: bool
    ) -> None:
        """With `implied_port` the nodes note the UDP port that they see us under instead."""
        super().__init__(infohash, priority)
        self._port = port
        self._implied_port = implied_port

    def _on_found(self) -> None:
        self._store_at_nearest()

    def _store_question(self, candidate: Candidate) -> Question:
        arguments: dict[bytes, bencoding.Encodable] = {
            b"info_hash": self.target,
            b"port": self._port,
            b"token": candidate.token or b"",
        }
        if self._implied_port:
            arguments[b"implied_port"] = 1
        return b"announce_peer", arguments
