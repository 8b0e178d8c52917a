"""The composition root: opens a store and its swarm, wires them, and takes them down in order.

    async with open_node(Path("store"), Options(peers=(Address("host", 4000),))) as node:
        journal = await node.create(b"journal")
        await journal.append([b"hello\\n"])
        async for data in node.read_stream(await node.get(feed_id)):
            ...

The mount and the commands are built on this.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import random
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.boundary import Boundary
from protozorfs.dht.node import DhtNode
from protozorfs.dht.routers import DEFAULT_ROUTERS
from protozorfs.errors import StoreError, UsageError
from protozorfs.feeds.blocks import cut_blocks
from protozorfs.feeds.registry import Feeds
from protozorfs.feeds.unconnected import Unconnected
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.swarm.dht_state import load_state, save_state
from protozorfs.swarm.sockets import Sockets, open_sockets, resolve
from protozorfs.swarm.swarm import LanOptions, Swarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from protozorfs.feeds.feed import Feed
    from protozorfs.types import FeedId

READ_BYTES = 256 * 1024  # of one piece of a read stream
DHT_STATE_INTERVAL = 600.0  # seconds between two looks at which DHT contacts are worth keeping
FORCED_SETTING = "force_append"  # 1: the last mount, or a node since, was given it
PORT_SETTING = "port"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """An open store with its swarm.

    Attributes:
        feeds: every feed of the store.
        swarm: the connections.
        port: the TCP port that it listens on.
    """

    feeds: Feeds
    swarm: Swarm
    port: int

    async def create(self, name: bytes) -> Feed:
        """A new feed of ours. Raises NameTaken, InvalidName, StoreFull."""
        return await self.feeds.create(name)

    async def get(self, feed_id: FeedId) -> Feed:
        """The feed of that ID; one that is not followed is only visited.

        Raises:
            TooManyVisits
        """
        return self.feeds.by_id(feed_id) or await self.feeds.visit(feed_id)

    async def read_stream(self, feed: Feed, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a feed from offset `start` on; at its end it waits for more, for ever."""
        feed.acquire()
        try:
            at = start
            while True:
                data = feed.reader.read_nowait(at, READ_BYTES)
                if data:
                    at += len(data)
                    yield data
                elif at < feed.byte_length:
                    await feed.reader.wait_bytes(at, at + 1)
                else:
                    await feed.reader.wait_length(feed.length)
        finally:
            feed.release()

    def write_stream(self, feed: Feed) -> WriteStream:
        """Appends to a feed of ours."""
        return WriteStream(feed)


@dataclass(frozen=True, slots=True)
class StoredFeeds:
    """An open store that is only read, and not connected."""

    feeds: Feeds


class WriteStream:
    """Each `send` of at most 64 KiB is one block; more becomes several under one head."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def send(self, data: bytes) -> None:
        """Appends; returns when the bytes survive the end of this process.

        Raises:
            NotWritable, StoreFull
        """
        await self._feed.append(cut_blocks(data))

    async def aclose(self) -> None:
        """Makes what was sent durable."""
        await self._feed.sync()


@asynccontextmanager
async def open_to_read(
    path: Path, options: Options | None = None, *, mount_point: str | None = None
) -> AsyncIterator[StoredFeeds]:
    """Opens the store at `path` and writes nothing into it, nor connects it to anybody.

    Whatever opening it changes, such as what the recovery of feeds mends, is in memory only.
    Connected it could show heads that are not durable, or be one of two nodes with one key: what is
    read may be a copy.

    Args:
        path: the store's directory.
        options: how the node behaves; `read_only` is set.
        mount_point: told to nobody.

    Raises:
        StoreLocked: somebody writes to it.
        StoreCorrupt, UsageError: there is no store that could be opened.
    """
    options = replace(options or Options(), read_only=True)
    with Store(path, mount_point=mount_point, is_read_only=True) as store:
        feeds = Feeds(store, options)
        try:
            with _only_error():
                async with trio.open_nursery() as nursery:
                    await nursery.start(feeds.run)
                    await feeds.recover()
                    feeds.subscribe(Unconnected())
                    yield StoredFeeds(feeds)
                    nursery.cancel_scope.cancel()
        finally:
            feeds.close()


@asynccontextmanager
async def open_node(
    path: Path,
    options: Options | None = None,
    *,
    mount_point: str | None = None,
    adopts: bool = False,
) -> AsyncIterator[Node]:
    """Opens the store at `path` and connects it; everything is closed at the end of the block.

    When that, or the block, fails, a store that was made for it and holds no feed is removed again.

    Args:
        path: the store's directory; made if it is missing.
        options: how the node behaves.
        mount_point: what others are told that find the store locked.
        adopts: its node's key stays, wherever it is.

    Raises:
        StoreLocked, StoreCorrupt: the store cannot be opened.
        UsageError: the port is taken, or the path is no store.
    """
    options = options or Options()
    store = Store(path, mount_point=mount_point, adopts=adopts)
    try:
        sockets = await _open_sockets(store, options)
        options = replace(options, force_append=_is_forced(store, options, mount_point))
        feeds = Feeds(store, options)
        chance = random.SystemRandom()
        try:
            dht = await _make_dht(store, options, sockets, chance)
            swarm = Swarm(
                feeds,
                _node_key(store, options),
                sockets.listeners,
                store.known_peers,
                users_peers=options.peers,
                dht=dht,
                lan=None if options.nolan else LanOptions(options.bind),
                maps_port=not options.noportmap and not _is_loopback(options.bind),
                random=chance,
            )
            with _only_error():
                async with trio.open_nursery() as nursery:
                    await nursery.start(feeds.run)
                    await feeds.recover()
                    await nursery.start(swarm.run)
                    if dht is not None:
                        nursery.start_soon(_keep_dht_state, store, dht)
                    yield Node(feeds, swarm, sockets.port)
                    nursery.cancel_scope.cancel()
        finally:
            feeds.close()
            sockets.close()
    except BaseException:
        store.close_failed()
        raise
    store.close()


@contextmanager
def _only_error() -> Iterator[None]:
    """A nursery in the body is no business of the caller's, who raised the only error."""
    try:
        yield
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


def _is_forced(store: Store, options: Options, mount_point: str | None) -> bool:
    """Whether `force_append` counts: not in a second mount in a row, as by a line of fstab.

    The first one takes the store for its own, so that later ones need no force.
    """
    was_given = bool(store.names.setting(FORCED_SETTING))
    if options.force_append and not was_given:
        store.adopt()
        store.names.set_setting(FORCED_SETTING, 1)
        return True
    if was_given and not options.force_append and mount_point is not None:
        store.names.set_setting(FORCED_SETTING, 0)
    return False


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _node_key(store: Store, options: Options) -> crypto.KeyPair:
    if options.ephemeral_id:
        return crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES))
    return store.node_key


async def _make_dht(
    store: Store, options: Options, sockets: Sockets, chance: random.SystemRandom
) -> DhtNode | None:
    if options.nodht:
        return None
    return DhtNode(
        sockets.udp,
        random=chance,
        rate=options.dht_rate,
        bootstrap=await resolve(options.bootstrap or ()),
        routers=DEFAULT_ROUTERS if options.bootstrap is None else (),
        saved=() if options.ephemeral_id or store.is_new_node else load_state(store.files),
    )


async def _keep_dht_state(store: Store, dht: DhtNode) -> None:
    """Keeps contacts every few minutes, and at the end."""
    try:
        while True:
            await trio.sleep(DHT_STATE_INTERVAL)
            _save_dht_state(store, dht)
    finally:
        _save_dht_state(store, dht)


def _save_dht_state(store: Store, dht: DhtNode) -> None:
    with Boundary(logger, "the keeping of DHT contacts"):
        try:
            save_state(store.files, dht.engine.saved())
        except (StoreError, OSError) as error:  # a hint for the next start, worth no more
            logger.warning("the DHT contacts could not be kept: %s", error)


async def _open_sockets(store: Store, options: Options) -> Sockets:
    """Opens the port that was asked for, or the one of last time, or another.

    Raises:
        UsageError: it is taken, or there is nothing to listen on.
    """
    remembered = store.names.setting(PORT_SETTING)
    if options.port is None and isinstance(remembered, int):
        try:
            return await open_sockets(remembered, options.bind, with_udp=not options.nodht)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"cannot listen: {error.strerror or error}") from error
            logger.warning("port %d is taken, using another", remembered)
    try:
        sockets = await open_sockets(options.port or 0, options.bind, with_udp=not options.nodht)
    except OSError as error:
        on = f" on port {options.port}" if options.port else ""
        raise UsageError(f"cannot listen{on}: {error.strerror or error}") from error
    if remembered is None and options.port is None:
        store.names.set_setting(PORT_SETTING, sockets.port)
    return sockets
