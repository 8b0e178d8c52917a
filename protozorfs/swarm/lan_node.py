"""Local discovery on trio: one multicast socket on every link. No protocol decisions are made here.

A machine without a network, or whose links come and go, is in a state, not in error: what cannot be
sent is lost, the links are looked at again every minute, and what is new is announced there.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import PAUSE_SECONDS, Boundary
from protozorfs.swarm.lan_links import find_links, group_address, open_socket
from protozorfs.swarm.lan_messages import HOST_IPV4, HOST_IPV6, MAX_RECEIVED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.swarm.lan import Announcement, Found, LocalDiscovery
    from protozorfs.swarm.lan_links import IPAddress, Link

REFRESH_SECONDS = 60.0  # between looks at the links; a look takes 0.2 ms
# A flood costs at most BATCH datagrams per PAUSE and link; the kernel drops the rest. That is
# 640 a second, more than what all nodes of a link together may send.
RECEIVE_BATCH = 64
RECEIVE_PAUSE = 0.1  # seconds

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Leg:
    """A link in use. `trouble`: why nothing could be sent the last time; empty if it could."""

    link: Link
    socket: socket.socket
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    trouble: str = ""


class LanNode:
    """Announces and hears on all links for an engine.

    Attributes:
        engine: tells what to send; whoever changes it calls `wake`.
    """

    def __init__(
        self,
        engine: LocalDiscovery,
        port: int,
        found: Callable[[Sequence[Found]], None],
        bound: Sequence[IPAddress] | None,
    ) -> None:
        self.engine = engine
        self._port = port
        self._found = found
        self._bound = bound
        self._legs: dict[tuple[object, ...], _Leg] = {}
        self._troubles: dict[tuple[object, ...], str] = {}  # of links without a socket
        self._has_new_link = False
        self._changed = trio.Event()

    @property
    def links(self) -> dict[str, str]:
        """The links in use, by name and family, and what is wrong with each; empty if nothing."""
        return {str(leg.link): leg.trouble for leg in self._legs.values()}

    @property
    def can_ask(self) -> bool:
        """What is announced goes out on some link."""
        return any(not leg.trouble for leg in self._legs.values())

    def wake(self) -> None:
        """The engine may have something to send."""
        self._changed.set()

    async def run(
        self, *, task_status: trio.TaskStatus[LanNode] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._refresh(nursery)
                self._has_new_link = False  # to the engine everything is new
                nursery.start_soon(self._send_loop)
                task_status.started(self)
                while True:
                    await trio.sleep(REFRESH_SECONDS)
                    with Boundary(logger, "a look at the links of this machine"):
                        self._refresh(nursery)
                    if self._has_new_link:
                        self._has_new_link = False
                        self.engine.links_changed(trio.current_time())
                    self.wake()
        finally:
            for leg in self._legs.values():
                leg.socket.close()

    def _refresh(self, nursery: trio.Nursery) -> None:
        """Opens what is new and closes what is gone."""
        links = {link.key: link for link in find_links(self._bound)}
        for key in self._legs.keys() - links.keys():
            self._close(key)
        for key in self._troubles.keys() - links.keys():
            del self._troubles[key]
        for key, link in links.items():
            if key in self._legs:
                self._legs[key].link = link  # its networks may have changed
            else:
                self._open(link, nursery)

    def _open(self, link: Link, nursery: trio.Nursery) -> None:
        try:
            opened = open_socket(link)
        except OSError as error:
            trouble = str(error.strerror)
            if self._troubles.get(link.key) != trouble:
                logger.info("local discovery cannot use %s: %s", link, trouble)
            self._troubles[link.key] = trouble
            return
        logger.info("local discovery uses %s", link)
        self._troubles.pop(link.key, None)
        leg = self._legs[link.key] = _Leg(link, opened)
        self._has_new_link = True
        nursery.start_soon(self._receive_loop, leg)

    def _close(self, key: tuple[object, ...]) -> None:
        leg = self._legs.pop(key)
        logger.info("local discovery no longer uses %s", leg.link)
        leg.scope.cancel()

    async def _send_loop(self) -> None:
        while True:
            changed = self._changed = trio.Event()
            deadline: float | None = None
            if self._legs:
                deadline = trio.current_time() + PAUSE_SECONDS
                with Boundary(logger, "an announcement to the LAN"):
                    for announcement in self.engine.messages_to_send(trio.current_time()):
                        self._send(announcement)
                    deadline = self.engine.next_deadline()
            with trio.CancelScope() as waiting:
                if deadline is not None:
                    waiting.deadline = deadline
                await changed.wait()

    def _send(self, announcement: Announcement) -> None:
        by_family = {
            socket.AF_INET: announcement.encode(HOST_IPV4, self._port),
            socket.AF_INET6: announcement.encode(HOST_IPV6, self._port),
        }
        for leg in self._legs.values():
            try:
                leg.socket.sendto(by_family[leg.link.family], group_address(leg.link))
            except OSError as error:  # no route, the link is down, its queue is full
                trouble = str(error.strerror)
                if trouble != leg.trouble:
                    logger.info("local discovery cannot send on %s: %s", leg.link, trouble)
                leg.trouble = trouble
                continue
            if leg.trouble:
                logger.info("local discovery can send on %s again", leg.link)
                leg.trouble = ""
                self._has_new_link = True

    async def _receive_loop(self, leg: _Leg) -> None:
        with leg.socket, leg.scope:
            receiver = trio.socket.from_stdlib_socket(leg.socket)
            count = 0
            while True:
                try:
                    data, source = await receiver.recvfrom(MAX_RECEIVED_BYTES + 1)
                except OSError as error:  # the link has gone; the next look says what there is
                    logger.info("local discovery lost %s: %s", leg.link, error.strerror)
                    self._legs.pop(leg.link.key, None)
                    return
                with Boundary(logger, f"a datagram from {source[0]} on the LAN"):
                    self._receive(leg, data, source)
                count += 1
                if count % RECEIVE_BATCH == 0:
                    await trio.sleep(RECEIVE_PAUSE)

    def _receive(self, leg: _Leg, data: bytes, source: Sequence[str | int]) -> None:
        if not leg.link.is_neighbour(source):
            return
        found = self.engine.receive_datagram(data, str(source[0]), trio.current_time())
        if found:
            self._found(found)
            self.wake()  # there may be an answer to send


async def run_lan(
    engine: LocalDiscovery,
    port: int,
    found: Callable[[Sequence[Found]], None],
    *,
    bind: str | None,
    task_status: trio.TaskStatus[LanNode] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves an engine on the links of this machine until cancelled.

    Args:
        engine: what to announce; call `LanNode.wake` after a change.
        port: our TCP port.
        found: called with who was heard of; must not block.
        bind: the address or host name that the TCP port is bound to; None: all. Nothing is
            announced on links where nobody could connect.
        task_status: is told the LanNode once its sockets are open.

    Raises:
        OSError: `bind` is a name that cannot be resolved.
    """
    bound = None
    if bind is not None:
        answers = await trio.socket.getaddrinfo(bind, port, type=socket.SOCK_DGRAM)
        bound = [ipaddress.ip_address(answer[4][0]) for answer in answers]
    await LanNode(engine, port, found, bound).run(task_status=task_status)
