"""Port mapping against a gateway in a network of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.namespaces import Host, network

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PORT = 4001
END_SECONDS = 1.0  # that the end of keep_mapped may take, by its promise
SLACK_SECONDS = 1.0  # for a slow machine


@dataclass
class Client:
    """A `mapping_client`."""

    process: subprocess.Popen[str]

    def state(self) -> tuple[str | None, bool, str]:
        """The next state: the external address, whether it is public, why."""
        assert self.process.stdout is not None
        external, is_public, why = json.loads(self.process.stdout.readline())
        return external, is_public, why

    def end(self) -> float:
        """Ends it; how long it took in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        return float(json.loads(self.process.stdout.readline()))


@contextmanager
def client_on(host: Host) -> Iterator[Client]:
    with host.running_module("tests.swarm.mapping_client", str(PORT)) as process:
        yield Client(process)


@dataclass
class Gateway:
    """A `fake_gateway`, and what it has printed so far."""

    process: subprocess.Popen[str]
    host: str

    def actions(self) -> list[str]:
        """What it was asked until now; it is ended."""
        self.process.terminate()
        assert self.process.stdout is not None
        return [line.strip() for line in self.process.stdout]


@contextmanager
def behind_gateway(*behaviours: str) -> Iterator[tuple[Host, Gateway]]:
    """A host whose default route leads to a gateway, and the gateway."""
    with network(2, [(0, 1)]) as (inside, outside):
        address = outside.address_seen_by(0)
        inside.run("ip", "route", "add", "default", "via", address)
        command = outside.command(sys.executable, "-m", "tests.fake_gateway", address, *behaviours)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "up\n"
                yield inside, Gateway(process, address)
            finally:
                process.kill()


def mappings_of(actions: list[str]) -> list[str]:
    return [action for action in actions if action.startswith(("Add", "Delete"))]


def test_mapped_and_taken_back() -> None:
    with behind_gateway() as (inside, gateway), client_on(inside) as client:
        own = inside.address_seen_by(1)
        assert client.state() == (
            f"198.51.100.7:{PORT}",
            False,  # an address for documentation, which is nobody's
            f"198.51.100.7:{PORT} leads here, by UPnP, but is not a public address",
        )
        assert client.end() < END_SECONDS + SLACK_SECONDS
        actions = gateway.actions()
        assert mappings_of(actions) == [
            f"AddPortMapping  {PORT} TCP {PORT} {own} 1 protozorfs 3600",
            f"AddPortMapping  {PORT} UDP {PORT} {own} 1 protozorfs 3600",
            f"DeletePortMapping  {PORT} TCP",
            f"DeletePortMapping  {PORT} UDP",
        ]


def test_a_public_address() -> None:
    with behind_gateway("address=8.8.4.4") as (inside, _), client_on(inside) as client:
        assert client.state() == (f"8.8.4.4:{PORT}", True, f"8.8.4.4:{PORT} leads here, by UPnP")


@pytest.mark.parametrize("how", ["taken", "conflict"])
def test_a_port_that_another_host_has(how: str) -> None:
    with behind_gateway(f"{how}={PORT}") as (inside, gateway), client_on(inside) as client:
        assert client.state()[0] == f"198.51.100.7:{PORT + 1}"
        client.end()
        actions = mappings_of(gateway.actions())
        mapped = [line.split()[1:3] for line in actions if line.startswith("Add")]
        assert mapped[-2:] == [[str(PORT + 1), name] for name in ("TCP", "UDP")]
        # Nothing is left behind, of the port that was not to be had either.
        given = [line.split()[1:3] for line in actions if line[-7:] != "refused"]
        assert all(given.count(mapping) == 2 for mapping in given)
        if how == "taken":
            assert [str(PORT), "TCP"] not in given


def test_a_gateway_that_knows_permanent_leases_only() -> None:
    with behind_gateway("permanent") as (inside, gateway), client_on(inside) as client:
        assert client.state()[0] == f"198.51.100.7:{PORT}"
        client.end()
        added = [line for line in mappings_of(gateway.actions()) if line.endswith("protozorfs 0")]
        assert len(added) == 2


@pytest.mark.parametrize("address", ["0.0.0.0", "", "x"])
def test_a_gateway_without_an_address(address: str) -> None:
    with behind_gateway(f"address={address}") as (inside, gateway), client_on(inside) as client:
        external, _, why = client.state()
        assert external is None
        assert why.startswith(f"the gateway {gateway.host} ")
        client.end()
        assert mappings_of(gateway.actions()) == []


def test_nobody_but_the_gateway_is_asked() -> None:
    with behind_gateway("elsewhere") as (inside, gateway), client_on(inside) as client:
        assert client.state() == (None, False, f"the gateway {gateway.host} does not answer UPnP")
    with (
        behind_gateway("control=http://10.9.9.9:5000/control") as (inside, gateway),
        client_on(inside) as client,
    ):
        why = f"the gateway {gateway.host} has no port mapping at its own address"
        assert client.state() == (None, False, why)
        assert mappings_of(gateway.actions()) == []


def test_a_gateway_that_hangs_delays_no_end() -> None:
    with behind_gateway("hang") as (inside, gateway), client_on(inside) as client:
        assert gateway.process.stdout is not None
        while not gateway.process.stdout.readline().startswith("GetExternalIPAddress"):
            pass
        assert client.end() < END_SECONDS + SLACK_SECONDS
        assert client.process.wait(SLACK_SECONDS * 5) == 0


def test_a_gateway_without_upnp_and_no_gateway() -> None:
    with network(2, [(0, 1)]) as (inside, outside):
        with client_on(inside) as client:
            assert client.state() == (None, False, "no gateway")
            assert client.end() < SLACK_SECONDS
        address = outside.address_seen_by(0)
        inside.run("ip", "route", "add", "default", "via", address)
        with client_on(inside) as client:
            assert client.state() == (None, False, f"the gateway {address} does not answer UPnP")
