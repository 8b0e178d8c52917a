"""A DHT node on a host with many addresses answers from each that it is asked at.

The addresses are those of a network namespace: several on one link, of which the routes prefer the
first, link-local ones, and one on loopback alone, as routers and servers of many links have it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.dht_peers import ROOT
from tests.namespaces import Host, network

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20.0
NODE, ASKER = 0, 1
# Of the node: interface and addresses. "nodad": usable at once.
ADDRESSES = {
    "to1": ["10.98.0.1/24", "10.98.0.2/24", "fd00:98::1/64", "fd00:98::2/64", "fe80::98:2/64"],
    "lo": ["10.97.0.1/32", "fd00:97::1/128"],
}
ROUTES = {"10.97.0.1": "10.98.0.1", "fd00:97::1": "fd00:98::1"}  # of the asker, with the way
ASKER_ADDRESSES = ["10.98.0.9/24", "fd00:98::9/64", "fe80::98:9/64"]
ASKED = [
    *("10.98.0.1", "10.98.0.2", "10.97.0.1"),
    *("fd00:98::1", "fd00:98::2", "fd00:97::1", "fe80::98:2%to0"),
]
ASKED_AT_HOME = [*ASKED[:-1], "127.0.0.1", "127.0.0.2", "::1", "fe80::98:2%to1"]
# Pings the node at each address, and prints those that answer: a connected socket takes answers
# from the one that was asked and from no other.
ASK = """
import json, socket, sys
answered = []
for host in sys.argv[2:]:
    found = socket.getaddrinfo(host, int(sys.argv[1]), type=socket.SOCK_DGRAM)
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as asking:
        asking.settimeout(2.0)
        asking.connect(address)
        asking.send(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe")
        try:
            asking.recv(2048)
        except TimeoutError:
            continue
        answered.append(host)
print(json.dumps(answered))
"""


def add_address(host: Host, address: str, interface: str) -> None:
    more = ["nodad"] if ":" in address else []  # usable at once
    host.run("ip", "address", "add", address, "dev", interface, *more)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    """The node's host and the asker's, on one link."""
    with network(2, [(NODE, ASKER)]) as (node, asker):
        for interface, addresses in ADDRESSES.items():
            for address in addresses:
                add_address(node, address, interface)
        for address in ASKER_ADDRESSES:
            add_address(asker, address, "to0")
        for address, way in ROUTES.items():
            asker.run("ip", "route", "add", address, "via", way)
        yield [node, asker]


@contextmanager
def running_node(host: Host) -> Iterator[str]:
    """A node on that host; its port."""
    command = host.command(sys.executable, "-m", "tests.swarm.wildcard_dht")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_every_address_answers_for_itself(hosts: list[Host]) -> None:
    with running_node(hosts[NODE]) as port:
        for asker, addresses in ((ASKER, ASKED), (NODE, ASKED_AT_HOME)):
            command = hosts[asker].command(sys.executable, "-c", ASK, port, *addresses)
            asked = subprocess.run(command, stdout=subprocess.PIPE, timeout=SECONDS, check=True)
            assert json.loads(asked.stdout) == addresses
