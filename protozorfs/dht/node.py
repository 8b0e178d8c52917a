"""The DHT node on real sockets: moves datagrams and time between trio and the engine.

One UDP socket per family (BEP 32). A reply leaves from the address that was asked.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, TypeVar

import trio

from protozorfs.boundary import PAUSE_SECONDS, Boundary
from protozorfs.dht.endpoint import Endpoint, Family, parse_endpoint
from protozorfs.dht.engine import Announced, Engine, Event, RoutersWanted
from protozorfs.dht.operations import ItemFound, Operation, OperationDone, PeersFound
from protozorfs.dht.udp import ADDRESS_FAMILIES
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from protozorfs.dht.item_operations import GetItem, PutItem
    from protozorfs.dht.items import SignedItem
    from protozorfs.dht.network import SavedNetwork
    from protozorfs.dht.node_id import NodeId, RandomSource
    from protozorfs.dht.outbound import Datagram
    from protozorfs.dht.peer_operations import Announce, GetPeers
    from protozorfs.dht.udp import UdpSocket
    from protozorfs.types import PublicKey

log = logging.getLogger(__name__)

OperationT = TypeVar("OperationT", bound=Operation)
Found = ItemFound | PeersFound

RECEIVE_PAUSE = 1.0  # seconds, when the kernel cannot give what came


class DhtNode:
    """A node, while `run` runs. The sockets are its own then, and closed at the end."""

    def __init__(
        self,
        sockets: Mapping[Family, UdpSocket],
        *,
        random: RandomSource,
        rate: int,
        bootstrap: Iterable[Endpoint] = (),
        routers: tuple[Address, ...] = (),
        saved: Iterable[SavedNetwork] = (),
    ) -> None:
        """`routers` are asked, by name, only where nothing else leads into the network."""
        self._sockets = dict(sockets)
        self._routers = routers
        self._wake = trio.Event()
        self._done: dict[Operation, trio.Event] = {}
        self._listeners: dict[Operation, Callable[[Found], None]] = {}
        self._has_tried_routers = False
        self._has_said_offline = False
        self.engine = Engine(
            families=self._sockets,
            random=random,
            now=trio.current_time(),
            rate=rate,
            bootstrap=bootstrap,
            saved=saved,
        )

    async def run(
        self,
        on_announced: Callable[[NodeId, Endpoint], None] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Takes part in the DHT until cancelled.

        Args:
            on_announced: told of everybody who announces itself to this node: the infohash, and
                the address. A hint as any other.
            task_status: started once it takes part.
        """
        try:
            async with trio.open_nursery() as nursery:
                for bound in self._sockets.values():
                    nursery.start_soon(self._receive, bound)
                nursery.start_soon(self._send, nursery, on_announced)
                task_status.started()
        finally:
            for bound in self._sockets.values():
                bound.close()

    # --- operations -------------------------------------------------------------------------------

    async def get_item(
        self,
        public_key: PublicKey,
        *,
        newer_than: int = 0,
        on_item: Callable[[SignedItem], None] | None = None,
    ) -> GetItem:
        """Looks for the newest item of a key; `on_item` is told of each better one at once."""

        def tell(found: Found) -> None:
            if on_item is not None and isinstance(found, ItemFound):
                on_item(found.item)

        return await self.finish(self.engine.get_item(public_key, newer_than=newer_than), tell)

    async def put_item(self, item: SignedItem, *, skip_if_fresh: bool = False) -> PutItem:
        """Stores an item unless a newer one is found."""
        return await self.finish(self.engine.put_item(item, skip_if_fresh=skip_if_fresh))

    async def get_peers(
        self, infohash: NodeId, *, on_peers: Callable[[tuple[Endpoint, ...]], None] | None = None
    ) -> GetPeers:
        """Looks for the peers of an infohash; `on_peers` is told of new ones at once."""

        def tell(found: Found) -> None:
            if on_peers is not None and isinstance(found, PeersFound):
                on_peers(found.peers)

        return await self.finish(self.engine.get_peers(infohash), tell)

    async def announce(self, infohash: NodeId, port: int) -> Announce:
        """Announces us as a peer that listens at that TCP port."""
        return await self.finish(self.engine.announce(infohash, port))

    async def finish(
        self, operation: OperationT, on_found: Callable[[Found], None] | None = None
    ) -> OperationT:
        """Waits for an operation that the engine was given; cancelling the wait cancels it."""
        done = self._done[operation] = trio.Event()
        if on_found is not None:
            self._listeners[operation] = on_found
        self._wake.set()
        try:
            await done.wait()
        finally:
            del self._done[operation]
            self._listeners.pop(operation, None)
            operation.cancel()
        return operation

    def add_bootstrap(self, endpoints: Iterable[Endpoint]) -> None:
        """More nodes to start from."""
        self.engine.add_bootstrap(endpoints, trio.current_time())
        self._wake.set()

    # --- tasks ------------------------------------------------------------------------------------

    async def _receive(self, bound: UdpSocket) -> None:
        while True:
            try:
                received = await bound.receive()
            except OSError as error:  # of memory or of a device: passes
                log.warning("datagrams cannot be received: %s", error)
                await trio.sleep(RECEIVE_PAUSE)
                continue
            now = trio.current_time()
            for data, source, local in received:
                with Boundary(log, f"a datagram from {source}"):
                    self.engine.receive_datagram(data, source, now, local)
            self._wake.set()

    async def _send(
        self, nursery: trio.Nursery, on_announced: Callable[[NodeId, Endpoint], None] | None
    ) -> None:
        """Sends whatever there is to send, then sleeps until something comes or time is up."""
        while True:
            self._wake = trio.Event()
            with Boundary(log, "a turn of the DHT") as boundary:
                now = trio.current_time()
                if self.engine.next_deadline() <= now:
                    self.engine.handle_timeout(now)
                for datagram in self.engine.datagrams_to_send(now):
                    await self._send_datagram(datagram)
                while (event := self.engine.next_event()) is not None:
                    with Boundary(log, f"what was found on the DHT ({type(event).__name__})"):
                        self._tell(event, nursery, on_announced)
                with trio.move_on_at(self.engine.next_deadline()):
                    await self._wake.wait()
            if boundary.error is not None:
                await trio.sleep(PAUSE_SECONDS)

    async def _send_datagram(self, datagram: Datagram) -> None:
        try:
            await self._sockets[datagram.endpoint.family].send(datagram)
        except OSError as error:
            # No route, a full queue, a firewall: for the engine it is one more datagram lost on
            # its way, which its time-outs are for.
            log.debug("a datagram to %s was not sent: %s", datagram.endpoint, error)

    def _tell(
        self,
        event: Event,
        nursery: trio.Nursery,
        on_announced: Callable[[NodeId, Endpoint], None] | None,
    ) -> None:
        if isinstance(event, OperationDone):
            if event.operation in self._done:
                self._done[event.operation].set()
        elif isinstance(event, ItemFound | PeersFound):
            if event.operation in self._listeners:
                self._listeners[event.operation](event)
        elif isinstance(event, Announced):
            if on_announced is not None:
                on_announced(event.infohash, event.peer)
        elif isinstance(event, RoutersWanted):
            nursery.start_soon(self._resolve_routers, event.family)
        else:
            log.info("node id changed with our external address, IPv%d", event.family)

    async def _resolve_routers(self, family: Family) -> None:
        with Boundary(log, "the look-up of DHT routers"):
            await self._ask_for_routers(family)

    async def _ask_for_routers(self, family: Family) -> None:
        endpoints: list[Endpoint] = []
        for router in self._routers:
            try:
                found = await trio.socket.getaddrinfo(
                    router.host, router.port, ADDRESS_FAMILIES[family], socket.SOCK_DGRAM
                )
            except OSError as error:
                log.debug("%s was not found: %s", router, error)  # the engine asks again later
                continue
            endpoints.extend(
                parse_endpoint(Address(str(address[0]), int(address[1]))) for *_, address in found
            )
        if not endpoints or self._has_tried_routers:
            self._say_offline()
        self._has_tried_routers = True
        self.engine.add_routers(endpoints, trio.current_time())
        self._wake.set()

    def _say_offline(self) -> None:
        """Tells the user, once, why nothing is found."""
        now = trio.current_time()
        networks = self.engine.networks.values()
        is_online = any(network.table.good_count(now) for network in networks)
        if not is_online and not self._has_said_offline:
            self._has_said_offline = True
            log.warning("offline: no DHT node answers; looking for one again from time to time")
