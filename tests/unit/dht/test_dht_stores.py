"""What is kept for others: the rules of BEP 44 and the bounds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from protozorfs import crypto
from protozorfs.dht import item_store, krpc, peer_store
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint
from protozorfs.dht.items import SignedItem, sign_item
from protozorfs.dht.node_id import NodeId
from protozorfs.types import PublicKey

OWN_ID = NodeId(bytes(20))
HOST = b"\x08\x08\x04\x04"
PAIR = crypto.key_pair(bytes([1]) * 32)


def item_of(number: int) -> SignedItem:
    """An item of its own target; the store does not look at signatures."""
    some = sign_item(PAIR, 1, b"")
    return replace(some, public_key=PublicKey(number.to_bytes(32, "big")))


def put(store: item_store.ItemStore, item: SignedItem, cas: int | None = None) -> int | None:
    """The error code of a put, None if it was taken."""
    try:
        store.put_mutable(item, cas, HOST, OWN_ID, 0.0)
    except krpc.KrpcError as error:
        return error.code
    return None


def test_seq_and_cas() -> None:
    store = item_store.ItemStore()
    first, other, second = (
        sign_item(PAIR, 4, b"a"),
        sign_item(PAIR, 4, b"b"),
        sign_item(PAIR, 5, b"c"),
    )
    assert put(store, first, cas=3) is None  # nothing is stored yet: cas has nothing to say
    assert put(store, first) is None  # the same again refreshes
    assert put(store, other) == krpc.SEQ_TOO_LOW
    assert put(store, sign_item(PAIR, 3, b"a")) == krpc.SEQ_TOO_LOW
    assert put(store, second, cas=3) == krpc.CAS_MISMATCH
    assert put(store, second, cas=4) is None
    assert store.get(second.target, 0.0) == second
    assert put(store, first, cas=5) == krpc.SEQ_TOO_LOW


def test_items_live_two_hours() -> None:
    store = item_store.ItemStore()
    item = sign_item(PAIR, 1, b"")
    put(store, item)
    assert store.get(item.target, 7199.0) == item
    assert store.get(item.target, 7200.0) is None
    store.expire(7200.0)
    assert len(store) == 0


def test_one_host_cannot_fill_the_item_store() -> None:
    store = item_store.ItemStore()
    for number in range(item_store.MAX_ITEMS_PER_SOURCE):
        assert put(store, item_of(number)) is None
    assert put(store, item_of(9999)) == krpc.SERVER_ERROR
    assert put(store, item_of(3)) is None  # what is there may be renewed
    store.expire(7200.0)
    assert put(store, item_of(9999)) is None


def test_a_full_item_store_keeps_what_is_near() -> None:
    store = item_store.ItemStore()
    source = random.Random(1)
    for number in range(3 * item_store.MAX_STORED_ITEMS):
        host = number.to_bytes(4, "big")
        target = NodeId(source.randbytes(20))
        try:
            store.put_immutable(target, b"1:a", host, OWN_ID, 0.0)
        except krpc.KrpcError as error:
            assert error.code == krpc.SERVER_ERROR  # noqa: PT017
    assert len(store) == item_store.MAX_STORED_ITEMS
    near = NodeId(bytes(19) + b"\1")
    store.put_immutable(near, b"1:b", b"near", OWN_ID, 0.0)
    assert store.get(near, 0.0) == b"1:b"
    assert len(store) == item_store.MAX_STORED_ITEMS
    with pytest.raises(krpc.KrpcError):
        store.put_immutable(NodeId(b"\xff" * 20), b"1:c", b"far", OWN_ID, 0.0)


def endpoint(number: int, port: int = 6881) -> Endpoint:
    return Endpoint((0x08000000 + number).to_bytes(4, "big"), port)


def test_peers_are_sampled_by_family_and_expire() -> None:
    store, source = peer_store.PeerStore(), random.Random(2)
    infohash = NodeId(bytes(20))
    for number in range(100):
        store.add(infohash, endpoint(number), OWN_ID, 0.0)
    other = Endpoint(bytes.fromhex("20010db8000000000000000000000001"), 1)
    store.add(infohash, other, OWN_ID, 0.0)
    sample = store.sample(infohash, IPV4, 50, source, 1.0)
    assert len(set(sample)) == 50
    assert store.sample(infohash, IPV4, 50, source, 1.0) != sample
    assert store.sample(infohash, IPV6, 50, source, 1.0) == [other]
    store.add(infohash, endpoint(5), OWN_ID, 100.0)
    late = peer_store.PEER_LIFETIME
    assert store.sample(infohash, IPV4, 50, source, late) == [endpoint(5)]
    store.expire(late + 100.0)
    assert len(store) == 0


def test_peer_store_bounds() -> None:
    store, source = peer_store.PeerStore(), random.Random(3)
    infohash = NodeId(bytes(20))
    for number in range(2 * peer_store.MAX_PEERS_PER_INFOHASH):
        store.add(infohash, endpoint(number), OWN_ID, float(number))
    kept = store.sample(infohash, IPV4, 10_000, source, 400.0)
    assert len(kept) == peer_store.MAX_PEERS_PER_INFOHASH
    assert endpoint(2 * peer_store.MAX_PEERS_PER_INFOHASH - 1) in kept  # the oldest went

    other = NodeId(b"\1" * 20)
    for port in range(1, 1 + peer_store.MAX_PEERS_PER_HOST):
        store.add(other, endpoint(1, port), OWN_ID, 0.0)
    with pytest.raises(krpc.KrpcError):
        store.add(other, endpoint(1, 999), OWN_ID, 0.0)

    for number in range(2, peer_store.MAX_INFOHASHES):
        store.add(NodeId(number.to_bytes(20, "big")), endpoint(10_000 + number), OWN_ID, 0.0)
    assert len(store) == peer_store.MAX_INFOHASHES
    with pytest.raises(krpc.KrpcError):
        store.add(NodeId(b"\xff" * 20), endpoint(77_777), OWN_ID, 0.0)


def test_one_host_cannot_announce_everything() -> None:
    store = peer_store.PeerStore()
    for number in range(peer_store.MAX_INFOHASHES_PER_HOST):
        store.add(NodeId(number.to_bytes(20, "big")), endpoint(1), OWN_ID, 0.0)
    with pytest.raises(krpc.KrpcError):
        store.add(NodeId(b"\xff" * 20), endpoint(1), OWN_ID, 0.0)
    store.add(NodeId(b"\xff" * 20), endpoint(2), OWN_ID, 0.0)
