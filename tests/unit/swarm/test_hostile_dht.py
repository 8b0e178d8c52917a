"""A DHT all of whose nodes answer anything at all, under a whole node, and a feed's owner who lies.

In memory and on virtual time, as `test_hostile_peers`.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protozorfs import bencoding, crypto
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import IPV4, Endpoint
from protozorfs.dht.items import sign_item
from protozorfs.dht.node import DhtNode
from protozorfs.dht.udp import Received
from protozorfs.feeds.ports import FeedState
from protozorfs.ids import discovery_key_of
from protozorfs.log.hashing import signable
from protozorfs.swarm.head import RECORD_BYTES, encode_record
from protozorfs.swarm.peers import MAX_PEERS, MAX_PEERS_PER_FEED
from protozorfs.types import MAX_SAFE_INTEGER, Address, FeedId, Head, Signature, TreeHash
from tests.sizes import long_or_short
from tests.unit.dht.scripted import contact, nodes_value
from tests.unit.swarm.memory_net import PORT, MemoryNet, in_memory, memory_node
from tests.unit.swarm.watching import FAST_DIRECTORY, no_bugs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protozorfs.app import Node
    from protozorfs.dht.endpoint import Family
    from protozorfs.dht.outbound import Datagram
    from protozorfs.dht.udp import UdpSocket

US, OWNER = "10.0.0.1", "10.0.0.2"
LIAR = crypto.key_pair(b"\x66" * 32)
LIAR_FEED = FeedId(LIAR.public_key)
NODES = 30  # of the DHT; each is at a port of its own
CACHE_BYTES = 256 * 1024
OWN_ENDPOINT = Endpoint(bytes([127, 0, 0, 1]), 1)

Values = dict[bytes, bencoding.Encodable]


def record(length: int, byte_length: int, fork: int = 0, fill: int = 0) -> bytes:
    """A head that its owner has signed, of a tree that need not exist."""
    tree_hash = TreeHash(bytes([fill]) * 32)
    signature = crypto.sign(signable(tree_hash, length, fork), LIAR.secret_key)
    return encode_record(
        Head(
            fork=fork,
            length=length,
            byte_length=byte_length,
            tree_hash=tree_hash,
            signature=Signature(signature),
        )
    )


class Told(NamedTuple):
    """An answer of a node: these values, and an item of the liar's of this value and seq.

    `flip` changes a bit of the datagram; `error` is sent in place of all that.
    """

    values: Values
    value: bytes | None
    seq: int
    flip: int | None
    error: int | None


class Asked(NamedTuple):
    """A query of a node's own: the method, and what is in it."""

    method: bytes
    values: Values


def reply(told: Told, query: krpc.Query, number: int) -> bytes:
    if told.error is not None:
        error = krpc.KrpcError(told.error, "no")
        return krpc.encode_error(query.transaction, error, OWN_ENDPOINT)
    values: Values = {b"id": contact(number).node_id, b"token": b"token", **told.values}
    if told.value is not None:
        item = sign_item(LIAR, told.seq, told.value)
        values |= {b"k": item.public_key, b"seq": item.seq, b"sig": item.signature}
        values[b"v"] = bencoding.raw(item.raw_value)
    data = krpc.encode_response(query.transaction, values, OWN_ENDPOINT)
    if told.flip is not None:
        changed = bytearray(data)
        changed[told.flip % len(data)] ^= 1 << (told.flip >> 8 & 7)
        data = bytes(changed)
    return data


class ScriptedDht:
    """The UDP socket of our node, and every node that there is."""

    address = Address("127.0.0.1", 1)

    def __init__(self, script: list[Told | Asked]) -> None:
        self._script = script
        self._at = 0
        self._send, self._receive = trio.open_memory_channel[Received](10_000)
        self._chance = random.Random(1)
        self.asked = 0

    def close(self) -> None:
        self._send.close()

    async def receive(self) -> list[Received]:
        return [await self._receive.receive()]

    async def send(self, datagram: Datagram) -> None:
        query = krpc.decode_message(datagram.data)
        number = datagram.endpoint.port - contact(0).endpoint.port
        if not isinstance(query, krpc.Query) or not 0 <= number < NODES:
            return
        self.asked += 1
        self._at += 1
        move = self._script[self._at % len(self._script)]
        if isinstance(move, Asked):
            values: Values = {b"id": contact(number).node_id, **move.values}
            data = krpc.encode_query(b"abcd", move.method, values, is_read_only=False)
        else:
            data = reply(move, query, number)
        self._send.send_nowait(Received(data, datagram.endpoint, None))


async def with_dht(path: Path, net: MemoryNet, script: list[Told | Asked], minutes: int) -> None:
    dht = ScriptedDht(script)
    sockets = cast("Mapping[Family, UdpSocket]", {IPV4: dht})
    node = DhtNode(
        sockets,
        random=random.Random(2),
        rate=50,
        bootstrap=[contact(number).endpoint for number in range(3)],
    )
    owner_address = Address(OWNER, PORT)
    async with (
        memory_node(net, path / "ours", US, (owner_address,), dht=node) as ours,
        memory_node(net, path / "owner", OWNER) as owner,
    ):
        theirs, own = await owner.create(b"theirs"), await ours.create(b"own")
        followed = await ours.feeds.follow(theirs.feed_id, b"theirs")
        lied = await ours.feeds.follow(LIAR_FEED, b"lied")
        shown = 0
        for minute in range(minutes):
            await theirs.append([b"%d\n" % minute])
            await own.append([b"%d\n" % minute])
            await trio.sleep(60.0)
            assert lied.byte_length >= shown
            shown = lied.byte_length
            check(ours)
        content = b"".join(b"%d\n" % minute for minute in range(minutes))
        assert followed.reader.read_nowait(0, len(content) + 1) == content
        assert own.reader.read_nowait(0, len(content) + 1) == content
        assert (followed.state, own.state) == (FeedState.CURRENT, FeedState.OWNED)
        assert lied.held_bytes == 0
        assert dht.asked > NODES


def check(node: Node) -> None:
    """What others can make grow, and what the status shows."""
    table = node.swarm.connections.table
    assert len(table) <= MAX_PEERS
    for feed in node.feeds:
        found = [peer for peer in table if feed.feed_id in peer.feeds]
        assert len(found) <= MAX_PEERS_PER_FEED
        assert node.feeds.report(feed.feed_id).why


numbers = st.one_of(
    st.integers(0, 30),
    st.sampled_from([2**31, 2**52, MAX_SAFE_INTEGER]),
    st.integers(0, MAX_SAFE_INTEGER),
)
records = st.builds(record, numbers, numbers, st.sampled_from([0, 0, 0, 1]), st.integers(0, 2))
heads = st.tuples(numbers.map(lambda number: max(1, number)), numbers, st.integers(0, 2)).map(
    lambda head: (head[0], record(head[0], head[1], 0, head[2]))
)  # whose seq is their length, as it must be
others = st.tuples(
    numbers.map(lambda number: max(1, number)),
    st.one_of(records, st.binary(max_size=RECORD_BYTES + 1), st.binary(max_size=900)),
)
compact_peers = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(bytes([127, 0, 0, 1, 0, 0]), bytes([127, 0, 0, 1, 0, 1])),
                *(bytes(6), bytes([255] * 6), bytes([224, 0, 0, 1, 26, 225])),
                bytes([10, 0, 0, 1]) + PORT.to_bytes(2, "big"),
            ]
        ),
        st.binary(min_size=6, max_size=6),
        st.binary(max_size=20),
    ),
    max_size=50,
)
values = st.fixed_dictionaries(
    {
        b"nodes": st.one_of(
            st.lists(st.integers(0, NODES - 1), max_size=8).map(
                lambda chosen: nodes_value(*chosen)
            ),
            st.binary(max_size=300),
        )
    },
    optional={
        b"values": st.one_of(compact_peers, st.binary(max_size=12), st.integers()),
        b"token": st.one_of(st.binary(max_size=600), st.integers(), st.lists(st.integers())),
        b"seq": numbers,
        b"k": st.binary(max_size=40),
        b"sig": st.binary(max_size=70),
        b"v": st.one_of(st.binary(max_size=1100), st.integers(), st.lists(st.binary(max_size=9))),
        b"id": st.binary(max_size=24),
        b"ip": st.binary(max_size=20),
    },
)
told = st.builds(
    lambda values, item, flip, error: Told(
        values, None if item is None else item[1], 1 if item is None else item[0], flip, error
    ),
    values,
    st.one_of(st.none(), heads, heads, others),
    st.one_of(st.none(), st.none(), st.none(), st.integers(0, 2**16)),
    st.one_of(st.none(), st.none(), st.none(), st.integers(-10, 500)),
)
asked = st.builds(
    Asked,
    st.sampled_from([b"get", b"put", b"announce_peer", b"get_peers", b"find_node", b"x"]),
    st.fixed_dictionaries(
        {
            b"info_hash": st.just(discovery_key_of(LIAR_FEED)[:20]),
            b"target": st.binary(min_size=20, max_size=20),
            b"token": st.binary(max_size=20),
            b"port": st.integers(-1, 70_000),
        },
        optional={
            b"implied_port": st.integers(0, 2),
            b"seq": st.integers(),
            b"cas": st.integers(),
            b"k": st.just(LIAR.public_key),
            b"sig": st.binary(max_size=70),
            b"v": st.binary(max_size=1100),
        },
    ),
)


@given(st.lists(st.one_of(told, told, told, asked), min_size=1, max_size=30))
@settings(
    max_examples=long_or_short(1000, 8),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_dht_nodes_say_nothing_breaks(script: list[Told | Asked]) -> None:
    net = MemoryNet()
    with (
        tempfile.TemporaryDirectory(dir=FAST_DIRECTORY) as name,
        no_bugs(),
        in_memory(net, CACHE_BYTES),
    ):
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(with_dht, Path(name), net, script, long_or_short(20, 8), clock=clock)


async def test_no_record_makes_a_file_shorter(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    net = MemoryNet()
    dht = ScriptedDht([Told({b"nodes": b""}, None, 1, None, None)])
    sockets = cast("Mapping[Family, UdpSocket]", {IPV4: dht})
    node = DhtNode(sockets, random=random.Random(2), rate=50, bootstrap=())
    with in_memory(net, CACHE_BYTES):
        async with memory_node(net, tmp_path / "ours", US, dht=node) as ours:
            feed = await ours.feeds.follow(LIAR_FEED, b"lied")
            upkeep = ours.swarm.upkeep
            assert upkeep is not None
            shown = []
            for head in ((7, 70), (9, 3), (8, 69), (8, 70), (MAX_SAFE_INTEGER, 0), (10, 2**53 - 1)):
                upkeep._learn(feed, sign_item(LIAR, head[0], record(*head)))
                shown.append((feed.length, feed.byte_length))
                check(ours)
    assert shown == [(7, 70)] * 3 + [(8, 70)] * 2 + [(10, MAX_SAFE_INTEGER)]
