"""When a mapping is renewed, tried again or given up, on virtual time and with a gateway at hand.

`tests/swarm/test_port_mapping.py` has the protocol.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from protozorfs.swarm import port_mapping
from protozorfs.swarm.gateway import Gateway
from protozorfs.swarm.port_mapping import (
    FIRST_RETRY,
    LOOK_SECONDS,
    MAX_RETRY,
    RENEW_SECONDS,
    MappingState,
    keep_mapped,
)
from protozorfs.swarm.upnp import GatewayError, Mapping

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 4001
HOME = Gateway("192.168.1.1", "wlan0")
CAFE = Gateway("10.0.0.1", "wlan0")


@dataclass
class World:
    """The gateways, and what they were asked: (seconds since the start, what)."""

    gateway: Gateway | None = HOME
    trouble: str = ""
    external_port: int = PORT
    asked: list[tuple[float, str]] = field(default_factory=list)
    states: list[MappingState] = field(default_factory=list)

    def find_gateway(self) -> Gateway | None:
        return self.gateway

    async def search(self, gateway: Gateway) -> str:
        self.asked.append((trio.current_time(), gateway.host))
        await trio.lowlevel.checkpoint()
        if self.trouble:
            raise GatewayError(self.trouble)
        return f"http://{gateway.host}/"

    def add_mapping(self, gateway: Gateway, location: str, port: int, external: int) -> Mapping:
        assert port == PORT
        self.asked.append((0.0, f"add {external}"))
        return Mapping(gateway, location, "8.8.4.4", self.external_port)

    def remove_mapping(self, mapping: Mapping) -> None:
        self.asked.append((0.0, f"remove {mapping.gateway.host} {mapping.external_port}"))

    @property
    def searches(self) -> list[tuple[float, str]]:
        return [(time, what) for time, what in self.asked if " " not in what]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name in ("find_gateway", "search", "add_mapping", "remove_mapping"):
        monkeypatch.setattr(port_mapping, name, getattr(world, name))
    monkeypatch.setattr(trio.to_thread, "run_sync", _run_here)
    return world


async def _run_here(call: Callable[[], Mapping | None], **_: object) -> Mapping | None:
    """In place of a thread, for which virtual time would not wait."""
    await trio.lowlevel.checkpoint()
    return call()


def run(world: World, *steps: tuple[float, Gateway | None]) -> None:
    """Keeps mapped for the sum of the steps' seconds; at the end of each there is that gateway."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_mapped, PORT, world.states.append)
            for seconds, gateway in steps:
                await trio.sleep(seconds)
                world.gateway = gateway
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_renewed_at_a_third_of_its_lease_and_removed(world: World) -> None:
    world.external_port = PORT + 2
    run(world, (RENEW_SECONDS * 2.5, HOME))
    assert [time for time, _ in world.searches] == [
        pytest.approx(number * RENEW_SECONDS, abs=1) for number in range(3)
    ]
    asked = [what for _, what in world.asked if " " in what]
    assert asked == [
        f"add {PORT}",
        f"add {PORT + 2}",  # the port that was got is asked for again
        f"add {PORT + 2}",
        f"remove {HOME.host} {PORT + 2}",
    ]
    assert len(world.states) == 1


def test_tried_less_and_less_often(world: World) -> None:
    world.trouble = "does not answer UPnP"
    run(world, (FIRST_RETRY * 100, HOME))
    times = [time for time, _ in world.searches]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    expected = [min(MAX_RETRY, FIRST_RETRY * 2**number) for number in range(len(steps))]
    assert steps == [pytest.approx(step, abs=1) for step in expected]
    assert steps[-1] == pytest.approx(MAX_RETRY, abs=1)
    why = f"the gateway {HOME.host} does not answer UPnP"
    assert world.states == [MappingState(None, why)]


def test_another_gateway_is_asked_soon(world: World) -> None:
    run(world, (100, None), (200, CAFE), (100, CAFE))
    hosts = [host for _, host in world.searches]
    assert hosts == [HOME.host, CAFE.host]
    at_cafe = world.searches[1][0]
    assert 300 <= at_cafe <= 300 + LOOK_SECONDS
    assert [state.why == "no gateway" for state in world.states] == [False, True, False]
    # The mapping of the gateway that was left cannot be removed from here.
    removed = [what for _, what in world.asked if what.startswith("remove")]
    assert removed == [f"remove {CAFE.host} {PORT}"]
