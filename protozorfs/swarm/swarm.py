"""The swarm on trio: listens, dials, and keeps one connection per remote node."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.ids import discovery_key_of
from protozorfs.swarm.driver import Driver
from protozorfs.swarm.peers import PeerTable
from protozorfs.swarm.replicator import Replicator
from protozorfs.swarm.session import Session
from protozorfs.types import Address, NodeKey
from protozorfs.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.registry import Feeds
    from protozorfs.swarm.peers import Peer
    from protozorfs.types import DiscoveryKey

DIAL_SECONDS = 15.0  # for TCP to connect; the handshake has its own limit
MAX_DIALS = 16  # at once
MAX_CONNECTIONS = 512  # in all; each may take some MiB of buffers
MAX_CONNECTIONS_PER_HOST = 64
MAX_UNFINISHED = 32  # handshakes under way with strangers: each costs 0.2 ms of curve arithmetic
TICK = 1.0  # seconds between looks at deadlines, while there are connections

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """One connection. `adopted`: other addresses of the same node, not dialled meanwhile."""

    session: Session
    driver: Driver
    host: str
    peer: Peer | None
    adopted: list[Peer] = field(default_factory=list)

    @property
    def shows_all(self) -> bool:
        peers = [*self.adopted, *([self.peer] if self.peer is not None else [])]
        return any(peer.is_users for peer in peers)


class Swarm:
    """All connections of a node.

    Implements `feeds.feed.Listener` towards the feeds and `session.Directory` towards sessions.
    """

    def __init__(
        self,
        feeds: Feeds,
        node_key: crypto.KeyPair,
        listeners: Sequence[trio.SocketListener],
        users_peers: Sequence[Address],
    ) -> None:
        self.peers = PeerTable()
        self._feeds = feeds
        self._node_key = node_key
        self._listeners = listeners
        self._replicators: dict[DiscoveryKey, Replicator] = {}
        self._entries: dict[Session, _Entry] = {}
        self._peers_changed = trio.Event()
        self._has_connections = trio.Event()
        for address in users_peers:
            self.peers.add(address, is_users=True)

    @property
    def addresses(self) -> list[Address]:
        """Where this node listens."""
        names = (listener.socket.getsockname() for listener in self._listeners)
        return [Address(name[0], name[1]) for name in names]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; all connections end with it."""
        self._feeds.subscribe(self)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dial_loop, nursery)
            nursery.start_soon(self._tick_loop)
            for listener in self._listeners:
                nursery.start_soon(self._accept_loop, listener, nursery)
            task_status.started()

    # feeds.feed.Listener

    def feed_opened(self, feed: Feed) -> None:
        """Shows the feed to whom it may be shown."""
        key = discovery_key_of(feed.feed_id)
        if key in self._replicators:
            return
        self._replicators[key] = Replicator(feed)
        feed.attempt_started()
        now = trio.current_time()
        for session, entry in list(self._entries.items()):
            if entry.shows_all:
                session.offer(feed, now)
            else:
                session.offer_if_asked_before(feed, now)
        self.channel_settled(feed)

    def feed_closed(self, feed: Feed) -> None:
        """Shows it to nobody any more."""
        for session in list(self._entries):
            session.withdraw(feed, trio.current_time())
        self._replicators.pop(discovery_key_of(feed.feed_id), None)

    def wants_changed(self, feed: Feed) -> None:
        """Asks for what a reader waits for."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is not None:
            replicator.flush(trio.current_time())

    def head_published(self, feed: Feed) -> None:
        """Tells every peer at once."""
        replicator = self._replicators.get(discovery_key_of(feed.feed_id))
        if replicator is not None:
            replicator.head_published(trio.current_time())

    # session.Directory

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        """The replicator of a feed that is here."""
        return self._replicators.get(discovery_key)

    def session_ready(self, session: Session) -> str | None:
        """One connection per remote node; of two crossing ones the smaller key's dial stays."""
        entry = self._entries[session]
        if session.remote_key == NodeKey(self._node_key.public_key):
            return "that is this node itself"
        for other in list(self._entries.values()):
            if (
                other.session is session
                or not other.session.is_ready
                or other.session.remote_key != session.remote_key
            ):
                continue
            stays, ends = (other, entry) if self._stays(other, entry) else (entry, other)
            stays.adopted += [peer for peer in (ends.peer, *ends.adopted) if peer is not None]
            ends.peer = None
            ends.adopted = []
            self._offer_all(stays)
            if ends is entry:
                return "connected already"
            ends.driver.end("replaced by a newer connection")
        if entry.peer is not None:
            self.peers.connected(entry.peer)
        self._offer_all(entry)
        logger.info("connected to %s", session.name)
        return None

    def channel_settled(self, feed: Feed) -> None:
        """Ends the first attempt to find a head when there is nobody left to ask."""
        untried = any(peer.is_users and not peer.was_tried for peer in self.peers)
        if not untried and not any(session.is_asking(feed) for session in self._entries):
            feed.attempt_ended()

    def _stays(self, old: _Entry, new: _Entry) -> bool:
        if old.session.is_initiator == new.session.is_initiator:
            return False  # the node has dialled again: the old one is dead, or about to be
        own_is_smaller = self._node_key.public_key < new.session.remote_key
        return old.session.is_initiator == own_is_smaller

    def _offer_all(self, entry: _Entry) -> None:
        if entry.shows_all:
            now = trio.current_time()
            for replicator in list(self._replicators.values()):
                entry.session.offer(replicator.feed, now)

    # tasks

    async def _tick_loop(self) -> None:
        while True:
            await self._has_connections.wait()
            await trio.sleep(TICK)
            now = trio.current_time()
            for session in list(self._entries):
                session.tick(now)
            for replicator in list(self._replicators.values()):
                if replicator.is_busy:
                    replicator.handle_timeout(now)

    async def _dial_loop(self, nursery: trio.Nursery) -> None:
        while True:
            changed = self._peers_changed
            dialling = sum(peer.is_dialling for peer in self.peers)
            for peer in self.peers.due(trio.current_time())[: MAX_DIALS - dialling]:
                peer.is_dialling = True
                nursery.start_soon(self._dial, peer)
            next_due = self.peers.next_due()
            with trio.CancelScope() as scope:
                if next_due is not None and dialling < MAX_DIALS:
                    scope.deadline = next_due
                await changed.wait()

    async def _dial(self, peer: Peer) -> None:
        try:
            with trio.fail_after(DIAL_SECONDS):
                stream = await trio.open_tcp_stream(*peer.address)
        except (OSError, trio.TooSlowError) as error:
            why = f"cannot be reached: {error or 'no answer'}"
            logger.info("%s %s", peer.address, why)
            self.peers.failed(peer, why, trio.current_time(), random.random())
            self._settle_all()
            return
        await self._serve(stream, peer.address, peer)

    async def _accept_loop(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:  # out of file descriptors or memory: passes
                logger.warning("cannot accept connections: %s", error)
                await trio.sleep(TICK)
                continue
            try:
                host, port = stream.socket.getpeername()[:2]
            except OSError:  # gone again
                await trio.aclose_forcefully(stream)
                continue
            if self._may_accept(host):
                nursery.start_soon(self._serve, stream, Address(host, port), None)
            else:
                await trio.aclose_forcefully(stream)

    def _may_accept(self, host: str) -> bool:
        entries = self._entries.values()
        unfinished = sum(not entry.session.is_ready for entry in entries)
        from_host = sum(entry.host == host for entry in entries)
        return (
            len(entries) < MAX_CONNECTIONS
            and unfinished < MAX_UNFINISHED
            and from_host < MAX_CONNECTIONS_PER_HOST
        )

    async def _serve(self, stream: trio.SocketStream, address: Address, peer: Peer | None) -> None:
        driver = Driver()
        connection = Connection(
            is_initiator=peer is not None,
            static=self._node_key,
            ephemeral=crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES)),
            header=crypto.random_bytes(crypto.SECRETSTREAM_HEADER_BYTES),
            now=trio.current_time(),
        )
        session = Session(
            connection, self, str(address), is_initiator=peer is not None, driver=driver
        )
        entry = self._entries[session] = _Entry(session, driver, address.host, peer)
        self._has_connections.set()
        try:
            await driver.run(session, stream)
        finally:
            del self._entries[session]
            if not self._entries:
                self._has_connections = trio.Event()
            session.close(trio.current_time())
            stream.socket.close()
            self._ended(entry)

    def _ended(self, entry: _Entry) -> None:
        logger.info("%s: %s", entry.session.name, entry.driver.why)
        now = trio.current_time()
        for peer in (entry.peer, *entry.adopted):
            if peer is not None:
                judge = self.peers.failed if entry.driver.fault is None else self.peers.misbehaved
                judge(peer, entry.driver.why, now, random.random())
        self._settle_all()

    def _settle_all(self) -> None:
        self._peers_changed.set()
        self._peers_changed = trio.Event()
        for replicator in list(self._replicators.values()):
            self.channel_settled(replicator.feed)
