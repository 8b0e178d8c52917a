"""Peers at different forks of one feed, in memory, and one that lies about its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.feeds.feed import Feed
from protozorfs.log.proof_types import Proof, Request, UpgradeRequest
from protozorfs.swarm.replicator import Replicator
from protozorfs.wire import messages as m
from protozorfs.wire.replication import CONFLICT_ID
from tests.unit.swarm.memory_peers import FEED_ID, Peer, Pipe, settle

if TYPE_CHECKING:
    from protozorfs.wire.replication import Replica

OURS = [b"one\n", b"two\n", b"three\n"]
THEIRS = [b"one\n", b"another\n", b"three\n", b"four\n"]


class Listening(Replicator):
    """Remembers what it was asked."""

    requests: list[m.RequestMessage]

    def receive(self, replica: Replica, message_type: int, body: bytes, now: float) -> None:
        if message_type == m.REQUEST:
            self.requests.append(m.decode_request(body, padded_seeks=False))
        super().receive(replica, message_type, body, now)


class Liar(Peer):
    """A peer that says what a test lets it say."""

    def __init__(self, *, is_owner: bool = False) -> None:
        super().__init__(is_owner=is_owner, key=8)
        self.listening = Listening(self.feed, self._changed, self.busy)
        self.listening.requests = []
        self.replicator = self.listening

    @property
    def asked_forks(self) -> list[int]:
        """The forks whose history it was asked for."""
        return [message.fork for message in self.listening.requests if message.id == CONFLICT_ID]

    def claim(self, fork: int, length: int) -> None:
        for replica in self.replicator.links:
            sync = m.encode_sync(m.Sync(fork, length, 0, True, True, True))
            replica.connection.send(replica.channel, m.SYNC, sync)

    def show(self, proof: Proof) -> None:
        for replica in self.replicator.links:
            replica.send_proof(CONFLICT_ID, proof)


def owner_of(blocks: list[bytes], fork: int = 0, key: int = 1) -> Peer:
    """Who has the feed's key; of a later fork, as Node has it after it cut the feed."""
    peer = Peer(is_owner=True, key=key)
    log = peer.feed.log
    log._state = log._state._replace(fork=fork)
    if blocks:
        peer.append(blocks)
    return peer


def follower(blocks: list[bytes] = OURS) -> Peer:
    """It has all blocks of fork 0, and nobody is connected."""
    peer = Peer(key=2)
    if blocks:
        connect(peer, owner_of(blocks)).close(0.0)
    assert peer.feed.log.contiguous_length == len(blocks)
    return peer


def connect(dialler: Peer, listener: Peer, name: str = "") -> Pipe:
    pipe = Pipe(dialler, listener, name=name)
    pipe.offer()
    settle([pipe])
    return pipe


def reopened(peer: Peer) -> Feed:
    """The feed in the next run, on the same files."""
    peer.feed.close()
    return Feed(
        FEED_ID,
        peer.surroundings,
        is_owned=peer.feed.is_owned,
        is_followed=True,
        created_ns=0,
        mtime_ns=0,
    )


def whole(peer: Peer, *, start: int = 0) -> Proof:
    """Its proof of its newest head."""
    length = peer.feed.log.length
    return peer.feed.proof(Request(upgrade=UpgradeRequest(start, length - start)))
