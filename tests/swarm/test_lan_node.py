"""Local discovery over real sockets: on loopback, and in networks of the test's own."""

from __future__ import annotations

import random
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from protozorfs.swarm import lan_node
from protozorfs.swarm.lan import Announcement, Found, LocalDiscovery
from protozorfs.swarm.lan_links import Link, find_links, group_address, open_socket
from protozorfs.swarm.lan_messages import HOST_IPV4
from protozorfs.swarm.lan_node import (
    RECEIVE_BATCH,
    RECEIVE_PAUSE,
    REFRESH_SECONDS,
    LanNode,
    run_lan,
)
from protozorfs.types import Address
from tests.namespaces import Host, network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
ARRIVAL_SECONDS = 0.1  # of real time that virtual time waits for datagrams; at once, on loopback
FIND_SECONDS = 2.0  # that two nodes may take to know each other
WAIT_SECONDS = 30.0  # an upper bound for a slow machine, not a delay


class Node:
    """One node in this process, and what it has found."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.engine = LocalDiscovery(random.randbytes(8).hex().encode(), random.random)
        self.found: set[Found] = set()
        self.heard = trio.Event()
        self.lan: LanNode | None = None

    async def start(self, nursery: trio.Nursery, bind: str = LOOPBACK) -> None:
        run = partial(run_lan, self.engine, self.port, self._report, bind=bind)
        self.lan = await nursery.start(run)

    def add(self, infohash: bytes) -> None:
        assert self.lan is not None
        self.engine.add(infohash, trio.current_time())
        self.lan.wake()

    def _report(self, found: Sequence[Found]) -> None:
        self.found.update(found)
        self.heard.set()
        self.heard = trio.Event()


async def until_found(node: Node, *expected: Found, seconds: float = WAIT_SECONDS) -> None:
    with trio.fail_after(seconds):
        while not node.found.issuperset(expected):
            await node.heard.wait()


async def test_three_nodes_of_one_host_find_each_other() -> None:
    infohash = random.randbytes(20)
    nodes = [Node(port) for port in (4001, 4002, 4003)]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await node.start(nursery)
            node.add(infohash)
        for node in nodes:
            others = [Found(infohash, Address(LOOPBACK, other.port)) for other in nodes]
            others.remove(Found(infohash, Address(LOOPBACK, node.port)))
            await until_found(node, *others, seconds=FIND_SECONDS)
        nursery.cancel_scope.cancel()


async def test_each_address_of_loopback_can_be_a_node() -> None:
    infohash = random.randbytes(20)
    one, other = Node(4001), Node(4001)
    async with trio.open_nursery() as nursery:
        await one.start(nursery, "127.0.1.1")
        await other.start(nursery, "127.0.1.2")
        one.add(infohash)
        other.add(infohash)
        await until_found(one, Found(infohash, Address("127.0.1.2", 4001)))
        await until_found(other, Found(infohash, Address("127.0.1.1", 4001)))
        nursery.cancel_scope.cancel()


async def test_a_flood_of_garbage_does_not_hide_others() -> None:
    infohash = random.randbytes(20)
    one, other = Node(4001), Node(4002)
    [flooder] = find_links([ip_address("127.0.1.3")])
    async with trio.open_nursery() as nursery:
        await one.start(nursery)
        await other.start(nursery, "127.0.1.2")
        one.add(infohash)
        start = trio.current_time()
        with open_socket(flooder) as sender:
            for number in range(3000):
                sender.sendto(b"x" * (number % 1400), group_address(flooder))
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
        elapsed = trio.current_time() - start
        handled = one.engine.counters.malformed + one.engine.counters.limited
        assert 0 < handled <= (elapsed / RECEIVE_PAUSE + 2) * RECEIVE_BATCH
        other.add(infohash)
        await until_found(one, Found(infohash, Address("127.0.1.2", 4002)))
        nursery.cancel_scope.cancel()


async def test_a_name_that_cannot_be_resolved() -> None:
    with pytest.raises(OSError, match=r".+"):
        await run_lan(LocalDiscovery(b"c", random.random), 4001, print, bind="\x00")


def test_links_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """On virtual time."""
    infohash = random.randbytes(20)
    one, other = Node(4001), Node(4002)
    [loopback] = find_links([ip_address(LOOPBACK)])
    links: list[Link] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await other.start(nursery)
            monkeypatch.setattr(lan_node, "find_links", lambda _: links)
            await one.start(nursery)
            one.add(infohash)
            other.add(infohash)
            assert one.lan is not None
            await trio.sleep(REFRESH_SECONDS - 20)
            assert one.lan.links == {}
            assert other.found == set()
            links.append(loopback)
            await trio.sleep(30)
            assert one.lan.links == {"lo IPv4": ""}
            await until_found(other, Found(infohash, Address(LOOPBACK, one.port)))
            await until_found(one, Found(infohash, Address(LOOPBACK, other.port)))
            links.clear()
            await trio.sleep(REFRESH_SECONDS)
            assert one.lan.links == {}
            # There may be others now.
            other.found.clear()
            links.append(loopback)
            await trio.sleep(REFRESH_SECONDS)
            assert other.found == {Found(infohash, Address(LOOPBACK, one.port))}
            links[:] = [replace(loopback, name="gone0", index=9999)]
            await trio.sleep(REFRESH_SECONDS)
            assert one.lan.links == {}
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=ARRIVAL_SECONDS))


@pytest.mark.parametrize(
    ("source", "is_neighbour"),
    [
        (("10.1.0.9", 6771), True),
        (("10.2.0.9", 6771), False),
        (("169.254.0.1", 6771), False),
        (("fe80::1%eth0", 6771, 0, 3), True),
        (("fe80::1%eth1", 6771, 0, 4), False),
        (("fd00:0:0:1::7", 6771, 0, 0), True),
        (("fd00:0:0:2::7", 6771, 0, 0), False),
    ],
)
def test_only_senders_of_the_links_own_networks(
    source: tuple[str | int, ...], is_neighbour: bool
) -> None:
    networks = tuple(map(ip_network, ("10.1.0.0/24", "fd00:0:0:1::/64", "fe80::/64")))
    for family in (AF_INET, AF_INET6):
        link = Link(name="eth0", index=3, family=family, address=None, networks=networks)
        assert link.is_neighbour(source) == is_neighbour


def test_which_links_an_address_is_on() -> None:
    assert [str(link) for link in find_links([ip_address(LOOPBACK)])] == ["lo IPv4"]
    assert [str(link) for link in find_links([ip_address("127.9.9.9")])] == ["lo IPv4"]
    assert find_links([ip_address("::1")]) == []
    assert find_links([ip_address("203.0.113.1")]) == []
    everywhere = {str(link) for link in find_links(None)}
    assert "lo IPv4" in everywhere
    of_ipv4 = {str(link) for link in find_links([ip_address("0.0.0.0")])}
    assert of_ipv4 == {link for link in everywhere if link.endswith("IPv4")}


# In networks of the test's own


class Client:
    """A process with nodes in it: `lan_client`, or `lan_libtorrent`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.up = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def add(self, infohash: bytes) -> None:
        """To the first node of a `lan_client`."""
        assert self._process.stdin is not None
        self._process.stdin.write(infohash.hex() + "\n")
        self._process.stdin.flush()

    def wait_for(self, *lines: str) -> None:
        """Returns when each of these was printed."""
        missing = set(lines)
        while missing:
            line = self._line()
            assert line, f"ended without {missing}"
            missing.discard(line)


@contextmanager
def client_on(host: Host, module: str, *arguments: str) -> Iterator[Client]:
    with host.running_module(f"tests.swarm.{module}", *arguments) as process:
        yield Client(process)


def test_two_hosts_find_each_other_and_three_nodes_on_one_of_them() -> None:
    infohash = random.randbytes(20)
    name = infohash.hex()
    with network(2, [(0, 1)]) as (left, right):
        on_right = ("4002", f"4003={name}", f"4004={name}")
        with (
            client_on(left, "lan_client", "-", f"4001={name}") as one,
            client_on(right, "lan_client", "-", *on_right) as three,
        ):
            at_left, at_right = left.address_seen_by(1), right.address_seen_by(0)
            ports = ("4003", "4004")
            one.wait_for(*(f"4001 {name} {at_right}:{port}" for port in ports))
            three.wait_for(*(f"{port} {name} {at_left}:4001" for port in ports))
            added = time.monotonic()
            three.add(infohash)
            one.wait_for(f"4001 {name} {at_right}:4002")
            assert time.monotonic() < added + FIND_SECONDS


def test_two_hosts_with_ipv6_alone() -> None:
    infohash = random.randbytes(20)
    name = infohash.hex()
    with network(2, [(0, 1)]) as hosts:
        for number, host in enumerate(hosts):
            device = f"to{1 - number}"
            host.run("ip", "-4", "address", "flush", "dev", device)
            address = f"fd00:99::{number + 1}/64"
            host.run("ip", "address", "add", address, "dev", device, "nodad")
        with (
            client_on(hosts[0], "lan_client", "-", f"4001={name}") as one,
            client_on(hosts[1], "lan_client", "-", f"4002={name}") as other,
        ):
            assert one.up == "up|lo IPv4|to1 IPv6"
            one.wait_for(f"4001 {name} [fd00:99::2]:4002")
            other.wait_for(f"4002 {name} [fd00:99::1]:4001")


def test_without_any_network() -> None:
    with network(1, []) as (host,):
        host.run("ip", "link", "set", "lo", "down")
        host.run("ip", "address", "flush", "dev", "lo")
        with client_on(host, "lan_client", "-", f"4001={bytes(20).hex()}") as one:
            assert one.up == "up"


def test_a_sender_of_another_network_is_not_heard() -> None:
    """Its datagrams reach the host, since nothing filters them on the way."""
    infohash = random.randbytes(20)
    name = infohash.hex()
    send = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    send += "s.bind((sys.argv[1], 0)); s.setsockopt(0, 32, socket.inet_aton(sys.argv[1])); "
    send += "s.sendto(bytes.fromhex(sys.argv[2]), ('239.192.152.143', 6771))"
    with network(2, [(0, 1)]) as (left, right):
        right.run("ip", "address", "add", "10.200.0.1/24", "dev", "to0")
        # Without a route back the kernel itself would drop them.
        left.run("ip", "route", "add", "10.200.0.0/24", "dev", "to1")
        with client_on(left, "lan_client", "-", f"4001={name}") as one:
            for source, port in (("10.200.0.1", 4666), (right.address_seen_by(0), 4002)):
                data = Announcement((infohash,), b"c").encode(HOST_IPV4, port)
                right.run(sys.executable, "-c", send, source, data.hex())
            first = one._line()
            assert first == f"4001 {name} {right.address_seen_by(0)}:4002"


@pytest.mark.interop
def test_libtorrent_and_we_find_each_other() -> None:
    infohash = random.randbytes(20)
    name = infohash.hex()
    with network(2, [(0, 1)]) as (left, right):
        ours, theirs = left.address_seen_by(1), right.address_seen_by(0)
        with (
            client_on(left, "lan_client", "-", f"4001={name}") as one,
            client_on(right, "lan_libtorrent", theirs, "6900", name) as libtorrent,
        ):
            one.wait_for(f"4001 {name} {theirs}:6900")
            libtorrent.wait_for(f"{ours}:4001")
