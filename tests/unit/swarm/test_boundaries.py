"""A bug in what one connection, datagram or feed triggers: the rest of the node goes on.

Each test injects an error where nobody expects one. docs/design.md names the boundaries.
"""

from __future__ import annotations

import errno
import random
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast
from unittest.mock import patch

import pytest
import trio

from protozorfs.app import _save_dht_state, open_node
from protozorfs.boundary import PAUSE_SECONDS
from protozorfs.dht.endpoint import IPV4
from protozorfs.dht.node import DhtNode
from protozorfs.errors import StoreError, StoreFull, UsageError
from protozorfs.feeds.recovery import open_unclean
from protozorfs.feeds.registry import UPKEEP_INTERVAL
from protozorfs.feeds.visits import VISIT_SECONDS
from protozorfs.options import Options
from protozorfs.swarm import port_mapping
from protozorfs.swarm.dht_state import load_state, save_state
from protozorfs.swarm.lan_node import LanNode, _Leg
from protozorfs.swarm.replicator import STORE_REST_SECONDS
from protozorfs.swarm.schedule import HEAD_INTERVAL
from protozorfs.types import Address
from protozorfs.wire.connection import Connection
from tests.unit.dht.scripted import contact, nodes_value
from tests.unit.swarm.memory_net import PORT, MemoryNet, in_memory, memory_node
from tests.unit.swarm.test_hostile_dht import LIAR_FEED, ScriptedDht, Told, record
from tests.unit.swarm.watching import traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from trio.testing import MockClock

    from protozorfs.app import Node
    from protozorfs.dht.endpoint import Family
    from protozorfs.dht.udp import UdpSocket
    from protozorfs.feeds.feed import Feed
    from protozorfs.swarm.lan import LocalDiscovery
    from protozorfs.swarm.lan_links import Link

OWNER, US, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"
CACHE_BYTES = 256 * 1024
LONG = 300.0  # seconds of virtual time, for whatever has to come back
SOME_TURNS = 60.0  # in which there are several for each feed on the DHT


class Bug(Exception):
    """Nobody expects it."""


class FailsOnce:
    """In place of a function: fails the first time, then is that function."""

    def __init__(self, real: Callable[..., object]) -> None:
        self.count = 0
        self._real = real

    def __get__(self, instance: object, owner: type) -> Callable[..., object]:
        return lambda *arguments, **named: self(instance, *arguments, **named)

    def __call__(self, *arguments: object, **named: object) -> object:
        if not self.count:
            self.count += 1
            raise Bug("injected")
        return self._real(*arguments, **named)


@pytest.fixture(autouse=True)
def bugs() -> Iterator[list[str]]:
    """The traces that are logged; each test injects at least one."""
    with traces() as found:
        yield found
    assert found
    assert all("Bug: injected" in trace for trace in found)


class World(NamedTuple):
    """An owner of two feeds, and a follower of both."""

    net: MemoryNet
    owner: Node
    us: Node
    owned: list[Feed]
    followed: list[Feed]

    async def grow(self, text: bytes) -> None:
        """Both feeds grow, and all that they have arrives."""
        for owned in self.owned:
            await owned.append([text])
        with trio.fail_after(LONG):
            for owned, followed in zip(self.owned, self.followed, strict=True):
                await followed.reader.wait_length(owned.length - 1)
                await followed.reader.wait_bytes(0, owned.byte_length)


@asynccontextmanager
async def world(path: Path, *, dht: DhtNode | None = None) -> AsyncIterator[World]:
    net = MemoryNet()
    peers = (Address(OWNER, PORT),)
    with in_memory(net, CACHE_BYTES):
        async with (
            memory_node(net, path / "owner", OWNER) as owner,
            memory_node(net, path / "us", US, peers, dht=dht) as us,
        ):
            owned = [await owner.create(b"one"), await owner.create(b"two")]
            followed = [
                await us.feeds.follow(feed.feed_id, feed.feed_id.hex()[:8].encode())
                for feed in owned
            ]
            both = World(net, owner, us, owned, followed)
            await both.grow(b"first\n")
            yield both


ON_A_CONNECTION = [
    ("protozorfs.swarm.replicator.Replicator", "receive"),
    ("protozorfs.swarm.replicator.Replicator", "_flush"),
    ("protozorfs.swarm.replicator.Replicator", "serve"),
    ("protozorfs.swarm.replicator.Replicator", "detach"),
    ("protozorfs.swarm.session.Session", "tick"),
    ("protozorfs.swarm.session.Session", "_on_event"),
    ("protozorfs.swarm.session.Session", "drained"),
    ("protozorfs.wire.connection.Connection", "receive_bytes"),
    ("protozorfs.wire.connection.Connection", "bytes_to_send"),
    ("protozorfs.swarm.connections.Connections", "session_ready"),
    ("protozorfs.swarm.connections.Connections", "_may_accept"),
    ("protozorfs.swarm.connections.Connections", "_ended"),
    ("protozorfs.swarm.peers.PeerTable", "due"),
    ("protozorfs.swarm.swarm.Swarm", "_settle"),
    ("protozorfs.swarm.swarm.Swarm", "connection_ready"),
    ("protozorfs.swarm.swarm.Swarm", "attempt_failed"),
    ("protozorfs.swarm.swarm.Swarm", "wants_peer"),
    ("protozorfs.log.feed.Log", "apply_all"),
    ("protozorfs.feeds.surroundings.NodeSurroundings", "has_room_again"),
]


@pytest.mark.parametrize(("owner", "name"), ON_A_CONNECTION)
async def test_a_bug_on_a_connection_is_that_connections_affair(
    tmp_path: Path, autojump_clock: MockClock, owner: str, name: str
) -> None:
    module, _, class_name = owner.rpartition(".")
    cls = getattr(__import__(module, fromlist=[class_name]), class_name)
    async with world(tmp_path) as both:
        failing = FailsOnce(getattr(cls, name))
        with patch.object(cls, name, failing):
            break_connections(both)
            both.us.swarm.peers_found(both.followed[0], [Address(OTHER, PORT)])
            await both.grow(b"second\n")
            await trio.sleep(30.0)
            assert failing.count == 1
            await both.grow(b"third\n")


def break_connections(both: World) -> None:
    """The owner's connections end, as by the network."""
    for entry in list(both.owner.swarm.connections.entries.values()):
        entry.driver.end("cut")


async def test_a_bug_while_dialling_is_an_attempt_that_failed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world(tmp_path) as both:
        failing = FailsOnce(Connection)
        with patch("protozorfs.swarm.connections.Connection", failing):
            break_connections(both)
            await both.grow(b"second\n")
            assert failing.count == 1


async def test_the_ticks_of_a_feed_that_meets_a_bug_stop_until_something_happens(
    tmp_path: Path, autojump_clock: MockClock, bugs: list[str]
) -> None:
    async with world(tmp_path) as both:
        (replicator,) = [
            entry for entry in both.us.swarm._replicators.values() if entry.feed is both.followed[0]
        ]
        failing = FailsOnce(replicator.handle_timeout)
        with patch.object(replicator, "handle_timeout", failing):
            both.us.swarm._busy.add(replicator)
            await trio.sleep(10.0)
            assert failing.count == len(bugs) == 1
            await both.grow(b"second\n")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "it is broken"), StoreError("is damaged")])
async def test_a_feed_whose_disk_fails_rests_and_others_go_on(
    tmp_path: Path, autojump_clock: MockClock, bugs: list[str], error: Exception
) -> None:
    bugs.append("Bug: injected")  # none is to be logged with a trace: the disk is no bug of ours
    async with world(tmp_path) as both:
        connection = next(iter(both.us.swarm.connections.entries))
        log = both.followed[0].log
        with patch.object(log._nodes, "node", side_effect=error):
            await both.owned[0].append([b"second\n"])
            await both.owned[1].append([b"second\n"])
            await trio.sleep(5.0)
            assert both.followed[1].held_bytes == both.owned[1].byte_length
            assert both.followed[0].held_bytes < both.owned[0].byte_length
            assert connection in both.us.swarm.connections.entries
        await trio.sleep(2 * STORE_REST_SECONDS)
        await both.grow(b"third\n")
    assert len(bugs) == 1


async def test_a_bug_in_publishing_keeps_nothing_from_being_durable(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world(tmp_path) as both:
        failing = FailsOnce(both.owner.swarm.head_published)
        with patch.object(both.owner.swarm, "head_published", failing):
            await both.owned[0].append([b"second\n"])
            await both.owned[0].sync()
            assert failing.count == 1
            await both.grow(b"third\n")


async def test_a_bug_in_making_durable_ends_the_waits_for_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world(tmp_path) as both:
        with patch("protozorfs.log.sync.PendingSync.run", side_effect=Bug("injected")):
            await both.owned[0].append([b"second\n"])
            with pytest.raises(StoreError, match="failed to keep"), trio.fail_after(LONG):
                await both.owned[0].sync()
        await both.owned[1].append([b"second\n"])
        await both.owned[1].sync()


async def test_a_bug_in_the_upkeep_of_the_store_is_of_that_time_only(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world(tmp_path) as both:
        feeds, pool = both.us.feeds, both.us.feeds._store.pool
        closing, discarding = FailsOnce(pool.close_unused), FailsOnce(feeds._discard)
        for _ in range(2):
            visited = await feeds.visit(LIAR_FEED)
            visited.acquire()
            visited.release()
        with (
            patch.object(pool, "close_unused", closing),
            patch.object(feeds, "_discard", discarding),
        ):
            await trio.sleep(VISIT_SECONDS + 3 * UPKEEP_INTERVAL)
            assert closing.count == discarding.count == 1
            assert feeds.by_id(LIAR_FEED) is None, "the next look forgets it"


async def test_times_that_a_full_disk_has_no_room_for_are_kept_later(
    tmp_path: Path, autojump_clock: MockClock, bugs: list[str]
) -> None:
    bugs.append("Bug: injected")  # a full disk is none
    async with world(tmp_path) as both:
        names = both.us.feeds._store.names
        with patch.object(names, "_change", side_effect=StoreFull("no space")):
            await trio.sleep(2 * UPKEEP_INTERVAL)
            assert both.us.feeds.surroundings.grown
        await trio.sleep(2 * UPKEEP_INTERVAL)
        assert not both.us.feeds.surroundings.grown
    assert len(bugs) == 1


async def test_a_bug_in_the_recovery_of_one_feed_keeps_no_other_from_opening(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world(tmp_path) as both:
        store = both.us.feeds._store
        opened = [Bug("injected"), both.followed[1].log]
        with (
            patch("protozorfs.feeds.recovery.Log.open", side_effect=opened),
            patch.object(both.followed[0], "adopt_log") as first,
            patch.object(both.followed[1], "adopt_log") as second,
        ):
            await open_unclean(store, both.followed)
            assert (first.called, second.called) == (False, True)


# the DHT


@asynccontextmanager
async def world_with_dht(path: Path) -> AsyncIterator[tuple[World, DhtNode, ScriptedDht]]:
    nodes = {b"nodes": nodes_value(*range(8))}
    dht = ScriptedDht([Told(dict(nodes), record(7, 70), 7, None, None)])
    sockets = cast("Mapping[Family, UdpSocket]", {IPV4: dht})
    bootstrap = [contact(number).endpoint for number in range(3)]
    node = DhtNode(sockets, random=random.Random(2), rate=50, bootstrap=bootstrap)
    async with world(path, dht=node) as both:
        yield both, node, dht


ON_THE_DHT = [
    "node.engine.receive_datagram",
    "node.engine.datagrams_to_send",
    "node.engine.handle_timeout",
    "node._tell",
    "upkeep._learn",
    "upkeep.record_of",
    "upkeep.schedule.next_jobs",
    "upkeep._finds.search_ended",
]


@pytest.mark.parametrize("name", ON_THE_DHT)
async def test_a_bug_on_the_dht_is_of_that_datagram_turn_or_feed(
    tmp_path: Path, autojump_clock: MockClock, name: str
) -> None:
    async with world_with_dht(tmp_path) as (both, node, dht):
        upkeep = both.us.swarm.upkeep
        assert upkeep is not None
        first, *path, last = name.split(".")
        target: object = {"node": node, "upkeep": upkeep}[first]
        for part in path:
            target = getattr(target, part)
        failing = FailsOnce(getattr(target, last))
        with patch.object(target, last, failing):
            lied = await both.us.feeds.follow(LIAR_FEED, b"lied")
            await both.us.create(b"own")
            await trio.sleep(SOME_TURNS)
            assert failing.count == 1
            asked = dht.asked
            await trio.sleep(HEAD_INTERVAL * 1.2 if name == "upkeep._learn" else SOME_TURNS)
            assert dht.asked > asked, "the node takes part as before"
            assert lied.byte_length == 70
            await both.grow(b"second\n")


async def test_a_bug_in_keeping_dht_contacts_loses_these_only(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with world_with_dht(tmp_path) as (both, node, _):
        store = both.us.feeds._store
        with patch("protozorfs.app.save_state", FailsOnce(save_state)):
            _save_dht_state(store, node)
            assert not load_state(store.files)
            _save_dht_state(store, node)
        assert load_state(store.files)


# the LAN and the gateway


class LanEngine:
    """Hears what it is told to, and fails once at each thing that it does."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.sent = 0
        self.has_heard = trio.Event()
        self.has_sent = trio.Event()

    def receive_datagram(self, data: bytes, source: str, now: float) -> list[object]:
        self.heard.append(data)
        if len(self.heard) == 1:
            raise Bug("injected")
        self.has_heard.set()
        return []

    def messages_to_send(self, now: float) -> list[object]:
        self.sent += 1
        if self.sent == 1:
            raise Bug("injected")
        self.has_sent.set()
        return []

    def next_deadline(self) -> float | None:
        return None


class AnyLink:
    """A link all of whose senders are neighbours."""

    key = ("link",)

    def is_neighbour(self, source: object) -> bool:
        return True


async def test_a_bug_on_the_lan_is_of_that_datagram(bugs: list[str]) -> None:
    engine = LanEngine()
    node = LanNode(cast("LocalDiscovery", engine), PORT, lambda found: None, None)
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0))
    ours.setblocking(False)
    leg = node._legs["link",] = _Leg(cast("Link", AnyLink()), ours)
    with trio.fail_after(LONG), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node._receive_loop, leg)
            nursery.start_soon(node._send_loop)
            for data in (b"one", b"two"):
                sender.sendto(data, ours.getsockname())
            await engine.has_heard.wait()
            node.wake()
            await engine.has_sent.wait()
            nursery.cancel_scope.cancel()
    assert engine.heard == [b"one", b"two"]
    assert len(bugs) == 2


async def test_a_bug_at_the_gateway_is_tried_again_later(autojump_clock: MockClock) -> None:
    told: list[port_mapping.MappingState] = []
    with patch.object(port_mapping, "find_gateway", FailsOnce(lambda: None)):
        async with trio.open_nursery() as nursery:
            await nursery.start(port_mapping.keep_mapped, PORT, told.append)
            await trio.sleep(PAUSE_SECONDS)
            assert not told
            await trio.sleep(port_mapping.MAX_RETRY)
            nursery.cancel_scope.cancel()
    assert [state.why for state in told] == ["no gateway"]


async def test_a_peer_of_a_name_that_can_be_none_cannot_be_reached(
    tmp_path: Path, bugs: list[str]
) -> None:
    bugs.append("Bug: injected")  # what the user wrote is no bug of ours
    options = Options(
        bind="127.0.0.1",
        peers=(Address("a..b", 1),),
        bootstrap=(Address("a..b", 1),),
        nolan=True,
        noportmap=True,
    )
    async with open_node(tmp_path / "store", options) as node:
        (peer,) = node.swarm.connections.table
        with trio.fail_after(LONG):
            while not peer.was_tried:  # noqa: ASYNC110 - there is no event for it
                await trio.sleep(0.01)
        assert peer.why == "cannot be reached: that is not the name of a host"
    with pytest.raises(UsageError, match="not the name of a host"):
        async with open_node(tmp_path / "other", replace(options, bind="a..b")):
            pass
    assert len(bugs) == 1
