"""KRPC: the messages of the DHT, one bencoded dict per datagram.

    t   all        transaction id, chosen by the asker, echoed unchanged
    y   all        "q", "r" or "e"
    q, a  query    method; arguments, `id` = the sender's node id among them
    r   response   return values, `id` = the responder's among them
    e   error      [code, text]
    ip  response, error   where the responder sees the asker (BEP 42)
    ro  query      1: the sender answers no queries (BEP 43)

Unknown keys are ignored, keys of the wrong type count as absent. What kind a message is, is said by
`y` alone: libtorrent's errors have an `r` too. Source: BEP 5, BEP 42, BEP 43, BEP 44.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from protozorfs import bencoding
from protozorfs.dht.endpoint import (
    IPV4,
    IPV6,
    PEER_BYTES,
    Endpoint,
    Family,
    decode_peer,
    encode_peer,
)
from protozorfs.dht.node_id import ID_BYTES, NodeId
from protozorfs.errors import DecodeError, ProtozorfsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_TRANSACTION_BYTES = 32  # echoed for others; longer ones only make our replies larger
MAX_NODES_READ = 20  # of one list; a reply has 8, bittorrent-dht 20
MAX_PEERS_READ = 100  # of one reply; libtorrent sends at most that many
CONTACT_BYTES = {IPV4: ID_BYTES + PEER_BYTES[IPV4], IPV6: ID_BYTES + PEER_BYTES[IPV6]}
NODES_KEY = {IPV4: b"nodes", IPV6: b"nodes6"}
WANT = {b"n4": IPV4, b"n6": IPV6}  # BEP 32
WANT_BOTH: list[bencoding.Value] = [b"n4", b"n6"]

SERVER_ERROR = 202
PROTOCOL_ERROR = 203
METHOD_UNKNOWN = 204
VALUE_TOO_BIG = 205
INVALID_SIGNATURE = 206
SALT_TOO_BIG = 207
CAS_MISMATCH = 301
SEQ_TOO_LOW = 302


class KrpcError(ProtozorfsError):
    """A refusal that is answered with an error message. `code` is a number of BEP 5 or BEP 44."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Contact(NamedTuple):
    """A node: its id and where it is."""

    node_id: NodeId
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question. `raw_value` are the bytes of the argument `v`, as they came.

    `sender_id` is None if there is none of 20 bytes; whether that matters is the answerer's choice.
    """

    transaction: bytes
    method: bytes
    sender_id: NodeId | None
    arguments: dict[bytes, bencoding.Value]
    raw_value: bytes | None
    is_read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer. `raw_value` are the bytes of `v`; `own_endpoint` is how the sender sees us."""

    transaction: bytes
    sender_id: NodeId
    values: dict[bytes, bencoding.Value]
    raw_value: bytes | None
    own_endpoint: Endpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """A refusal."""

    transaction: bytes
    code: int
    text: bytes
    own_endpoint: Endpoint | None


Message: TypeAlias = Query | Response | ErrorReply


def decode_message(data: bytes) -> Message:
    """The message in a datagram.

    Raises:
        DecodeError: not one; the datagram is to be dropped without an answer.
    """
    if len(data) < bencoding.MIN_DATAGRAM_BYTES:
        raise DecodeError("KRPC: too short")
    decoded = bencoding.decode(data)
    root = decoded.root
    transaction = root.get(b"t")
    if not isinstance(transaction, bytes) or len(transaction) > MAX_TRANSACTION_BYTES:
        raise DecodeError("KRPC: no usable transaction id")
    kind = root.get(b"y")
    if kind == b"q":
        return _decode_query(data, decoded, transaction)
    if kind == b"r":
        return _decode_response(data, decoded, transaction)
    if kind == b"e":
        return _decode_error(root, transaction)
    raise DecodeError("KRPC: neither query nor response nor error")


def _decode_query(data: bytes, decoded: bencoding.Decoded, transaction: bytes) -> Query:
    method, arguments = decoded.root.get(b"q"), decoded.root.get(b"a")
    if not isinstance(method, bytes) or not isinstance(arguments, dict):
        raise DecodeError("KRPC: a query without method or arguments")
    return Query(
        transaction=transaction,
        method=method,
        sender_id=read_id(arguments, b"id"),
        arguments=arguments,
        raw_value=_raw_value(data, decoded, b"a"),
        is_read_only=decoded.root.get(b"ro") == 1,
    )


def _decode_response(data: bytes, decoded: bencoding.Decoded, transaction: bytes) -> Response:
    values = decoded.root.get(b"r")
    sender_id = read_id(values, b"id") if isinstance(values, dict) else None
    if not isinstance(values, dict) or sender_id is None:
        raise DecodeError("KRPC: a response without the responder's id")
    return Response(
        transaction=transaction,
        sender_id=sender_id,
        values=values,
        raw_value=_raw_value(data, decoded, b"r"),
        own_endpoint=_read_own_endpoint(decoded.root),
    )


def _decode_error(root: dict[bytes, bencoding.Value], transaction: bytes) -> ErrorReply:
    error = root.get(b"e")
    if not isinstance(error, list) or len(error) < 2:
        raise DecodeError("KRPC: an error without code and text")
    code, text = error[0], error[1]
    if not isinstance(code, int) or not isinstance(text, bytes):
        raise DecodeError("KRPC: an error without code and text")
    return ErrorReply(
        transaction=transaction, code=code, text=text, own_endpoint=_read_own_endpoint(root)
    )


def _raw_value(data: bytes, decoded: bencoding.Decoded, parent: bytes) -> bytes | None:
    span = decoded.spans.get((parent, b"v"))
    return data[span[0] : span[1]] if span is not None else None


def _read_own_endpoint(root: dict[bytes, bencoding.Value]) -> Endpoint | None:
    compact = root.get(b"ip")
    if not isinstance(compact, bytes) or len(compact) not in PEER_BYTES.values():
        return None
    return decode_peer(compact)


def read_bytes(values: dict[bytes, bencoding.Value], key: bytes) -> bytes | None:
    """A byte string, None if absent or something else."""
    value = values.get(key)
    return value if isinstance(value, bytes) else None


def read_int(values: dict[bytes, bencoding.Value], key: bytes) -> int | None:
    """An integer, None if absent or something else."""
    value = values.get(key)
    return value if isinstance(value, int) else None


def read_id(values: dict[bytes, bencoding.Value], key: bytes) -> NodeId | None:
    """20 bytes, None if absent or something else."""
    value = values.get(key)
    return NodeId(value) if isinstance(value, bytes) and len(value) == ID_BYTES else None


def read_contacts(values: dict[bytes, bencoding.Value], family: Family) -> list[Contact]:
    """The nodes of one family, at most MAX_NODES_READ; a partial record at the end is cut off."""
    compact = read_bytes(values, NODES_KEY[family]) or b""
    size = CONTACT_BYTES[family]
    count = min(len(compact) // size, MAX_NODES_READ)
    return [
        Contact(NodeId(record[:ID_BYTES]), decode_peer(record[ID_BYTES:]))
        for record in (compact[at : at + size] for at in range(0, count * size, size))
    ]


def read_peers(values: dict[bytes, bencoding.Value]) -> list[Endpoint]:
    """The peers of a get_peers response, of either family, at most MAX_PEERS_READ."""
    compact = values.get(b"values")
    if not isinstance(compact, list):
        return []
    return [
        decode_peer(peer)
        for peer in compact[:MAX_PEERS_READ]
        if isinstance(peer, bytes) and len(peer) in PEER_BYTES.values()
    ]


def encode_contacts(contacts: Iterable[Contact]) -> bytes:
    """The compact form of nodes of one family."""
    return b"".join(contact.node_id + encode_peer(contact.endpoint) for contact in contacts)


def encode_query(
    transaction: bytes,
    method: bytes,
    arguments: Mapping[bytes, bencoding.Encodable],
    *,
    is_read_only: bool,
) -> bytes:
    """A query's datagram; `arguments` has the sender's `id` already."""
    root: dict[bytes, bencoding.Encodable] = {
        b"t": transaction,
        b"y": b"q",
        b"q": method,
        b"a": arguments,
    }
    if is_read_only:
        root[b"ro"] = 1
    return bencoding.encode(root)


def encode_response(
    transaction: bytes, values: Mapping[bytes, bencoding.Encodable], asker: Endpoint
) -> bytes:
    """A response's datagram; `values` has the sender's `id` already."""
    return bencoding.encode(
        {b"t": transaction, b"y": b"r", b"r": values, b"ip": encode_peer(asker)}
    )


def encode_error(transaction: bytes, error: KrpcError, asker: Endpoint) -> bytes:
    """An error's datagram."""
    text = error.text.encode()
    return bencoding.encode(
        {b"t": transaction, b"y": b"e", b"e": [error.code, text], b"ip": encode_peer(asker)}
    )
