"""The composition root: opens a store and its swarm, wires them, and takes them down in order.

    async with open_node(Path("store"), Options(peers=(Address("host", 4000),))) as node:
        journal = node.create(b"journal")
        await journal.append([b"hello\\n"])
        async for data in node.read_stream(node.get(feed_id)):
            ...

The mount and the commands are built on this.
"""

from __future__ import annotations

import errno
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.errors import UsageError
from protozorfs.feeds.blocks import cut_blocks
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.swarm.swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from protozorfs.feeds.feed import Feed
    from protozorfs.types import FeedId

READ_BYTES = 256 * 1024  # of one piece of a read stream
PORT_SETTING = "port"
EXIT_PORT = 5  # the port is taken; the manual lists the codes

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

    def create(self, name: bytes) -> Feed:
        """A new feed of ours. Raises NameTaken, StoreFull."""
        return self.feeds.create(name)

    def get(self, feed_id: FeedId) -> Feed:
        """The feed of that ID; one that is not followed is only visited.

        Raises:
            TooManyVisits
        """
        return self.feeds.by_id(feed_id) or self.feeds.visit(feed_id)

    async def read_stream(self, feed: Feed, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a feed from offset `start` on; at its end it waits for more, for ever."""
        feed.acquire()
        try:
            at = start
            while True:
                data = feed.read_nowait(at, READ_BYTES)
                if data:
                    at += len(data)
                    yield data
                elif at < feed.byte_length:
                    await feed.wait_bytes(at, at + 1)
                else:
                    await feed.wait_length(feed.length)
        finally:
            feed.release()

    def write_stream(self, feed: Feed) -> WriteStream:
        """Appends to a feed of ours."""
        return WriteStream(feed)


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
async def open_node(
    path: Path, options: Options | None = None, *, mount_point: str | None = None
) -> AsyncIterator[Node]:
    """Opens the store at `path` and connects it; everything is closed at the end of the block.

    Args:
        path: the store's directory; made if it is missing.
        options: how the node behaves.
        mount_point: what others are told that find the store locked.

    Raises:
        StoreLocked, StoreCorrupt: the store cannot be opened.
        UsageError: the port is taken, or the path is no store.
    """
    options = options or Options()
    store = Store(path, mount_point=mount_point)
    try:
        listeners = await _listen(store, options)
        feeds = Feeds(store, options)
        try:
            node_key = store.node_key
            if options.ephemeral_id:
                node_key = crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES))
            swarm = Swarm(feeds, node_key, listeners, options.peers)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(feeds.run)
                    await nursery.start(swarm.run)
                    yield Node(feeds, swarm, listeners[0].socket.getsockname()[1])
                    nursery.cancel_scope.cancel()
            except BaseExceptionGroup as errors:
                # The nursery is no business of the caller's, who raised the only error.
                if len(errors.exceptions) == 1:
                    raise errors.exceptions[0] from None
                raise
        finally:
            feeds.close()
            for listener in listeners:
                listener.socket.close()
    finally:
        store.close()


async def _listen(store: Store, options: Options) -> list[trio.SocketListener]:
    if options.port is not None:
        try:
            return await _open_listeners(options.port, options.bind)
        except OSError as error:
            raise UsageError(
                f"cannot listen on port {options.port}: {error.strerror or error}", EXIT_PORT
            ) from error
    remembered = store.names.setting(PORT_SETTING)
    if isinstance(remembered, int):
        try:
            return await _open_listeners(remembered, options.bind)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"cannot listen: {error.strerror or error}", EXIT_PORT) from error
            logger.warning("port %d is taken, using another", remembered)
    try:
        listeners = await _open_listeners(0, options.bind)
    except OSError as error:
        raise UsageError(f"cannot listen: {error.strerror or error}", EXIT_PORT) from error
    if remembered is None:
        store.names.set_setting(PORT_SETTING, listeners[0].socket.getsockname()[1])
    return listeners


async def _open_listeners(port: int, bind: str | None) -> list[trio.SocketListener]:
    """One listener per family, all on one port number."""
    if bind is not None:
        return await trio.open_tcp_listeners(port, host=bind)
    listeners = await trio.open_tcp_listeners(port, host="0.0.0.0")
    port = listeners[0].socket.getsockname()[1]
    try:
        listeners += await trio.open_tcp_listeners(port, host="::")
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            listeners[0].socket.close()
            raise
    return listeners
