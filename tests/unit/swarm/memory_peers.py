"""Peers in memory, on a clock of the test's own: real sessions, logs, replicators, no network."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.feeds.feed import Feed
from protozorfs.feeds.room import Room
from protozorfs.ids import discovery_key_of
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.pool import FilePool
from protozorfs.swarm.replicator import Replicator
from protozorfs.swarm.session import Session
from protozorfs.types import FeedId
from protozorfs.wire.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from protozorfs.feeds.ports import Listener
    from protozorfs.types import DiscoveryKey

FEED_KEYS = crypto.key_pair(bytes(range(32)))
FEED_ID = FeedId(FEED_KEYS.public_key)


@dataclass
class Surroundings:
    """What a feed needs of a node."""

    is_sparse: bool = False
    is_local: bool = False
    is_closing: bool = False
    is_read_only: bool = False
    forces_appends: bool = False
    syncs: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    listener: Listener | None = None
    has_room: bool = True
    room: Room = field(default_factory=lambda: Room(None, lambda feed, start, end: None))
    files: MemoryFiles = field(default_factory=MemoryFiles)

    def check_open(self) -> None:
        pass

    def check_store(self) -> None:
        pass

    def check_store_often(self) -> None:
        pass

    def directory_of(self, feed: Feed) -> FeedDirectory:
        directory = FeedDirectory(FilePool(self.files), feed.feed_id)
        if feed.is_owned and not directory.exists():
            directory.make(FEED_KEYS.seed)
        return directory

    def start_task(self, run: Callable[[], Awaitable[None]]) -> None:
        raise AssertionError("nothing is appended through the feed here")

    def handles_changed(self, feed: Feed) -> None:
        pass

    def feed_grown(self, feed: Feed) -> None:
        pass

    def check_behind(self, feed: Feed) -> None:
        """Nothing is left by a kill."""

    def may_fetch(self) -> bool:
        return self.has_room


class Peer:
    """One node with one feed, and its sessions."""

    def __init__(self, *, is_owner: bool = False, is_sparse: bool = False, key: int = 0) -> None:
        self.surroundings = Surroundings(is_sparse=is_sparse)
        self.feed = Feed(
            FEED_ID,
            self.surroundings,
            is_owned=is_owner,
            is_followed=True,
            created_ns=0,
            mtime_ns=0,
        )
        self.changes = 0
        self.busy: set[Replicator] = set()
        self.replicator = Replicator(self.feed, self._changed, self.busy)
        self.node_keys = crypto.key_pair(bytes([key]) * 32)

    def _changed(self, feed: Feed) -> None:
        assert feed is self.feed
        self.changes += 1

    def append(self, blocks: list[bytes], now: float = 0.0) -> None:
        """Appends, makes durable, and tells the peers."""
        self.feed.log.append(blocks)
        self.feed.log.sync()
        self.replicator.head_published(now)

    # session.Directory

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        return self.replicator if discovery_key == discovery_key_of(FEED_ID) else None

    def session_ready(self, session: Session) -> str | None:
        return None

    def channel_settled(self, feed: Feed) -> None:
        pass


class End:
    """One side of a connection in memory; stands in for the driver."""

    def __init__(self, peer: Peer, name: str, *, is_initiator: bool, now: float) -> None:
        chance = random.Random(name)
        self.peer = peer
        self.fault: Exception | None = None
        self.why: str | None = None
        self.session = Session(
            Connection(
                is_initiator=is_initiator,
                static=peer.node_keys,
                ephemeral=crypto.key_pair(chance.randbytes(32)),
                header=chance.randbytes(24),
                now=now,
            ),
            peer,
            name,
            is_initiator=is_initiator,
            driver=self,
        )

    def wake(self) -> None:
        pass

    def drop(self, error: Exception) -> None:
        self.fault = self.fault or error

    def end(self, why: str) -> None:
        self.why = self.why or why


class Pipe:
    """Two sessions, and the bytes between them. `is_cut`: nothing arrives any more."""

    def __init__(self, dialler: Peer, listener: Peer, now: float = 0.0, name: str = "") -> None:
        self.dialler = End(dialler, f"{name}listener", is_initiator=True, now=now)
        self.listener = End(listener, f"{name}dialler", is_initiator=False, now=now)
        self.is_cut = False

    def offer(self, now: float = 0.0) -> None:
        """The dialler shows its feed."""
        self.dialler.session.offer([self.dialler.peer.feed], now)

    def step(self, now: float) -> bool:
        """Moves what is there; False if nothing was."""
        moved = False
        for source, sink in ((self.dialler, self.listener), (self.listener, self.dialler)):
            data = source.session.connection.bytes_to_send()
            if data:
                moved = True
                source.session.drained()
                if not self.is_cut and sink.fault is None:
                    sink.session.receive(bytes(data), now)
        return moved

    def close(self, now: float) -> None:
        """Both sides see the end."""
        for end in (self.dialler, self.listener):
            end.session.close(now)


def settle(pipes: list[Pipe], now: float = 0.0) -> None:
    """Moves bytes until nothing moves."""
    for _ in range(100_000):
        moved = [pipe.step(now) for pipe in pipes]
        if not any(moved):
            return
    raise AssertionError("the peers never come to rest")
