"""Messages, addresses, ids and items against the vectors."""

from __future__ import annotations

import ipaddress
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs import bencoding, crypto
from protozorfs.dht import items, krpc, node_id
from protozorfs.dht.endpoint import (
    IPV4,
    IPV6,
    Endpoint,
    decode_peer,
    encode_peer,
    host_key,
    is_local,
    is_plausible,
    is_usable,
    parse_endpoint,
    subnet_key,
)
from protozorfs.errors import DecodeError
from protozorfs.types import Address, PublicKey, Signature

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "dht.json").read_text()
)
ENDPOINT = Endpoint(bytes([203, 0, 113, 9]), 6881)
ID = node_id.NodeId(b"abcdefghij0123456789")


def named(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.get("name"))


# --- krpc -----------------------------------------------------------------------------------


@named(VECTORS["krpc"])
def test_krpc_vectors_are_decoded_and_encoded_again(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    message = krpc.decode_message(data)
    kinds = {"query": krpc.Query, "response": krpc.Response, "error": krpc.ErrorReply}
    assert type(message) is kinds[case["kind"]]
    assert message.transaction == b"aa"
    if isinstance(message, krpc.Query):
        assert case["name"].startswith(message.method.decode())
        assert message.sender_id == ID
        arguments: dict[bytes, bencoding.Encodable] = {**message.arguments}
        if message.raw_value is not None:
            arguments[b"v"] = bencoding.raw(message.raw_value)
        assert data == krpc.encode_query(
            b"aa", message.method, arguments, is_read_only=message.is_read_only
        )
        assert message.is_read_only == ("read-only" in case["name"])
    if not isinstance(message, krpc.ErrorReply):
        assert (message.raw_value or b"").hex() == case.get("raw_v", "")


@named([case for case in VECTORS["captured"] if case["reply"] is not None])
def test_captured_exchanges_are_understood(case: dict[str, Any]) -> None:
    query = krpc.decode_message(bytes.fromhex(case["query"]))
    reply = krpc.decode_message(bytes.fromhex(case["reply"]))
    assert isinstance(query, krpc.Query)
    assert not isinstance(reply, krpc.Query)
    assert reply.transaction == query.transaction
    if case["impl"].startswith("libtorrent"):  # BEP 42's `ip`, in errors too
        assert reply.own_endpoint == Endpoint(bytes([127, 0, 0, 1]), 24567)
    if query.method == b"find_node":
        assert isinstance(reply, krpc.Response)
        assert krpc.read_contacts(reply.values, IPV4)
    if case["name"] == "get_peers, one":
        assert isinstance(reply, krpc.Response)
        assert [peer.port for peer in krpc.read_peers(reply.values)] == [7000]
    if case["name"] == "get, found":
        assert isinstance(reply, krpc.Response)
        key = PublicKey(bytes(reply.values[b"k"]))  # type: ignore[arg-type]
        salt = bytes.fromhex(case["salt"])
        item = items.read_item(reply.values, reply.raw_value, key, salt)
        assert items.verify_item(item) is item
        assert (item.seq, item.value) == (4, b"hello")
    if case["name"].endswith(("lower seq", "cas 3", "bad token")):
        assert isinstance(reply, krpc.ErrorReply)
        assert reply.code in (krpc.SEQ_TOO_LOW, krpc.CAS_MISMATCH, krpc.PROTOCOL_ERROR)


def test_nodes_and_peers_of_the_vectors() -> None:
    by_name = {case["name"]: bytes.fromhex(case["hex"]) for case in VECTORS["krpc"]}
    response = krpc.decode_message(by_name["find_node, two v4 nodes"])
    assert isinstance(response, krpc.Response)
    contacts = krpc.read_contacts(response.values, IPV4)
    assert [str(contact.endpoint) for contact in contacts] == ["1.2.3.4:6881", "5.6.7.8:51413"]
    assert krpc.encode_contacts(contacts) == response.values[b"nodes"]
    assert krpc.read_contacts(response.values, IPV6) == []
    response = krpc.decode_message(by_name["find_node, v6"])
    assert isinstance(response, krpc.Response)
    assert [str(contact.endpoint) for contact in krpc.read_contacts(response.values, IPV6)] == [
        "[2001:db8::5]:6881"
    ]
    response = krpc.decode_message(by_name["get_peers, two peers"])
    assert isinstance(response, krpc.Response)
    assert len(krpc.read_peers(response.values)) == 2


def test_lists_are_cut_to_what_is_whole_and_allowed() -> None:
    record = ID + encode_peer(ENDPOINT)
    assert len(krpc.read_contacts({b"nodes": record + record[:25]}, IPV4)) == 1
    assert len(krpc.read_contacts({b"nodes": record * 50}, IPV4)) == krpc.MAX_NODES_READ
    peers: list[bencoding.Value] = [encode_peer(ENDPOINT)] * 300
    assert len(krpc.read_peers({b"values": peers})) == krpc.MAX_PEERS_READ
    mixed: list[bencoding.Value] = [bytes(18), bytes(7), 5, bytes(6)]
    assert len(krpc.read_peers({b"values": mixed})) == 2
    assert krpc.read_peers({b"values": b"no list"}) == []


@pytest.mark.parametrize(
    "root",
    [
        {b"t": b"aa", b"y": b"x", b"z": bytes(20)},
        {b"t": bytes(33), b"y": b"q", b"q": b"ping", b"a": {b"id": ID}},
        {b"t": 5, b"y": b"q", b"q": b"ping", b"a": {b"id": ID}},
        {b"y": b"q", b"q": b"ping", b"a": {b"id": ID}},
        {b"t": b"aa", b"y": b"q", b"q": 5, b"a": {b"id": ID}},
        {b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": [ID]},
        {b"t": b"aa", b"y": b"r", b"r": {b"id": ID[:19]}},
        {b"t": b"aa", b"y": b"r", b"r": [ID]},
        {b"t": b"aa", b"y": b"e", b"e": {b"id": ID}},
        {b"t": b"aa", b"y": b"e", b"e": [203], b"z": bytes(20)},
        {b"t": b"aa", b"y": b"e", b"e": [b"203", b"wrong type"]},
        {b"t": b"a"},
    ],
)
def test_what_is_no_message_is_refused(root: dict[bytes, bencoding.Encodable]) -> None:
    with pytest.raises(DecodeError):
        krpc.decode_message(bencoding.encode(root))


def test_own_responses_and_errors() -> None:
    data = krpc.encode_response(b"zz", {b"id": ID}, ENDPOINT)
    response = krpc.decode_message(data)
    assert isinstance(response, krpc.Response)
    assert (response.sender_id, response.own_endpoint) == (ID, ENDPOINT)
    data = krpc.encode_error(b"zz", krpc.KrpcError(krpc.SEQ_TOO_LOW, "old"), ENDPOINT)
    error = krpc.decode_message(data)
    assert isinstance(error, krpc.ErrorReply)
    assert (error.code, error.text, error.own_endpoint) == (302, b"old", ENDPOINT)


# --- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["compact"], ids=lambda case: case["what"])
def test_compact_vectors(case: dict[str, Any]) -> None:
    endpoint = parse_endpoint(Address(case["host"], case["port"]))
    compact = bytes.fromhex(case["hex"])
    if "id" in case:
        contact = krpc.Contact(node_id.NodeId(bytes.fromhex(case["id"])), endpoint)
        assert krpc.encode_contacts([contact]) == compact
        key = krpc.NODES_KEY[endpoint.family]
        assert krpc.read_contacts({key: compact}, endpoint.family) == [contact]
    else:
        assert encode_peer(endpoint) == compact
        assert decode_peer(compact) == endpoint
    assert endpoint.to_address() == Address(case["host"], case["port"])


def _endpoint(host: str, port: int = 6881) -> Endpoint:
    return parse_endpoint(Address(host, port))


@pytest.mark.parametrize(
    ("host", "usable"),
    [
        ("203.0.113.9", True),
        ("127.0.0.1", True),
        ("2001:db8::1", True),
        ("0.0.0.0", False),
        ("224.0.0.251", False),
        ("255.255.255.255", False),
        ("::", False),
        ("ff02::1", False),
        ("::ffff:8.8.8.8", False),
    ],
)
def test_usable_addresses(host: str, usable: bool) -> None:
    assert is_usable(_endpoint(host)) == usable
    assert not is_usable(_endpoint(host, 0))
    assert not is_usable(_endpoint(host, 53))


def test_only_local_nodes_may_name_local_addresses() -> None:
    out_there, private, loopback = _endpoint("8.8.4.4"), _endpoint("10.1.2.3"), _endpoint("::1")
    assert is_plausible(out_there, out_there.ip)
    assert is_plausible(private, private.ip)
    assert is_plausible(loopback, private.ip)
    assert not is_plausible(private, out_there.ip)
    assert not is_plausible(loopback, out_there.ip)


def test_hosts_and_subnets() -> None:
    assert host_key(_endpoint("8.8.4.4", 1)) == host_key(_endpoint("8.8.4.4", 2))
    assert host_key(_endpoint("127.0.0.1", 1)) != host_key(_endpoint("127.0.0.1", 2))
    assert subnet_key(_endpoint("8.8.4.4")) == subnet_key(_endpoint("8.8.4.5"))
    assert subnet_key(_endpoint("8.8.4.4")) != subnet_key(_endpoint("8.8.5.4"))
    assert subnet_key(_endpoint("2a00:1::1:1")) == subnet_key(_endpoint("2a00:1::2:1"))
    assert subnet_key(_endpoint("2a00:1::1")) != subnet_key(_endpoint("2a00:1:0:1::1"))
    assert subnet_key(_endpoint("10.0.0.1")) != subnet_key(_endpoint("10.0.0.2"))


def test_a_name_is_no_endpoint() -> None:
    with pytest.raises(DecodeError):
        parse_endpoint(Address("router.example", 6881))
    with pytest.raises(DecodeError):
        decode_peer(bytes(7))


# --- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["bep42"], ids=lambda case: f"{case['ip']}-{case['id']}")
def test_bep42_vectors(case: dict[str, Any]) -> None:
    ip = ipaddress.ip_address(case["ip"]).packed
    an_id = bytes.fromhex(case["id"])
    assert an_id[-1] == case["r"]
    assert node_id.belongs_to(an_id, ip) == case["valid"]


@settings(max_examples=50)
@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), st.integers())
def test_made_ids_belong_to_their_address(ip: bytes, seed: int) -> None:
    made = node_id.make_node_id(ip, random.Random(seed))
    assert len(made) == node_id.ID_BYTES
    assert node_id.belongs_to(made, ip)
    flipped = bytes([made[0] ^ 0x80]) + made[1:]
    assert node_id.belongs_to(flipped, ip) == is_local(ip)


@pytest.mark.parametrize(
    "network", VECTORS["bep42_exempt"] + VECTORS["bep42_exempt_also_by_libtorrent"]
)
def test_exempt_networks(network: str) -> None:
    parsed = ipaddress.ip_network(network)
    for address in (parsed.network_address, parsed.broadcast_address):
        assert node_id.belongs_to(bytes(20), address.packed)


def test_crc32c() -> None:
    check = VECTORS["crc32c_check"]
    assert f"{node_id.crc32c(bytes.fromhex(check['input'])):08x}" == check["crc32c"]


@pytest.mark.parametrize("case", VECTORS["distance"])
def test_distance_vectors(case: dict[str, Any]) -> None:
    left, right = bytes.fromhex(case["a"]), bytes.fromhex(case["b"])
    assert node_id.distance(left, right) == int(case["xor"], 16)
    assert node_id.common_prefix_bits(left, right) == case["common_prefix_bits"]


@settings(max_examples=50)
@given(st.binary(min_size=20, max_size=20), st.integers(0, 159), st.integers())
def test_random_ids_fall_into_their_bucket(own: bytes, bits: int, seed: int) -> None:
    made = node_id.random_id_at(node_id.NodeId(own), bits, random.Random(seed))
    assert node_id.common_prefix_bits(own, made) == bits


# --- items ----------------------------------------------------------------------------------


def _item(case: dict[str, Any]) -> items.SignedItem:
    return items.SignedItem(
        public_key=PublicKey(bytes.fromhex(case["k"])),
        salt=bytes.fromhex(case["salt"]),
        seq=case["seq"],
        raw_value=bytes.fromhex(case["v"]),
        signature=Signature(bytes.fromhex(case["sig"])),
    )


@named(VECTORS["bep44_published"] + VECTORS["mutable_items"])
def test_item_vectors(case: dict[str, Any]) -> None:
    item = _item(case)
    assert items.signed_bytes(item.salt, item.seq, item.raw_value).hex() == case["signed"]
    assert item.target.hex() == case["target"]
    assert items.verify_item(item) is item
    if "seed" in case and item.value is not None:
        pair = crypto.key_pair(bytes.fromhex(case["seed"]))
        assert items.sign_item(pair, item.seq, item.value, item.salt) == item


@named(VECTORS["invalid_mutable_items"])
def test_invalid_item_vectors(case: dict[str, Any]) -> None:
    assert items.verify_item(_item(case)) is None


def test_published_targets() -> None:
    for case in VECTORS["bep46_published_targets"]:
        target = items.mutable_target(bytes.fromhex(case["k"]), bytes.fromhex(case["salt"]))
        assert target.hex() == case["target"]
    immutable = VECTORS["bep44_published_immutable"]
    assert items.immutable_target(bytes.fromhex(immutable["v"])).hex() == immutable["target"]


def test_a_malleated_signature_is_repaired() -> None:
    item = _item(VECTORS["mutable_items"][0])
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(item.signature[32:], "little") + order
    for factor, accepted in ((0, True), (order, False)):
        bad = item.signature[:32] + (s + factor).to_bytes(32, "little")
        changed = items.SignedItem(
            public_key=item.public_key,
            salt=item.salt,
            seq=item.seq,
            raw_value=item.raw_value,
            signature=Signature(bad),
        )
        assert items.verify_item(changed) == (item if accepted else None)


def test_limits_of_own_items() -> None:
    pair = crypto.key_pair(bytes(32))
    assert len(items.sign_item(pair, 1, bytes(996), bytes(64)).raw_value) == 1000
    for seq, value, salt in ((1, bytes(997), b""), (0, b"", b""), (2**53, b"", b"")):
        with pytest.raises(ValueError, match="item"):
            items.sign_item(pair, seq, value, salt)
    with pytest.raises(ValueError, match="item"):
        items.sign_item(pair, 1, b"", bytes(65))


@pytest.mark.parametrize(
    "change",
    [
        {b"k": bytes(32)},
        {b"seq": -1},
        {b"seq": 2**63},
        {b"seq": b"1"},
        {b"sig": bytes(63)},
        {b"sig": 5},
        {b"v": b"1001"},
        {b"v": None},
    ],
)
def test_claimed_items_that_cannot_be_one(change: dict[bytes, Any]) -> None:
    pair = crypto.key_pair(bytes(32))
    values: dict[bytes, bencoding.Value] = {b"k": pair.public_key, b"seq": 1, b"sig": bytes(64)}
    raw_value: bytes | None = b"1:a"
    assert items.read_item(values, raw_value, pair.public_key, b"").seq == 1
    if b"v" in change:
        raw_value = None if change[b"v"] is None else bytes(1001)
    else:
        values.update(change)
    with pytest.raises(DecodeError):
        items.read_item(values, raw_value, pair.public_key, b"")
