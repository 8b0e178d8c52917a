"""What this node answers to the queries of others.

Every check that costs nothing comes before the signature. Nothing is answered to what is not a
well-formed query. Source: BEP 5, BEP 32, BEP 43, BEP 44; docs/dht.md (order of the checks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs import bencoding, crypto
from protozorfs.dht import krpc
from protozorfs.dht.endpoint import IPV4, IPV6, Endpoint, Family, encode_peer, host_key
from protozorfs.dht.item_store import ItemStore
from protozorfs.dht.items import (
    MAX_SALT_BYTES,
    MAX_SEQ,
    MAX_VALUE_BYTES,
    SignedItem,
    immutable_target,
    mutable_target,
    verify_item,
)
from protozorfs.dht.krpc import KrpcError, Query
from protozorfs.dht.peer_store import PeerStore
from protozorfs.dht.rate_limits import KeyedBuckets
from protozorfs.dht.tokens import Tokens
from protozorfs.types import PublicKey, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protozorfs.dht.node_id import NodeId, RandomSource
    from protozorfs.dht.routing import RoutingTable

# Values in one reply: with 8 nodes it stays within the 1024 bytes of BEP 32.
MAX_VALUES = {IPV4: 50, IPV6: 25}
MAX_PORT = 65535
# A check costs 50 us; a host that makes us do more than this of them is not storing heads.
VERIFIES_PER_SECOND = 50.0
VERIFIES_BURST = 100.0
# Of all hosts together: at most 1 % of a core.
ALL_VERIFIES_PER_SECOND = 200.0
ALL_VERIFIES_BURST = 400.0

_Values = dict[bytes, bencoding.Encodable]


class Answers:
    """The answering half of a node."""

    def __init__(
        self, tables: Callable[[], Mapping[Family, RoutingTable]], random: RandomSource, now: float
    ) -> None:
        """`tables` gives the current routing tables, by family."""
        self.items = ItemStore()
        self.peers = PeerStore()
        self._tables = tables
        self._random = random
        self._announced: list[tuple[NodeId, Endpoint]] = []
        self._tokens = Tokens(random, now)
        self._verifies = KeyedBuckets(VERIFIES_PER_SECOND, VERIFIES_BURST)
        self._all_verifies = KeyedBuckets(ALL_VERIFIES_PER_SECOND, ALL_VERIFIES_BURST)

    def answer(self, query: Query, source: Endpoint, now: float) -> bytes:
        """The datagram to send back: a response or an error."""
        try:
            values = self._answer(query, source, now)
        except KrpcError as error:
            return krpc.encode_error(query.transaction, error, source)
        values[b"id"] = self._table(source).own_id
        return krpc.encode_response(query.transaction, values, source)

    def kept_peers(self, infohash: NodeId, family: Family, now: float) -> list[Endpoint]:
        """Peers that announced themselves here, as many as go into one reply."""
        return self.peers.sample(infohash, family, MAX_VALUES[family], self._random, now)

    def take_announced(self) -> list[tuple[NodeId, Endpoint]]:
        """Who announced itself since the last time, and under which infohash."""
        announced, self._announced = self._announced, []
        return announced

    def expire(self, now: float) -> None:
        """Drops stored things whose time is over."""
        self.items.expire(now)
        self.peers.expire(now)

    def _table(self, source: Endpoint) -> RoutingTable:
        return self._tables()[source.family]

    def _answer(self, query: Query, source: Endpoint, now: float) -> _Values:
        if query.sender_id is None:
            raise KrpcError(krpc.PROTOCOL_ERROR, "missing 'id' key")
        arguments = query.arguments
        if query.method == b"ping":
            return {}
        if query.method == b"find_node":
            return self._nodes(_need_id(arguments, b"target"), arguments, source)
        if query.method == b"get_peers":
            return self._get_peers(_need_id(arguments, b"info_hash"), arguments, source, now)
        if query.method == b"announce_peer":
            return self._announce_peer(arguments, source, now)
        if query.method == b"get":
            return self._get(_need_id(arguments, b"target"), arguments, source, now)
        if query.method == b"put":
            return self._put(query, source, now)
        target = krpc.read_id(arguments, b"target") or krpc.read_id(arguments, b"info_hash")
        if target is None:
            raise KrpcError(krpc.METHOD_UNKNOWN, "unknown method")
        return self._nodes(target, arguments, source)

    def _nodes(
        self, target: NodeId, arguments: dict[bytes, bencoding.Value], source: Endpoint
    ) -> _Values:
        want = arguments.get(b"want")
        families = {
            krpc.WANT[word]
            for word in (want if isinstance(want, list) else ())
            if isinstance(word, bytes) and word in krpc.WANT
        } or {source.family}
        return {
            krpc.NODES_KEY[family]: krpc.encode_contacts(table.closest(target))
            for family, table in self._tables().items()
            if family in families
        }

    def _get_peers(
        self,
        infohash: NodeId,
        arguments: dict[bytes, bencoding.Value],
        source: Endpoint,
        now: float,
    ) -> _Values:
        values = self._nodes(infohash, arguments, source)
        values[b"token"] = self._tokens.make(source.ip, infohash, now)
        peers = self.kept_peers(infohash, source.family, now)
        if peers:
            values[b"values"] = [encode_peer(peer) for peer in peers]
        return values

    def _announce_peer(
        self, arguments: dict[bytes, bencoding.Value], source: Endpoint, now: float
    ) -> _Values:
        infohash = _need_id(arguments, b"info_hash")
        port = krpc.read_int(arguments, b"port")
        if krpc.read_int(arguments, b"implied_port"):
            port = source.port
        if port is None or not 1 <= port <= MAX_PORT:
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid port")
        self._check_token(arguments, source, infohash, now)
        own_id = self._table(source).own_id
        peer = Endpoint(source.ip, port)
        self.peers.add(infohash, peer, own_id, now)
        self._announced.append((infohash, peer))
        return {}

    def _get(
        self,
        target: NodeId,
        arguments: dict[bytes, bencoding.Value],
        source: Endpoint,
        now: float,
    ) -> _Values:
        values = self._nodes(target, arguments, source)
        values[b"token"] = self._tokens.make(source.ip, target, now)
        newer_than = krpc.read_int(arguments, b"seq")
        stored = self.items.get(target, now)
        if isinstance(stored, SignedItem):
            values[b"seq"] = stored.seq
            if newer_than is None or stored.seq > newer_than:
                values[b"k"] = stored.public_key
                values[b"sig"] = stored.signature
                values[b"v"] = bencoding.raw(stored.raw_value)
        elif stored is not None and newer_than is None:  # `seq` asks for mutable items
            values[b"v"] = bencoding.raw(stored)
        return values

    def _put(self, query: Query, source: Endpoint, now: float) -> _Values:
        if query.raw_value is None:
            raise KrpcError(krpc.PROTOCOL_ERROR, "missing 'v' key")
        if b"k" in query.arguments:
            self._put_mutable(query.arguments, query.raw_value, source, now)
            return {}
        target = immutable_target(query.raw_value)
        self._check_token(query.arguments, source, target, now)
        _check_value_size(query.raw_value)
        own_id = self._table(source).own_id
        self.items.put_immutable(target, query.raw_value, host_key(source), own_id, now)
        return {}

    def _put_mutable(
        self,
        arguments: dict[bytes, bencoding.Value],
        raw_value: bytes,
        source: Endpoint,
        now: float,
    ) -> None:
        public_key = krpc.read_bytes(arguments, b"k")
        signature = krpc.read_bytes(arguments, b"sig")
        seq = krpc.read_int(arguments, b"seq")
        salt = arguments.get(b"salt", b"")
        if public_key is None or len(public_key) != crypto.PUBLIC_KEY_BYTES:
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid 'k'")
        if signature is None or len(signature) != crypto.SIGNATURE_BYTES:
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid 'sig'")
        if seq is None or not isinstance(salt, bytes):
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid 'seq' or 'salt'")
        self._check_token(arguments, source, mutable_target(public_key, salt), now)
        _check_value_size(raw_value)
        if len(salt) > MAX_SALT_BYTES:
            raise KrpcError(krpc.SALT_TOO_BIG, "salt too big")
        if not 0 <= seq <= MAX_SEQ:
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid 'seq'")
        item = SignedItem(
            public_key=PublicKey(public_key),
            salt=salt,
            seq=seq,
            raw_value=raw_value,
            signature=Signature(signature),
        )
        verified = self._verify(item, source, now)
        cas = krpc.read_int(arguments, b"cas")
        own_id = self._table(source).own_id
        self.items.put_mutable(verified, cas, host_key(source), own_id, now)

    def _verify(self, item: SignedItem, source: Endpoint, now: float) -> SignedItem:
        allowed = self._verifies.allow(host_key(source), 1.0, now)
        if not allowed or not self._all_verifies.allow(b"", 1.0, now):
            raise KrpcError(krpc.SERVER_ERROR, "too many puts")
        verified = verify_item(item)
        if verified is None:
            raise KrpcError(krpc.INVALID_SIGNATURE, "invalid signature")
        return verified

    def _check_token(
        self,
        arguments: dict[bytes, bencoding.Value],
        source: Endpoint,
        target: NodeId,
        now: float,
    ) -> None:
        token = krpc.read_bytes(arguments, b"token")
        if token is None or not self._tokens.is_valid(token, source.ip, target, now):
            raise KrpcError(krpc.PROTOCOL_ERROR, "invalid token")


def _need_id(arguments: dict[bytes, bencoding.Value], key: bytes) -> NodeId:
    value = krpc.read_id(arguments, key)
    if value is None:
        raise KrpcError(krpc.PROTOCOL_ERROR, f"missing '{key.decode()}' key")
    return value


def _check_value_size(raw_value: bytes) -> None:
    if len(raw_value) > MAX_VALUE_BYTES:
        raise KrpcError(krpc.VALUE_TOO_BIG, "message (v field) too big")
