"""What a storing node says to each right and wrong put: libtorrent, bittorrent-dht, and ours.

The columns of the two others show what our writers and readers have to cope with; ours is BEP 44's.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from protozorfs import bencoding, crypto
from protozorfs.dht.items import (
    immutable_target,
    mutable_target,
    reduce_signature,
    signed_bytes,
)
from tests.dht_peers import SWARMS
from tests.interop.storing_rows import (
    GET_ROWS,
    IMMUTABLE_ROWS,
    KINDS,
    ROWS,
    STORED,
    STORED_SEQ,
    GetRow,
    Outcome,
    Put,
    Row,
    Served,
)
from tests.raw_krpc import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.types import Address
    from tests.raw_krpc import RawClient

pytestmark = pytest.mark.interop

# Of each kind, and each asked in its turn: strangers get 200 answers a second of a node of ours.
NODES = 4
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 8032, 5.1: L
TAKEN = 0
NO_SIGNATURE = bytes(64)

Arguments = dict[bytes, bencoding.Encodable]


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, Iterator[Address]]]:
    """Nodes of each kind, without an end."""
    with ExitStack() as stack:
        swarms = {kind: stack.enter_context(SWARMS[kind](NODES)) for kind in KINDS}
        yield {kind: itertools.cycle(swarm.addresses) for kind, swarm in swarms.items()}


@pytest.fixture
def nodes(addresses: dict[str, Iterator[Address]]) -> Iterator[dict[str, RawClient]]:
    """A client of a node of each kind."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(raw_client(next(turn))) for kind, turn in addresses.items()
        }


def with_order(signature: bytes) -> bytes:
    """The signature with S + L for S, which holds as well where nobody looks."""
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    return signature[:32] + s.to_bytes(32, "little")


def signature_of(pair: crypto.KeyPair, put: Put) -> bytes:
    """The signature that a put has, unless its `changes` have another."""
    signature = crypto.sign(signed_bytes(put.salt, put.seq, put.value), pair.secret_key)
    return with_order(signature) if put.adds_order else signature


def with_changes(arguments: Arguments, put: Put) -> Arguments:
    """The arguments with those of `changes` in their place, or without them."""
    changed = arguments | {k: v for k, v in (put.changes or {}).items() if v is not None}
    return {key: changed[key] for key in changed if (put.changes or {}).get(key, b"") is not None}


def arguments_of(client: RawClient, pair: crypto.KeyPair, put: Put) -> Arguments:
    """The arguments of a put of a mutable item."""
    arguments: Arguments = {
        b"k": pair.public_key,
        b"seq": put.seq,
        b"sig": signature_of(pair, put),
        b"token": client.token(mutable_target(pair.public_key, put.salt)),
        b"v": bencoding.raw(put.value),
    }
    if put.salt:
        arguments[b"salt"] = put.salt
    if put.cas is not None:
        arguments[b"cas"] = put.cas
    return with_changes(arguments, put)


def served(answer: bytes, put: Put, signature: bytes) -> Served:
    """What the answer to a get has, after a put with that signature."""
    is_put = b"1:v" + put.value in answer
    is_signed = b"3:sig64:" in answer
    if is_put and b"3:sig64:" + signature in answer:
        return Served.PUT
    if is_put and b"3:sig64:" + reduce_signature(signature) in answer:
        return Served.REPAIRED
    if is_put and not is_signed:
        return Served.UNSIGNED
    if b"3:sig64:" + signature in answer:
        return Served.SPOILED
    if is_signed and b"1:v" + STORED in answer:
        return Served.STORED
    return Served.SEQ if b"3:seqi%de" % put.seq in answer else Served.NOTHING


def new_pair() -> crypto.KeyPair:
    """A key that nothing is kept of."""
    return crypto.key_pair(crypto.random_bytes(32))


def put_first(client: RawClient, pair: crypto.KeyPair) -> None:
    """Has a node keep the first item of a key."""
    assert client.put(arguments_of(client, pair, Put(STORED_SEQ, STORED))) == TAKEN


@pytest.mark.parametrize("name", ROWS)
def test_what_becomes_of_a_put(nodes: dict[str, RawClient], name: str) -> None:
    put, found = ROWS[name].put, {}
    for kind, client in nodes.items():
        pair = new_pair()
        put_first(client, pair)
        said = client.put(arguments_of(client, pair, put))
        target = mutable_target(pair.public_key, put.salt)
        found[kind] = Outcome(said, served(client.get(target), put, signature_of(pair, put)))
    assert found == ROWS[name].outcomes


@pytest.mark.parametrize("name", IMMUTABLE_ROWS)
def test_what_becomes_of_an_immutable_item(nodes: dict[str, RawClient], name: str) -> None:
    put, found = IMMUTABLE_ROWS[name].put, {}
    target = immutable_target(put.value)
    for kind, client in nodes.items():
        arguments: Arguments = {b"token": client.token(target), b"v": bencoding.raw(put.value)}
        said = client.put(with_changes(arguments, put))
        found[kind] = Outcome(said, served(client.get(target), put, NO_SIGNATURE))
    assert found == IMMUTABLE_ROWS[name].outcomes


@pytest.mark.parametrize("name", GET_ROWS)
def test_what_a_get_with_seq_brings(nodes: dict[str, RawClient], name: str) -> None:
    row, found = GET_ROWS[name], {}
    for kind, client in nodes.items():
        pair = new_pair()
        put_first(client, pair)
        client.put(arguments_of(client, pair, row.put))
        answer = client.get(mutable_target(pair.public_key, row.put.salt), seq=row.seq)
        found[kind] = served(answer, row.put, signature_of(pair, row.put))
    assert found == row.outcomes


def test_an_immutable_item_is_not_what_a_get_with_seq_wants(nodes: dict[str, RawClient]) -> None:
    """But bittorrent-dht does not know `seq` in a get."""
    value = b"4:kept"
    for kind, client in nodes.items():
        target = immutable_target(value)
        assert client.put({b"token": client.token(target), b"v": bencoding.raw(value)}) == TAKEN
        assert b"1:v" + value in client.get(target)
        assert (b"1:v" + value in client.get(target, seq=0)) == (kind == "bittorrent-dht")


def test_a_proper_signature_comes_too_late_where_s_plus_l_was_taken(
    nodes: dict[str, RawClient],
) -> None:
    """libtorrent keeps S + L, which others cannot check, until a put of a higher seq."""
    for kind, client in nodes.items():
        pair = new_pair()
        for put in (Put(adds_order=True), Put()):
            said = client.put(arguments_of(client, pair, put))
        assert said == TAKEN
        kept = signature_of(pair, Put(adds_order=kind == "libtorrent"))
        assert b"3:sig64:" + kept in client.get(mutable_target(pair.public_key))


@pytest.mark.parametrize("row", [*ROWS.values(), *IMMUTABLE_ROWS.values(), *GET_ROWS.values()])
def test_whoever_differs_says_why(row: Row | GetRow) -> None:
    """Exactly where ours is not as both of the others are."""
    assert bool(row.why) == (len(set(row.outcomes.values())) > 1)
