"""Keeps a port of the default gateway mapped to ours, so that strangers can dial this node."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.swarm.gateway import find_gateway
from protozorfs.swarm.upnp import (
    LEASE_SECONDS,
    GatewayError,
    Mapping,
    add_mapping,
    remove_mapping,
    search,
)
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.swarm.gateway import Gateway

RENEW_SECONDS = LEASE_SECONDS / 3  # two renewals may fail
FIRST_RETRY = 60.0  # seconds; doubles up to MAX_RETRY while the gateway does not do it
MAX_RETRY = 1800.0
LOOK_SECONDS = 60.0  # between looks at the default route; another gateway is asked at once
ATTEMPT_SECONDS = 20.0  # for the search and all calls; a gateway that is slower does not work
UNMAP_SECONDS = 1.0  # at the end; what is not removed by then ends with its lease
MAX_THREADS = 2  # one that hangs on the gateway, and one that removes the mapping at the end

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MappingState:
    """Whether there is a mapping.

    Attributes:
        external: the address that leads to our port; None without a mapping.
        why: a sentence for the status.
    """

    external: Address | None
    why: str

    @property
    def is_public(self) -> bool:
        """True if the whole world can dial it; else there is another gateway behind the gateway."""
        return self.external is not None and ipaddress.ip_address(self.external.host).is_global


async def keep_mapped(
    port: int,
    report: Callable[[MappingState], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Maps TCP and UDP until cancelled, then takes the mapping back within UNMAP_SECONDS.

    Nobody but the default gateway is asked. Without one, or when it refuses, that is a state.

    Args:
        port: of this node.
        report: called with each new state; must not block.
        task_status: told at once, before anything is asked.
    """
    keeper = _Keeper(port, report)
    task_status.started()
    try:
        while True:
            with Boundary(logger, "the port mapping") as boundary:
                gateway = find_gateway()
                delay = await keeper.refresh(gateway)
                await _wait_for_another(gateway, delay)
            if boundary.error is not None:
                await trio.sleep(MAX_RETRY)
    finally:
        with (
            Boundary(logger, "the end of the port mapping"),
            trio.move_on_after(UNMAP_SECONDS, shield=True),
        ):
            await keeper.unmap()


async def _wait_for_another(gateway: Gateway | None, seconds: float) -> None:
    """Returns after that time, or soon after the default gateway has changed."""
    with trio.move_on_after(seconds):
        # The kernel has no event for this short of netlink; a look takes 0.1 ms.
        while find_gateway() == gateway:  # noqa: ASYNC110
            await trio.sleep(LOOK_SECONDS)


class _Keeper:
    """The mapping, and when to look after it again."""

    def __init__(self, port: int, report: Callable[[MappingState], None]) -> None:
        self._port = port
        self._report = report
        self._state: MappingState | None = None
        self._mapping: Mapping | None = None
        self._retry = FIRST_RETRY
        self._limiter = trio.CapacityLimiter(MAX_THREADS)

    async def refresh(self, gateway: Gateway | None) -> float:
        """Makes or renews the mapping; seconds until it is to be done again."""
        if self._mapping is not None and self._mapping.gateway != gateway:
            self._mapping = None  # that gateway is out of reach
            self._retry = FIRST_RETRY
        if gateway is None:
            self._tell(MappingState(None, "no gateway"))
            return MAX_RETRY
        why = "takes too long"
        with trio.move_on_after(ATTEMPT_SECONDS):
            try:
                self._mapping = await self._map(gateway)
            except GatewayError as error:
                why = str(error)
            except OSError as error:
                why = f"cannot be asked: {error.strerror}"
            else:
                self._retry = FIRST_RETRY
                self._tell(_state_of(self._mapping))
                return RENEW_SECONDS
        self._tell(MappingState(None, f"the gateway {gateway.host} {why}"))
        delay = self._retry
        self._retry = min(MAX_RETRY, 2 * delay)
        return delay

    async def unmap(self) -> None:
        """Takes the mapping back, if there is one."""
        if self._mapping is None:
            return
        try:
            await self._in_thread(partial(remove_mapping, self._mapping))
        except GatewayError as error:
            logger.info("the gateway %s keeps the mapping: it %s", self._mapping.gateway, error)

    async def _map(self, gateway: Gateway) -> Mapping:
        external_port = self._mapping.external_port if self._mapping is not None else self._port
        location = await search(gateway)  # each time: it is another one after a restart
        add = partial(add_mapping, gateway, location, self._port, external_port)
        mapping = await self._in_thread(add)
        assert mapping is not None
        return mapping

    async def _in_thread(self, call: Callable[[], Mapping | None]) -> Mapping | None:
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)

    def _tell(self, state: MappingState) -> None:
        if state != self._state:
            self._state = state
            logger.info("port mapping: %s", state.why)
            self._report(state)


def _state_of(mapping: Mapping) -> MappingState:
    external = Address(mapping.external_host, mapping.external_port)
    state = MappingState(external, f"{external} leads here, by UPnP")
    if not state.is_public:
        return MappingState(external, f"{state.why}, but is not a public address")
    return state
