"""The engine against whatever comes over the wire, and across restarts."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs import bencoding, crypto
from protozorfs.dht import krpc, rate_limits
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint, Family, LocalAddress
from protozorfs.dht.engine import Engine
from protozorfs.dht.items import sign_item
from protozorfs.dht.node_id import NodeId, belongs_to
from tests.unit.dht.scripted import Surroundings, contact, holding, plain

PAIR = crypto.key_pair(bytes([3]) * 32)
ITEM = sign_item(PAIR, 4, b"hello")
STRANGER = Endpoint(bytes([8, 8, 4, 4]), 6881)

junk = st.one_of(
    st.binary(max_size=40),
    st.integers(-(2**63), 2**63),
    st.lists(st.binary(max_size=30), max_size=3),
    st.dictionaries(st.binary(max_size=3), st.binary(max_size=9), max_size=3),
)
names = st.sampled_from(
    b"id target info_hash token port k v seq sig salt cas nodes nodes6 values want".split()
)
bodies = st.dictionaries(names, junk | st.binary(min_size=20, max_size=20), max_size=8)
methods = st.sampled_from(
    [b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put", b"x"]
)
messages = st.fixed_dictionaries(
    {b"t": st.binary(max_size=5), b"y": st.sampled_from([b"q", b"r", b"e", b"z"])},
    optional={b"q": methods, b"a": bodies | junk, b"r": bodies | junk, b"e": junk, b"ip": junk},
)


def new_engine(families: tuple[Family, ...] = (IPV4,)) -> Engine:
    return Engine(families=families, random=random.Random(1), now=0.0)


def ping(transaction: bytes = b"tt", *, node_id: bytes = b"a" * 20) -> bytes:
    return krpc.encode_query(transaction, b"ping", {b"id": node_id}, is_read_only=False)


@settings(max_examples=300)
@given(messages | junk)
def test_no_datagram_raises_or_is_answered_beyond_the_limit(
    root: bencoding.Encodable,
) -> None:
    engine = new_engine((IPV4, IPV6))
    data = bencoding.encode(root)
    engine.receive_datagram(data, STRANGER, 1.0)
    replies = [reply for reply, to, _ in engine.datagrams_to_send(1.0) if to == STRANGER]
    assert len(replies) <= 1
    for reply in replies:
        query = krpc.decode_message(data)
        assert isinstance(query, krpc.Query)
        assert krpc.decode_message(reply).transaction == query.transaction
        assert len(reply) <= rate_limits.MAX_REPLY_BYTES


@settings(max_examples=200)
@given(bodies, st.booleans())
def test_no_reply_of_a_node_that_was_asked_raises(
    values: dict[bytes, bencoding.Encodable], with_item: bool
) -> None:
    world = Surroundings({0: plain})
    world.scripts[contact(0).endpoint] = (
        0,
        lambda query: {**plain(query), **values} if query.method == b"get" else plain(query),
    )
    if with_item:
        world.scripts[contact(0).endpoint] = (
            0,
            lambda query: (
                {**(holding(ITEM)(query) or {}), **values}  # type: ignore[dict-item]
                if query.method == b"get"
                else plain(query)
            ),
        )
    operation = world.engine.put_item(sign_item(PAIR, 5, b"x"))
    world.finish(operation)
    assert operation.best is None or operation.best.public_key == PAIR.public_key


@settings(max_examples=100)
@given(st.binary(max_size=100))
def test_noise_is_not_answered(data: bytes) -> None:
    engine = new_engine()
    engine.receive_datagram(data, STRANGER, 1.0)
    assert [to for _, to, _ in engine.datagrams_to_send(1.0)] == []


@pytest.mark.parametrize(
    "source",
    [Endpoint(bytes(4), 6881), Endpoint(bytes([224, 0, 0, 1]), 6881), Endpoint(STRANGER.ip, 53)],
)
def test_sources_that_cannot_be_nodes_are_not_answered(source: Endpoint) -> None:
    engine = new_engine()
    engine.receive_datagram(ping(), source, 1.0)
    assert engine.datagrams_to_send(1.0) == []


def test_the_other_family_is_not_ours() -> None:
    engine = new_engine()
    engine.receive_datagram(ping(), Endpoint(b"\x20" + bytes(15), 6881), 1.0)
    assert engine.datagrams_to_send(1.0) == []


def test_a_long_transaction_id_is_not_echoed() -> None:
    engine = new_engine()
    engine.receive_datagram(ping(bytes(32)), STRANGER, 1.0)
    engine.receive_datagram(ping(bytes(33)), STRANGER, 1.0)
    (reply,) = engine.datagrams_to_send(1.0)
    assert len(reply[0]) < 200


def test_a_reply_leaves_from_where_its_query_was_sent_to() -> None:
    """What the sockets said of it comes back with the reply; queries of ours leave from any."""
    engine = new_engine()
    for local in (LocalAddress(b"one"), LocalAddress(b"other"), None):
        engine.receive_datagram(ping(repr(local).encode()), STRANGER, 1.0, local)
    replies = {
        krpc.decode_message(data).transaction: at for data, _, at in engine.datagrams_to_send(1.0)
    }
    assert replies == {repr(local).encode(): local for local in (b"one", b"other", None)}
    engine.handle_timeout(6.0)
    ((data, to, local),) = engine.datagrams_to_send(6.0)
    assert isinstance(krpc.decode_message(data), krpc.Query)
    assert (to, local) == (STRANGER, None)


def test_a_query_plants_nobody_in_the_table() -> None:
    """A source can be forged: it gets one ping, and an entry only for its answer."""
    engine = new_engine()
    for number in range(10):
        engine.receive_datagram(ping(), STRANGER, 1.0 + number / 100)
    sent = []
    for tick in range(200):
        now = 2.0 + tick / 10
        engine.handle_timeout(now)
        sent += [data for data, to, _ in engine.datagrams_to_send(now) if to == STRANGER]
    pings = [message for message in map(krpc.decode_message, sent) if type(message) is krpc.Query]
    assert len(pings) == 1
    assert len(engine.networks[IPV4].table) == 0


def test_a_flood_is_cheap_and_leaves_nothing_behind() -> None:
    """50 000 packets in 5 s from 100 hosts: few are answered, memory stays where it was."""
    engine = new_engine()
    source = random.Random(2)
    hosts = [Endpoint(bytes([20 + number, 1, 1, 1]), 6881) for number in range(100)]

    def flood(start: float, packets: int) -> int:
        answered = 0
        for number in range(packets):
            now = start + number / 10_000
            data = ping(number.to_bytes(4, "big"), node_id=source.randbytes(20))
            engine.receive_datagram(data, hosts[number % 100], now)
            if number % 50 == 0:
                engine.handle_timeout(now)
                answered += len(engine.datagrams_to_send(now))
        return answered

    flood(1.0, 10_000)
    tracemalloc.start()
    answered = flood(2.0, 20_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answered <= 2 * engine.budget.rate + 10
    assert grown < 300_000


def test_a_host_gets_no_more_bytes_than_allowed() -> None:
    world = Surroundings({0: plain}, rate=10_000)
    engine = world.engine
    asker = contact(0).endpoint._replace(port=999 + 9000)
    query = krpc.encode_query(
        b"tt", b"get", {b"id": b"a" * 20, b"target": ITEM.target}, is_read_only=False
    )
    engine.answers.items.put_mutable(
        sign_item(PAIR, 9, bytes(996)), None, b"", NodeId(bytes(20)), 0.0
    )
    total = 0
    for number in range(1000):
        engine.receive_datagram(query, asker, 10.0 + number / 100)
        sent = engine.datagrams_to_send(10.0 + number / 100)
        total += sum(len(data) for data, to, _ in sent if to == asker)
    limit = rate_limits.REPLY_BYTES_BURST + 10 * rate_limits.REPLY_BYTES_PER_SECOND
    assert 10_000 < total <= limit


def test_a_forged_reply_does_not_count() -> None:
    """Right transaction id, wrong port; right port, wrong transaction id."""
    world = Surroundings({0: holding(ITEM)})
    operation = world.engine.get_item(PAIR.public_key)
    world.run(0.01)
    ((_, query),) = world.queries(b"get")
    values = {b"id": contact(0).node_id, b"nodes": b"", b"token": b"forged"}
    elsewhere = contact(0).endpoint._replace(port=5)
    forged = krpc.encode_response(query.transaction, values, elsewhere)
    world.engine.receive_datagram(forged, elsewhere._replace(port=5555), world.now)
    other = krpc.encode_response(b"guess", values, elsewhere)
    world.engine.receive_datagram(other, contact(0).endpoint, world.now)
    world.finish(operation)
    assert operation.best == ITEM


def test_id_and_contacts_are_kept_across_restarts() -> None:
    world = Surroundings(dict.fromkeys(range(12), plain))
    (saved,) = world.engine.saved()
    assert len(saved.contacts) >= 8
    engine = Engine(families=[IPV4], random=random.Random(2), now=0.0, saved=[saved])
    assert engine.networks[IPV4].table.own_id == saved.node_id
    asked = {to for _, to, _ in engine.datagrams_to_send(0.0)}
    assert asked <= {contact.endpoint for contact in saved.contacts}
    assert asked


def test_a_saved_id_that_does_not_belong_to_its_address_is_not_used() -> None:
    (saved,) = Surroundings({0: plain}).engine.saved()
    moved = type(saved)(
        family=IPV4, node_id=NodeId(bytes(20)), external_ip=bytes([8, 8, 4, 4]), contacts=()
    )
    engine = Engine(families=[IPV4], random=random.Random(2), now=0.0, saved=[moved])
    own_id = engine.networks[IPV4].table.own_id
    assert own_id != moved.node_id
    assert belongs_to(own_id, bytes([8, 8, 4, 4]))


def test_ipv6_is_found_by_way_of_ipv4() -> None:
    """BEP 32: `want` while bootstrapping; hints of one network lead into the other."""
    six = krpc.Contact(contact(1).node_id, Endpoint(bytes(15) + b"\1", 6881))
    four = contact(0)
    engine = Engine(
        families=[IPV4, IPV6], random=random.Random(1), now=0.0, bootstrap=[four.endpoint]
    )
    reached = []
    for tick in range(40):
        now = tick / 10
        engine.handle_timeout(now)
        for data, to, _ in engine.datagrams_to_send(now):
            query = krpc.decode_message(data)
            assert isinstance(query, krpc.Query)
            if to.family == IPV6:
                reached.append(to)
            elif query.method == b"find_node" and query.arguments.get(b"want"):
                values = {b"id": four.node_id, b"nodes6": krpc.encode_contacts([six])}
                reply = krpc.encode_response(query.transaction, values, STRANGER)
                engine.receive_datagram(reply, to, now + 0.01)
    assert six.endpoint in reached
