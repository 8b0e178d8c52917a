"""Whole nodes on a network in memory and on virtual time; stores, feeds, swarms are real."""

from __future__ import annotations

import random
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast
from unittest.mock import patch

import trio

from protozorfs.app import Node
from protozorfs.feeds.registry import Feeds
from protozorfs.options import Options
from protozorfs.store.layout import Store
from protozorfs.swarm.swarm import Swarm
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from protozorfs.dht.node import DhtNode

BUFFER_BYTES = 1024 * 1024  # on its way in one direction; then the sender waits
PORT = 4711

T = TypeVar("T")


class _Way:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.is_ended = False
        self.changed = trio.Event()

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class MemoryStream:
    """One side of a connection; `host` and `port` are the other side's."""

    def __init__(self, incoming: _Way, outgoing: _Way, remote: Address) -> None:
        self.socket = self  # what is asked of the socket below
        self._incoming = incoming
        self._outgoing = outgoing
        self._remote = remote

    def getpeername(self) -> Address:
        return self._remote

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        way = self._incoming
        while not way.buffer and not way.is_ended:
            await way.changed.wait()
        data = bytes(way.buffer[:max_bytes])
        del way.buffer[:max_bytes]
        way.change()
        return data

    async def send_all(self, data: bytes | bytearray) -> None:
        await trio.lowlevel.checkpoint()
        way = self._outgoing
        while len(way.buffer) >= BUFFER_BYTES and not way.is_ended:
            await way.changed.wait()
        if way.is_ended:
            raise trio.BrokenResourceError("the other side has closed")
        way.buffer += data
        way.change()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        for way in (self._incoming, self._outgoing):
            way.is_ended = True
            way.change()


class MemoryListener:
    """Where a node listens."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket = self
        self._send, self._receive = trio.open_memory_channel[MemoryStream](64)

    def getsockname(self) -> Address:
        return self.address

    async def accept(self) -> MemoryStream:
        return await self._receive.receive()

    def dialled(self, source: Address) -> MemoryStream:
        """Somebody connects; returns its side."""
        there, back = _Way(), _Way()
        try:
            self._send.send_nowait(MemoryStream(there, back, source))
        except trio.WouldBlock:
            raise OSError("too many wait to be accepted") from None
        return MemoryStream(back, there, self.address)


class MemoryNet:
    """Every listener there is."""

    def __init__(self) -> None:
        self.listeners: dict[Address, MemoryListener] = {}
        self._ports = iter(range(20_000, 60_000))

    def listen(self, host: str) -> MemoryListener:
        listener = self.listeners[Address(host, PORT)] = MemoryListener(Address(host, PORT))
        return listener

    def dial(self, host: str, source_host: str) -> MemoryStream:
        """A connection to a listener."""
        return self.listeners[Address(host, PORT)].dialled(Address(source_host, next(self._ports)))

    async def open_tcp_stream(self, host: str, port: int) -> MemoryStream:
        """In place of trio's."""
        await trio.lowlevel.checkpoint()
        if Address(host, port) not in self.listeners:
            raise OSError("nobody listens there")
        return self.dial(host, "10.0.0.99")


@contextmanager
def in_memory(net: MemoryNet, min_cache_bytes: int) -> Iterator[None]:
    """In the body, nodes dial over `net`; threads and disks take no time.

    Virtual time goes on whenever all tasks wait, for a thread, too.
    """

    async def run_sync(call: Callable[..., T], *arguments: object, **_: object) -> T:
        await trio.lowlevel.checkpoint()
        return call(*arguments)

    with ExitStack() as stack:
        stack.enter_context(patch("trio.open_tcp_stream", net.open_tcp_stream))
        stack.enter_context(patch("trio.to_thread.run_sync", run_sync))
        stack.enter_context(patch("os.fsync", lambda descriptor: None))
        stack.enter_context(patch("os.fdatasync", lambda descriptor: None))
        stack.enter_context(patch("protozorfs.options.MIN_CACHE_BYTES", min_cache_bytes))
        yield


@asynccontextmanager
async def memory_node(
    net: MemoryNet,
    path: Path,
    host: str,
    peers: tuple[Address, ...] = (),
    options: Options | None = None,
    dht: DhtNode | None = None,
) -> AsyncIterator[Node]:
    """A node, as `app.open_node` makes it, but for the sockets."""
    store = Store(path)
    listener = net.listen(host)
    feeds = Feeds(store, options or Options())
    swarm = Swarm(
        feeds,
        store.node_key,
        [cast("trio.SocketListener", listener)],
        store.known_peers,
        users_peers=peers,
        dht=dht,
        lan=None,
        maps_port=False,
        random=random.Random(host),
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(feeds.run)
            await feeds.recover()
            await nursery.start(swarm.run)
            yield Node(feeds, swarm, PORT)
            nursery.cancel_scope.cancel()
    finally:
        feeds.close()
        store.close()
