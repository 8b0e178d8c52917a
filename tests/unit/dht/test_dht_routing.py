"""The routing table."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.dht import routing
from protozorfs.dht.endpoint import Endpoint
from protozorfs.dht.krpc import Contact
from protozorfs.dht.node_id import NodeId, distance, make_node_id, random_id_at
from protozorfs.dht.routing import RoutingTable

OWN_ID = NodeId(bytes([0x55]) * 20)


def contact(source: random.Random, *, belongs: bool = True) -> Contact:
    """A node somewhere on the public network."""
    ip = bytes([source.randrange(11, 100)]) + source.randbytes(3)
    node_id = make_node_id(ip, source) if belongs else NodeId(source.randbytes(20))
    return Contact(node_id, Endpoint(ip, 6881))


def at_prefix(bits: int, number: int) -> Contact:
    """A node on loopback (any id goes with it) that shares so many bits with us."""
    return Contact(
        random_id_at(OWN_ID, bits, random.Random(number)),
        Endpoint(bytes([127, 0, 0, 1]), 2000 + number),
    )


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 600))
def test_closest_is_what_sorting_the_whole_table_gives(seed: int, count: int) -> None:
    source = random.Random(seed)
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(count):
        table.on_response(at_prefix(min(int(-8 * source.random() + 8), 8), number), 0.0)
    known = [entry.contact for entry in table.entries()]
    for target in (OWN_ID, source.randbytes(20), at_prefix(5, 7).node_id):
        expected = sorted(known, key=lambda node: distance(node.node_id, target))
        assert table.closest(target) == expected[:8]
        assert table.closest(target, 50) == expected[:50]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 500))
def test_invariants(seed: int, count: int) -> None:
    """MUST (BEP 5): only the bucket with our own id is split; buckets are bounded."""
    source = random.Random(seed)
    table = RoutingTable(OWN_ID, 0.0)
    for step in range(count):
        node = contact(source, belongs=source.random() < 0.7)
        table.on_response(node, float(step))
        if source.random() < 0.3 and len(table):
            table.on_timeout(source.choice(list(table.entries())).contact.endpoint)
    for index, bucket in enumerate(table._buckets):
        assert len(bucket.entries) <= routing._capacity(index)
        assert len(bucket.spares) <= routing.MAX_SPARES
        subnets = [entry.subnet for entry in bucket.entries]
        assert len(set(subnets)) == len(subnets)
        for entry in bucket.entries:
            assert table._index(entry.contact.node_id) == index
            assert table.find(entry.contact.endpoint) is entry
    assert len(table) == sum(len(bucket.entries) for bucket in table._buckets)


def test_a_full_far_bucket_keeps_its_old_nodes() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(300):
        table.on_response(at_prefix(0, number), 0.0)
    far = [entry.contact for entry in table.entries()]
    assert len(far) == routing.FIRST_BUCKET_SIZES[0]
    assert far[0] == at_prefix(0, 0)
    for number in range(300, 700):
        table.on_response(at_prefix(7, number), 0.0)
    assert len(table.closest(OWN_ID, 1000)) == len(far) + routing.BUCKET_SIZE


def test_a_bad_node_is_replaced_by_a_spare() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(140):
        table.on_response(at_prefix(0, number), 0.0)
    for number in range(200, 208):  # so that the first bucket is not the last one any more
        table.on_response(at_prefix(3, number), 0.0)
    table.on_response(at_prefix(0, 150), 0.0)
    lost = at_prefix(0, 5).endpoint
    table.on_timeout(lost)
    assert table.find(lost) is not None
    assert lost not in [node.endpoint for node in table.closest(at_prefix(0, 5).node_id)]
    table.on_timeout(lost)
    assert table.find(lost) is None
    assert table.find(at_prefix(0, 150).endpoint) is not None


def test_one_timeout_is_forgiven_by_an_answer() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    node = at_prefix(0, 1)
    for _ in range(5):
        table.on_response(node, 0.0)
        table.on_timeout(node.endpoint)
    assert table.find(node.endpoint) is not None


def test_nodes_with_genuine_ids_push_out_forged_ones() -> None:
    source = random.Random(4)
    table = RoutingTable(OWN_ID, 0.0)
    for _ in range(900):
        table.on_response(contact(source, belongs=False), 0.0)
    before = sum(entry.belongs for entry in table.entries())
    for _ in range(900):
        table.on_response(contact(source), 1.0)
    after = sum(entry.belongs for entry in table.entries())
    assert before < 5
    assert after > len(table) // 2


def test_one_entry_for_each_host_and_subnet() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    ip = bytes([8, 8, 4, 4])
    source = random.Random(5)
    first = Contact(make_node_id(ip, source), Endpoint(ip, 1111))
    table.on_response(first, 0.0)
    table.on_response(Contact(make_node_id(ip, source), Endpoint(ip, 2222)), 0.0)
    neighbour = bytes([8, 8, 4, 5])
    table.on_response(Contact(make_node_id(neighbour, source), Endpoint(neighbour, 1111)), 0.0)
    assert [entry.contact for entry in table.entries()] == [first]
    assert not table.would_take(Contact(make_node_id(ip, source), Endpoint(ip, 3333)), 0.0)
    assert table.would_take(contact(source), 0.0)


def test_a_host_may_change_its_id_once_an_hour() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    where = Endpoint(bytes([127, 0, 0, 1]), 5000)
    ids = [random_id_at(OWN_ID, 0, random.Random(number)) for number in range(4)]
    table.on_response(Contact(ids[0], where), 0.0)
    table.on_response(Contact(ids[1], where), 1.0)
    entry = table.find(where)
    assert entry is not None
    assert entry.contact.node_id == ids[1]
    table.on_response(Contact(ids[2], where), 2.0)
    assert table.find(where) is None
    table.on_response(Contact(ids[2], where), 3.0)
    assert table.find(where) is None
    table.on_response(Contact(ids[3], where), 3.0 + routing.ID_CHANGE_MEMORY)
    assert table.find(where) is not None


def test_ourselves_are_not_in_our_table() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    table.on_response(Contact(OWN_ID, at_prefix(0, 1).endpoint), 0.0)
    assert len(table) == 0


def test_silent_nodes_are_pinged_the_longest_silent_first() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(3):
        table.on_response(at_prefix(0, number), float(number))
    assert table.next_to_ping(100.0) is None
    due = routing.PING_AFTER + 10.0
    assert table.next_to_ping(due) == at_prefix(0, 0)
    table.on_asked(at_prefix(0, 0).endpoint, due)
    assert table.next_to_ping(due) == at_prefix(0, 1)
    table.on_timeout(at_prefix(0, 0).endpoint)  # is asked again soon, to be sure
    for number in (1, 2):
        table.on_response(at_prefix(0, number), due)
    assert table.next_to_ping(due + 1.0) is None
    assert table.next_to_ping(due + routing.RETRY_INTERVAL) == at_prefix(0, 0)
    assert table.freshest() in (at_prefix(0, 1), at_prefix(0, 2))


def test_a_query_of_a_known_node_shows_that_it_is_up() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    node = at_prefix(0, 1)
    table.on_response(node, 0.0)
    table.on_query(Contact(at_prefix(0, 2).node_id, node.endpoint), 800.0)  # not who it says
    assert table.good_count(950.0) == 0
    table.on_query(node, 800.0)
    assert table.good_count(950.0) == 1


@pytest.mark.parametrize(("nodes", "interval"), [(3, routing.GOOD_TIME), (20, 3600.0)])
def test_buckets_are_refreshed(nodes: int, interval: float) -> None:
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(nodes):
        table.on_response(at_prefix(0, number), 0.0)
    assert table.bucket_to_refresh(interval - 1.0) is None
    assert table.bucket_to_refresh(interval) == 0
    assert table.bucket_to_refresh(interval) is None


def test_a_new_id_keeps_the_nodes() -> None:
    table = RoutingTable(OWN_ID, 0.0)
    for number in range(40):
        table.on_response(at_prefix(number % 4, number), 5.0)
    moved = table.with_id(NodeId(bytes(20)), 10.0)
    assert {entry.contact for entry in moved.entries()} == {
        entry.contact for entry in table.entries()
    }
    assert all(entry.responded_at == 5.0 for entry in moved.entries())
