"""What comes as a datagram: KRPC, local discovery, a gateway's answer, head records."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

from protozorfs import bencoding, compact, crypto
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint, decode_peer
from protozorfs.dht.engine import Engine
from protozorfs.dht.items import read_item as read_dht_item
from protozorfs.dht.items import verify_item
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.rate_limits import MAX_REPLY_BYTES
from protozorfs.dht.transactions import MAX_QUERIES_IN_FLIGHT
from protozorfs.errors import DecodeError, InvalidSignature
from protozorfs.log.hashing import sign_head, verify_head
from protozorfs.swarm.dht_state import decode_state, encode_state
from protozorfs.swarm.gateway import Gateway
from protozorfs.swarm.head import (
    decode_kept,
    decode_record,
    encode_kept,
    encode_record,
    read_item,
    sign_record,
)
from protozorfs.swarm.lan_messages import (
    MAX_RECEIVED_INFOHASHES,
    decode_announcement,
    encode_announcement,
)
from protozorfs.swarm.upnp import decode_answer, is_at
from protozorfs.types import FeedId, TreeHash, TreeIndex, TreeNode
from tests.fuzzing.harness import Chooser, Harness, edited
from tests.fuzzing.vectors import in_hex, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ASKED = Endpoint(bytes([8, 1, 2, 3]), 6881)
STRANGERS = [Endpoint(bytes([9, 1, 2, number]), 6881) for number in range(1, 9)]
STRANGERS.append(Endpoint(bytes([32, 1, *[1] * 14]), 6881))
METHODS = (b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put", b"other")
KEYS = (
    *(b"id", b"target", b"info_hash", b"token", b"port", b"implied_port", b"want", b"seq"),
    *(b"v", b"k", b"sig", b"salt", b"cas", b"nodes", b"nodes6", b"values"),
)
VALUE_BYTES = (20, 32, 64, 26, 38, 6)
PAIR = crypto.key_pair(bytes(32))
FEED_ID = FeedId(PAIR.public_key)
STEP_SECONDS = 0.6  # between two datagrams: time-outs take part
MOST_EVENTS = 1000  # taken of one run
EPISODE = 500  # runs with one node, so that what grows is seen
GATEWAY = Gateway("192.0.2.1", "eth0")


class Node:
    """A node that has asked others, and what is checked after each datagram.

    Nothing may grow beyond its limit, and no answer may be larger than allowed.
    """

    def __init__(self) -> None:
        self._runs = 0
        self._start()

    def _start(self) -> None:
        self._now = 1000.0
        self._engine = Engine(
            families=[IPV4, IPV6], random=random.Random(1), now=self._now, bootstrap=[ASKED]
        )

    def run(self, data: bytes) -> None:
        """A datagram of these bytes, and messages with parts of them in their fields."""
        self._runs += 1
        if self._runs % EPISODE == 0:
            self._start()
        chooser = Chooser(data)
        self._engine.get_item(PAIR.public_key)
        self._engine.announce(NodeId(bytes(20)), 4711)
        transactions = self._step()
        self._receive(data, STRANGERS[0])
        while chooser.left > 4:
            message, source = _message(chooser, transactions)
            self._receive(message, source)
            transactions = self._step() or transactions

    def _receive(self, data: bytes, source: Endpoint) -> None:
        self._engine.receive_datagram(data, source, self._now)

    def _step(self) -> list[bytes]:
        """Lets time pass; returns the transaction ids of the queries that left."""
        self._now += STEP_SECONDS
        self._engine.handle_timeout(self._now)
        transactions = []
        for datagram, _, _ in self._engine.datagrams_to_send(self._now):
            assert len(datagram) <= MAX_REPLY_BYTES
            message = krpc.decode_message(datagram)
            if isinstance(message, krpc.Query):
                transactions.append(message.transaction)
        for _ in range(MOST_EVENTS):
            if self._engine.next_event() is None:
                break
        else:
            raise AssertionError("events without an end")
        assert len(transactions) <= MAX_QUERIES_IN_FLIGHT
        for network in self._engine.networks.values():
            assert len(network.table) <= 2 * len(STRANGERS)
        return transactions


def _message(chooser: Chooser, transactions: list[bytes]) -> tuple[bytes, Endpoint]:
    """A message with some fields as they should be and some of the fuzzer's."""
    fields: dict[bytes, bencoding.Encodable] = {b"id": bytes(range(20))}
    for _ in range(chooser.number(6)):
        fields[chooser.pick(KEYS)] = _value(chooser)
    kind = chooser.number(3)
    if kind == 0:
        method = chooser.pick(METHODS)
        source = chooser.pick(STRANGERS)
        return krpc.encode_query(b"abcd", method, fields, is_read_only=False), source
    transaction = transactions[0] if transactions else b"none"
    if kind == 1:
        return krpc.encode_response(transaction, fields, ASKED), ASKED
    error: list[bencoding.Encodable] = [chooser.number(400), chooser.take(8)]
    return bencoding.encode({b"t": transaction, b"y": b"e", b"e": error}), ASKED


def _value(chooser: Chooser) -> bencoding.Encodable:
    match chooser.number(4):
        case 0:
            return chooser.take(chooser.pick(VALUE_BYTES))
        case 1:
            return chooser.number(1 << 64) - (1 << 63)
        case 2:
            return chooser.part(1000)
    return [chooser.take(6), chooser.take(18), chooser.number(1 << 16)]


def make_codecs(_work: Path) -> Callable[[bytes], None]:
    """KRPC messages with all that may be in them, and the integers and arrays of the wire."""

    def run(data: bytes) -> None:
        with suppress(DecodeError):
            root = bencoding.decode(data).root
            again = bencoding.encode(root)
            assert bencoding.decode(again).root == root
        with suppress(DecodeError):
            message = krpc.decode_message(data)
            values: dict[bytes, bencoding.Value] = {}
            if isinstance(message, krpc.Query):
                values = message.arguments
            elif isinstance(message, krpc.Response):
                values = message.values
            for family in (IPV4, IPV6):
                contacts = krpc.read_contacts(values, family)
                assert krpc.encode_contacts(contacts) == values.get(
                    {IPV4: b"nodes", IPV6: b"nodes6"}[family], b""
                ) or len(contacts) < len(data)
            krpc.read_peers(values)
            for key in KEYS:
                krpc.read_int(values, key)
                krpc.read_id(values, key)
                krpc.read_bytes(values, key)
            if not isinstance(message, krpc.ErrorReply):
                item = read_dht_item(values, message.raw_value, PAIR.public_key, b"")
                assert verify_item(item) is None or item.public_key == PAIR.public_key
        for decode in (decode_peer, decode_state):
            with suppress(DecodeError):
                decode(data)
        with suppress(DecodeError):
            assert encode_state(decode_state(data)) == data
        _decode_compact(data)

    return run


def _decode_compact(data: bytes) -> None:
    """Each of the decoders of compact-encoding, at each of a few offsets."""
    decoders: tuple[Callable[[bytes, int], tuple[object, int]], ...] = (
        compact.decode_uint,
        compact.decode_int,
        compact.decode_bool,
        compact.decode_buffer,
        compact.decode_optional_buffer,
        compact.decode_string,
        compact.decode_fixed32,
        compact.decode_fixed64,
        compact.decode_uint32_array,
        lambda data, pos: compact.decode_array(data, pos, compact.decode_buffer, 1),
    )
    for decode in decoders:
        with suppress(DecodeError):
            _, end = decode(data, 0)
            assert 0 < end <= len(data)


def datagram_seeds() -> Iterable[bytes]:
    dht = vectors("dht")
    yield from in_hex(dht["krpc"], "hex")
    yield from in_hex(dht["bencode"]["cases"], "hex")
    for packet in dht["captured"]:
        yield from in_hex([packet], "query")
        yield from in_hex([packet], "reply")
    yield from in_hex(dht["compact"], "hex")
    for case in vectors("transport")["compact_encoding"].values():
        if isinstance(case, list):
            yield from in_hex([each for each in case if isinstance(each, dict)], "hex")


def make_lan(_work: Path) -> Callable[[bytes], None]:
    """A datagram of local discovery, and an answer of a gateway."""

    def run(data: bytes) -> None:
        with suppress(DecodeError):
            heard = decode_announcement(data)
            assert 0 < heard.port < 65536
            assert 0 < len(heard.infohashes) <= MAX_RECEIVED_INFOHASHES
            assert all(len(infohash) == 20 for infohash in heard.infohashes)
            again = encode_announcement(b"h", heard.port, heard.infohashes, heard.cookie)
            assert len(again) > len(data) or decode_announcement(again) == heard
        with suppress(DecodeError):
            location = decode_answer(data)
            if is_at(location, GATEWAY):
                assert location.isascii()
                assert location.isprintable()
                assert location.removeprefix("http://192.0.2.1")[:1] in ("", ":", "/")

    return run


def lan_seeds() -> Iterable[bytes]:
    yield from in_hex(vectors("dht")["lsd"], "hex")
    yield (
        b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: upnp:rootdevice\r\n"
        b"LOCATION: http://192.0.2.1:5000/rootDesc.xml\r\nEXT:\r\n\r\n"
    )


def make_head_record(_work: Path) -> Callable[[bytes], None]:
    """A record of the DHT, also one that its owner has signed, whatever is in it."""
    root = TreeNode(TreeIndex(1), 10, TreeHash(bytes(32)))
    head = sign_head([root], 2, 0, PAIR.secret_key)
    kept = encode_kept(sign_record(head, PAIR))

    def run(data: bytes) -> None:
        with suppress(DecodeError):
            assert encode_record(decode_record(data)) == data
        changed = edited(kept, Chooser(data))
        for content in (data, changed):
            with suppress(DecodeError, InvalidSignature):
                item, found = decode_kept(content, FEED_ID)
                assert encode_kept(item) == content
                verify_head(found, PAIR.public_key)
        with suppress(DecodeError, InvalidSignature):
            signed = sign_record(decode_record(changed[:121]), PAIR)
            verify_head(read_item(signed, FEED_ID), PAIR.public_key)

    return run


def head_record_seeds() -> Iterable[bytes]:
    root = TreeNode(TreeIndex(1), 10, TreeHash(bytes(32)))
    yield encode_record(sign_head([root], 2, 0, PAIR.secret_key))
    yield b"\1\1\1"


HARNESSES = (
    Harness("dht-node", lambda _work: Node().run, datagram_seeds, 2100),
    Harness("dht-codecs", make_codecs, datagram_seeds, 2100),
    Harness("lan", make_lan, lan_seeds, 2100),
    Harness("head-record", make_head_record, head_record_seeds, 512),
)
