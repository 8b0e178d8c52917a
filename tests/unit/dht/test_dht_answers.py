"""What a node answers: every query, every error, and the order of the checks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from protozorfs import bencoding, crypto
from protozorfs.dht import answers, krpc, rate_limits
from protozorfs.dht.answers import Answers
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint
from protozorfs.dht.item_store import ITEM_LIFETIME
from protozorfs.dht.items import SignedItem, immutable_target, mutable_target, sign_item
from protozorfs.dht.node_id import NodeId, random_id_at
from protozorfs.dht.routing import RoutingTable

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "dht.json").read_text()
)
PAIR = crypto.key_pair(bytes([3]) * 32)
ITEM = sign_item(PAIR, 4, b"hello")
ASKER, OTHER = Endpoint(bytes([8, 8, 4, 4]), 6881), Endpoint(bytes([8, 8, 4, 5]), 6881)
ASKER6 = Endpoint(bytes.fromhex("20010db8000000000000000000000001"), 6881)
ASKER_ID, OWN_ID = NodeId(b"a" * 20), NodeId(b"o" * 20)
TARGET = NodeId(b"t" * 20)

Arguments = dict[bytes, bencoding.Encodable]


class Answering:
    """A node with ten contacts in each network, asked by hand."""

    def __init__(self) -> None:
        self.tables = {IPV4: RoutingTable(OWN_ID, 0.0), IPV6: RoutingTable(OWN_ID, 0.0)}
        for number in range(10):
            node_id = random_id_at(OWN_ID, number % 3, random.Random(number))
            four = Endpoint(bytes([9, number, 1, 1]), 6881)
            six = Endpoint(bytes.fromhex("2a00") + bytes([number]) * 14, 6881)
            for endpoint in (four, six):
                contact = krpc.Contact(node_id, endpoint)
                self.tables[endpoint.family].on_response(contact, 0.0)
        self.answers = Answers(lambda: self.tables, random.Random(1), 0.0)

    def raw(self, method: bytes, arguments: Arguments, asker: Endpoint, now: float) -> bytes:
        arguments = {b"id": ASKER_ID, **arguments}
        data = krpc.encode_query(b"tt", method, arguments, is_read_only=False)
        query = krpc.decode_message(data)
        assert isinstance(query, krpc.Query)
        return self.answers.answer(query, asker, now)

    def ask(
        self, method: bytes, arguments: Arguments, asker: Endpoint = ASKER, now: float = 0.0
    ) -> krpc.Response:
        reply = krpc.decode_message(self.raw(method, arguments, asker, now))
        assert isinstance(reply, krpc.Response), reply
        assert (reply.sender_id, reply.transaction) == (OWN_ID, b"tt")
        assert reply.own_endpoint == asker
        return reply

    def refused(
        self, method: bytes, arguments: Arguments, asker: Endpoint = ASKER, now: float = 0.0
    ) -> int:
        reply = krpc.decode_message(self.raw(method, arguments, asker, now))
        assert isinstance(reply, krpc.ErrorReply), reply
        return reply.code

    def token(self, target: bytes, asker: Endpoint = ASKER, now: float = 0.0) -> bytes:
        reply = self.ask(b"get", {b"target": target}, asker, now)
        token = reply.values[b"token"]
        assert isinstance(token, bytes)
        return token

    def put_arguments(self, item: SignedItem, **changes: Any) -> Arguments:
        arguments: Arguments = {
            b"k": item.public_key,
            b"seq": item.seq,
            b"sig": item.signature,
            b"token": self.token(item.target),
            b"v": bencoding.raw(item.raw_value),
        }
        if item.salt:
            arguments[b"salt"] = item.salt
        for key, value in changes.items():
            if value is None:
                del arguments[key.encode()]
            else:
                arguments[key.encode()] = value
        return arguments


def test_ping_and_find_node() -> None:
    node = Answering()
    assert node.ask(b"ping", {}).values.keys() == {b"id"}
    reply = node.ask(b"find_node", {b"target": TARGET})
    assert reply.values.keys() == {b"id", b"nodes"}
    assert krpc.read_contacts(reply.values, IPV4) == node.tables[IPV4].closest(TARGET)


@pytest.mark.parametrize(
    ("asker", "want", "keys"),
    [
        (ASKER, None, {b"nodes"}),
        (ASKER6, None, {b"nodes6"}),
        (ASKER, [b"n6"], {b"nodes6"}),
        (ASKER6, [b"n4", b"n6"], {b"nodes", b"nodes6"}),
        (ASKER, [b"n9", 5], {b"nodes"}),
        (ASKER, b"n6", {b"nodes"}),
    ],
)
def test_want(asker: Endpoint, want: Any, keys: set[bytes]) -> None:
    """BEP 32: `nodes` over IPv4, `nodes6` over IPv6, or what is wanted."""
    arguments: Arguments = {b"target": TARGET}
    if want is not None:
        arguments[b"want"] = want
    assert Answering().ask(b"find_node", arguments, asker).values.keys() - {b"id"} == keys


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        (b"find_node", {}, 203),
        (b"find_node", {b"target": b"short"}, 203),
        (b"get_peers", {b"info_hash": 5}, 203),
        (b"get", {b"target": [TARGET]}, 203),
        (b"announce_peer", {}, 203),
        (b"put", {}, 203),
        (b"future", {}, 204),
        (b"future", {b"target": b"short"}, 204),
        (b"ping", {b"id": b"short"}, 203),
    ],
)
def test_what_is_missing_or_unknown(method: bytes, arguments: Arguments, code: int) -> None:
    assert Answering().refused(method, arguments) == code


def test_an_unknown_method_with_a_target_is_answered_as_find_node() -> None:
    node = Answering()
    for key in (b"target", b"info_hash"):
        assert node.ask(b"future", {key: TARGET}).values.keys() == {b"id", b"nodes"}


def test_announce_and_get_peers() -> None:
    """Nodes and values together, always; an announce over IPv4 announces an IPv4 peer."""
    node = Answering()
    first = node.ask(b"get_peers", {b"info_hash": TARGET})
    assert first.values.keys() == {b"id", b"token", b"nodes"}
    token = first.values[b"token"]
    assert isinstance(token, bytes)
    arguments: Arguments = {b"info_hash": TARGET, b"port": 7000, b"token": token}
    node.ask(b"announce_peer", arguments)
    node.ask(b"announce_peer", {**arguments, b"implied_port": 1})
    second = node.ask(b"get_peers", {b"info_hash": TARGET}, OTHER)
    assert second.values.keys() == {b"id", b"token", b"nodes", b"values"}
    assert set(krpc.read_peers(second.values)) == {
        Endpoint(ASKER.ip, 7000),
        Endpoint(ASKER.ip, ASKER.port),
    }
    assert b"values" not in node.ask(b"get_peers", {b"info_hash": TARGET}, ASKER6).values
    for port in (0, -1, 65536, b"7000"):
        assert node.refused(b"announce_peer", {**arguments, b"port": port}) == 203
    assert node.refused(b"announce_peer", {**arguments, b"token": b"wrong"}) == 203
    assert node.refused(b"announce_peer", arguments, OTHER) == 203
    assert node.refused(b"announce_peer", {**arguments, b"info_hash": OWN_ID}) == 203
    assert node.refused(b"announce_peer", arguments, now=700.0) == 203


def test_put_and_get() -> None:
    node = Answering()
    empty = node.ask(b"get", {b"target": ITEM.target})
    assert empty.values.keys() == {b"id", b"token", b"nodes"}
    node.ask(b"put", node.put_arguments(ITEM))
    reply = node.ask(b"get", {b"target": ITEM.target, b"seq": 3}, OTHER)
    assert reply.raw_value == ITEM.raw_value
    assert [reply.values[key] for key in (b"k", b"seq", b"sig")] == [
        ITEM.public_key,
        ITEM.seq,
        ITEM.signature,
    ]
    for seq in (4, 5):
        known = node.ask(b"get", {b"target": ITEM.target, b"seq": seq})
        assert known.values.keys() == {b"id", b"token", b"nodes", b"seq"}
    gone = node.ask(b"get", {b"target": ITEM.target}, now=ITEM_LIFETIME)
    assert b"seq" not in gone.values


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": b"12345678"}, 203),
        ({"token": None}, 203),
        ({"token": 5}, 203),
        ({"k": bytes(31)}, 203),
        ({"k": [1]}, 203),
        ({"sig": None}, 203),  # must not become an immutable item under our target
        ({"sig": bytes(63)}, 203),
        ({"seq": None}, 203),
        ({"seq": b"4"}, 203),
        ({"seq": -1}, 203),
        ({"seq": 2**63}, 203),
        ({"salt": 5}, 203),
        ({"v": None}, 203),
        ({"v": bytes(997)}, 205),
        ({"v": b"hallo"}, 206),
        ({"seq": 5}, 206),
        ({"sig": bytes(64)}, 206),
    ],
)
def test_puts_that_are_refused(changes: dict[str, Any], code: int) -> None:
    node = Answering()
    assert node.refused(b"put", node.put_arguments(ITEM, **changes)) == code
    assert len(node.answers.items) == 0


def test_salted_items_and_too_much_salt() -> None:
    node = Answering()
    salted = sign_item(PAIR, 1, b"x", bytes(64))
    node.ask(b"put", node.put_arguments(salted))
    assert node.ask(b"get", {b"target": salted.target}).raw_value == b"1:x"
    arguments = node.put_arguments(salted)
    target = mutable_target(PAIR.public_key, bytes(65))
    arguments |= {b"salt": bytes(65), b"token": node.token(target)}
    assert node.refused(b"put", arguments) == 207


def test_seq_and_cas_of_the_table_in_the_docs() -> None:
    node = Answering()
    node.ask(b"put", node.put_arguments(ITEM))
    node.ask(b"put", node.put_arguments(ITEM))  # the same again
    assert node.refused(b"put", node.put_arguments(sign_item(PAIR, 4, b"other"))) == 302
    assert node.refused(b"put", node.put_arguments(sign_item(PAIR, 3, b"hello"))) == 302
    newer = sign_item(PAIR, 5, b"x")
    assert node.refused(b"put", node.put_arguments(newer, cas=3)) == 301
    node.ask(b"put", node.put_arguments(newer, cas=4))


def test_values_of_every_type_are_served_as_they_came() -> None:
    for case in VECTORS["mutable_items"]:
        node = Answering()
        query = {
            b"k": bytes.fromhex(case["k"]),
            b"seq": case["seq"],
            b"sig": bytes.fromhex(case["sig"]),
            b"v": bencoding.raw(bytes.fromhex(case["v"])),
            b"token": node.token(bytes.fromhex(case["target"])),
        }
        if case["salt"]:
            query[b"salt"] = bytes.fromhex(case["salt"])
        node.ask(b"put", query)
        reply = node.ask(b"get", {b"target": bytes.fromhex(case["target"]), b"seq": 0})
        assert reply.raw_value is not None
        assert reply.raw_value.hex() == case["v"], case["name"]


def test_immutable_items_and_why_they_cannot_hide_a_mutable_one() -> None:
    node = Answering()
    raw_value = bytes.fromhex(VECTORS["bep44_published_immutable"]["v"])
    target = immutable_target(raw_value)
    arguments: Arguments = {b"v": bencoding.raw(raw_value), b"token": node.token(target)}
    node.ask(b"put", arguments)
    assert node.ask(b"get", {b"target": target}).raw_value == raw_value
    assert node.ask(b"get", {b"target": target, b"seq": 0}).raw_value is None
    assert node.refused(b"put", {**arguments, b"v": b"else"}) == 203
    large = bytes(997)
    target = immutable_target(bencoding.encode(large))
    assert node.refused(b"put", {b"v": large, b"token": node.token(target)}) == 205


def test_one_host_cannot_make_us_check_signatures_all_day() -> None:
    node = Answering()
    arguments = node.put_arguments(ITEM, sig=bytes(64))
    codes = [node.refused(b"put", arguments) for _ in range(300)]
    assert codes.count(krpc.INVALID_SIGNATURE) == answers.VERIFIES_BURST
    assert set(codes) == {krpc.INVALID_SIGNATURE, krpc.SERVER_ERROR}


def test_no_reply_is_larger_than_allowed() -> None:
    """BEP 32: 1024 bytes by choice; a full item with nodes cannot be helped."""
    node = Answering()
    for asker, count in ((ASKER, 300), (ASKER6, 300)):
        for number in range(count):
            ip = asker.ip[:1] + number.to_bytes(2, "big") + asker.ip[3:]
            node.answers.peers.add(TARGET, Endpoint(ip, 4000), OWN_ID, 0.0)
        want: Arguments = {b"info_hash": TARGET}
        assert len(node.raw(b"get_peers", want, asker, 0.0)) <= 1024
    full = sign_item(PAIR, 2**53 - 1, bytes(996))
    node.ask(b"put", node.put_arguments(full))
    whole = node.raw(b"get", {b"target": full.target}, ASKER, 0.0)
    assert 1300 < len(whole) <= rate_limits.MAX_REPLY_BYTES


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["captured"] if case["impl"].startswith("libtorrent")],
    ids=lambda case: case["name"],
)
def test_captured_queries_get_an_answer_of_the_same_kind(case: dict[str, Any]) -> None:
    """Errors aside: tokens of another node are not ours, and 204 is BEP 5's unknown method."""
    query = krpc.decode_message(bytes.fromhex(case["query"]))
    theirs = krpc.decode_message(bytes.fromhex(case["reply"]))
    assert isinstance(query, krpc.Query)
    ours = krpc.decode_message(Answering().answers.answer(query, ASKER, 0.0))
    if query.method in (b"put", b"announce_peer"):
        assert isinstance(ours, krpc.ErrorReply)
        assert ours.code == krpc.PROTOCOL_ERROR
    else:
        assert type(ours) is type(theirs)
