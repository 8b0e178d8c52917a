"""All connections of a node on trio: listens, dials, and keeps one per remote node."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import trio

from protozorfs import crypto, descriptors
from protozorfs.boundary import PAUSE_SECONDS, Boundary
from protozorfs.errors import first_error
from protozorfs.swarm.driver import Driver
from protozorfs.swarm.peers import PeerTable
from protozorfs.swarm.reachability import Reachability
from protozorfs.swarm.session import Session
from protozorfs.types import Address, NodeKey
from protozorfs.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.swarm.peers import Peer
    from protozorfs.swarm.session import Directory
    from protozorfs.types import FeedId

DIAL_SECONDS = 15.0  # for TCP to connect; the handshake has its own limit
MAX_DIALS = 16  # at once
MAX_DIALLED = 256  # connections to peers that were only found; the user's peers come on top
MAX_CONNECTIONS = 512  # in all; each may take some MiB of buffers. Fewer with few descriptors
MAX_CONNECTIONS_PER_HOST = 64
MAX_UNFINISHED = 32  # handshakes under way with strangers: each costs 0.2 ms of curve arithmetic
ACCEPT_PAUSE = 1.0  # seconds, when there are no file descriptors left

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    """One connection. `adopted`: other addresses of the same node, not dialled meanwhile."""

    session: Session
    driver: Driver
    host: str
    peer: Peer | None
    adopted: list[Peer] = field(default_factory=list)

    @property
    def peers(self) -> list[Peer]:
        """The addresses that this connection stands for."""
        return [*([self.peer] if self.peer is not None else []), *self.adopted]

    @property
    def shows_all(self) -> bool:
        """The user named this peer: all feeds are shown to it."""
        return any(peer.is_users for peer in self.peers)

    @property
    def found_for(self) -> set[FeedId]:
        """The feeds that the peer was found for."""
        return {feed_id for peer in self.peers for feed_id in peer.feeds}


class Manager(Protocol):
    """Who decides what connections are for: the swarm."""

    def connection_ready(self, entry: Entry) -> None:
        """The handshake is over, or the connection stands for more addresses than before."""

    def connection_ended(self, entry: Entry) -> None:
        """It is no more; its channels are closed already."""

    def attempt_failed(self, peer: Peer) -> None:
        """A peer could not be reached."""

    def wants_peer(self, peer: Peer) -> bool:
        """Another connection is worth having for a feed that the peer was found for."""

    def peer_put_off(self) -> None:
        """A peer that was due is not dialled for a while."""


class Connections:
    """Every connection there is, and the table of addresses that may be dialled."""

    def __init__(
        self,
        node_key: crypto.KeyPair,
        listeners: Sequence[trio.SocketListener],
        directory: Directory,
        manager: Manager,
    ) -> None:
        self.table = PeerTable()
        self.entries: dict[Session, Entry] = {}
        self.reachability = Reachability()
        self._node_key = node_key
        self._listeners = listeners
        self._directory = directory
        self._manager = manager
        self._limit = min(MAX_CONNECTIONS, descriptors.connections())
        self._changed = trio.Event()

    @property
    def addresses(self) -> list[Address]:
        """Where this node listens."""
        names = (listener.socket.getsockname() for listener in self._listeners)
        return [Address(name[0], name[1]) for name in names]

    def table_changed(self) -> None:
        """Somebody may be due now."""
        self._changed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accepts and dials until cancelled; all connections end with it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dial_loop, nursery)
            for listener in self._listeners:
                nursery.start_soon(self._accept_loop, listener, nursery)
            task_status.started()

    def session_ready(self, session: Session) -> str | None:
        """One connection per remote node; of two crossing ones the smaller key's dial stays.

        Returns why the connection is one too many, or None.
        """
        entry = self.entries[session]
        if session.remote_key == NodeKey(self._node_key.public_key):
            for peer in entry.peers:
                self.table.is_this_node(peer)
            entry.peer = None
            return "that is this node itself"
        for other in list(self.entries.values()):
            if (
                other.session is session
                or not other.session.is_ready
                or other.session.remote_key != session.remote_key
            ):
                continue
            stays, ends = (other, entry) if self._stays(other, entry) else (entry, other)
            self._adopt(stays, ends)
            if ends is entry:
                self._manager.connection_ready(stays)
                return "connected already"
            ends.driver.end("replaced by a newer connection")
        for peer in entry.peers:
            self.table.connected(peer, session.name)
        if entry.peer is None:
            self.reachability.was_dialled(entry.host)
        logger.info("connected to %s", session.name)
        self._manager.connection_ready(entry)
        return None

    def _stays(self, old: Entry, new: Entry) -> bool:
        if old.session.is_initiator == new.session.is_initiator:
            return False  # the node has dialled again: the old one is dead, or about to be
        own_is_smaller = self._node_key.public_key < new.session.remote_key
        return old.session.is_initiator == own_is_smaller

    def _adopt(self, stays: Entry, ends: Entry) -> None:
        for peer in ends.peers:
            self.table.connected(peer, stays.session.name)
            stays.adopted.append(peer)
        ends.peer = None
        ends.adopted = []

    async def _dial_loop(self, nursery: trio.Nursery) -> None:
        while True:
            changed = self._changed = trio.Event()
            deadline: float | None = trio.current_time() + PAUSE_SECONDS
            with Boundary(logger, "choosing whom to dial"):
                deadline = self._dial_due(nursery)
            with trio.CancelScope() as scope:
                if deadline is not None:
                    scope.deadline = deadline
                await changed.wait()

    def _dial_due(self, nursery: trio.Nursery) -> float | None:
        """Dials those that are due; returns when there is somebody to dial again, if not never."""
        max_dials = min(MAX_DIALS, self._limit // 2)
        dialling = sum(peer.is_dialling for peer in self.table)
        dialled = sum(entry.session.is_initiator for entry in self.entries.values())

        def is_wanted(peer: Peer) -> bool:
            may_dial = dialled < min(MAX_DIALLED, self._limit // 2)
            if may_dial and self._manager.wants_peer(peer):
                return True
            self._manager.peer_put_off()
            return False

        for peer in self.table.due(trio.current_time(), is_wanted):
            if dialling >= max_dials:
                break
            dialling += 1
            peer.is_dialling = True
            nursery.start_soon(self._dial_one, peer)
        return self.table.next_due() if dialling < max_dials else None

    async def _dial_one(self, peer: Peer) -> None:
        with Boundary(logger, f"the dialling of {peer.address}") as boundary:
            await self._dial(peer)
        if boundary.error is not None:
            why = "could not be dialled for a bug of this program"
            self.table.failed(peer, why, trio.current_time(), random.random())
            self._changed.set()

    async def _dial(self, peer: Peer) -> None:
        try:
            with trio.fail_after(DIAL_SECONDS):
                stream = await trio.open_tcp_stream(*peer.address)
        except (OSError, UnicodeError, trio.TooSlowError) as error:  # of a name that can be none
            why = f"cannot be reached: {_reason(error)}"
            logger.info("%s %s", peer.address, why)
            self.table.failed(peer, why, trio.current_time(), random.random())
            self._manager.attempt_failed(peer)
            self._changed.set()
            return
        await self._serve(stream, peer.address, peer)

    async def _accept_loop(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:  # out of file descriptors or memory: passes
                logger.warning("cannot accept connections: %s", error)
                await trio.sleep(ACCEPT_PAUSE)
                continue
            with Boundary(logger, "the acceptance of a connection"):
                await self._accept(stream, nursery)

    async def _accept(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:  # gone again
            await trio.aclose_forcefully(stream)
            return
        if self._may_accept(host):
            nursery.start_soon(self._serve_one, stream, Address(host, port))
        else:
            await trio.aclose_forcefully(stream)

    async def _serve_one(self, stream: trio.SocketStream, address: Address) -> None:
        with Boundary(logger, f"the connection from {address}"):
            await self._serve(stream, address, None)

    def _may_accept(self, host: str) -> bool:
        entries = self.entries.values()
        unfinished = sum(not entry.session.is_ready for entry in entries)
        from_host = sum(entry.host == host for entry in entries)
        return (
            len(entries) < self._limit
            and unfinished < MAX_UNFINISHED
            and from_host < MAX_CONNECTIONS_PER_HOST
        )

    async def _serve(self, stream: trio.SocketStream, address: Address, peer: Peer | None) -> None:
        driver = Driver()
        is_initiator = peer is not None
        connection = Connection(
            is_initiator=is_initiator,
            static=self._node_key,
            ephemeral=crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES)),
            header=crypto.random_bytes(crypto.SECRETSTREAM_HEADER_BYTES),
            now=trio.current_time(),
        )
        session = Session(
            connection, self._directory, str(address), is_initiator=is_initiator, driver=driver
        )
        entry = self.entries[session] = Entry(session, driver, address.host, peer)
        try:
            await driver.run(session, stream)
        finally:
            del self.entries[session]
            stream.socket.close()
            session.close(trio.current_time())
            self._ended(entry)

    def _ended(self, entry: Entry) -> None:
        logger.info("%s: %s", entry.session.name, entry.driver.why)
        now = trio.current_time()
        judge = self.table.failed if entry.driver.fault is None else self.table.misbehaved
        for peer in entry.peers:
            judge(peer, entry.driver.why, now, random.random())
        self._manager.connection_ended(entry)
        self._changed.set()


def _reason(error: OSError | UnicodeError | trio.TooSlowError) -> str:
    """What went wrong, without the address that trio puts before it."""
    cause = first_error(error.__cause__ or error)  # a group: one of each address of a host
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(cause, UnicodeError):
        return "that is not the name of a host"
    return str(error) or "no answer"
