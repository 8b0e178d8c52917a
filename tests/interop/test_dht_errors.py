"""What a storing node says to each right and wrong put: libtorrent, bittorrent-dht, and ours.

The columns of the two others show what our writers have to cope with; ours is BEP 44's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from protozorfs import bencoding, crypto
from protozorfs.dht.items import mutable_target, signed_bytes
from tests.dht_peers import SWARMS
from tests.raw_krpc import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.types import Address
    from tests.raw_krpc import RawClient

pytestmark = pytest.mark.interop

TAKEN = 0
SILENT = None
STORED_SEQ = 5
STORED = b"stored"


class Case(NamedTuple):
    """A put after one of seq 5 with the value "stored"; what is not said is as it should be."""

    seq: int = STORED_SEQ + 1
    value: bencoding.Encodable = b"newer"
    cas: int | None = None
    salt: bytes = b""
    token: bytes | None = None  # b"": none is sent
    signature: bytes | None = None


CASES = {
    "newer": Case(),
    "same seq, same v": Case(seq=STORED_SEQ, value=STORED),
    "same seq, other v": Case(seq=STORED_SEQ),
    "lower seq": Case(seq=STORED_SEQ - 1),
    "right cas": Case(cas=STORED_SEQ),
    "wrong cas": Case(cas=STORED_SEQ - 1),
    "bad token": Case(token=b"nonsense"),
    "no token": Case(token=b""),
    "bad signature": Case(signature=bytes(64)),
    "v of 996 bytes": Case(value=bytes(996)),
    "v of 997 bytes": Case(value=bytes(997)),
    "salt of 64 bytes": Case(salt=bytes(64)),
    "salt of 65 bytes": Case(salt=bytes(65)),
    "negative seq": Case(seq=-1, salt=b"other"),
    "seq of 2**53 - 1": Case(seq=2**53 - 1),
    "seq of 2**63 - 1": Case(seq=2**63 - 1),
    "v is a dict": Case(value={b"a": [1, b"x"]}),
}
# libtorrent, bittorrent-dht, ours
EXPECTED: dict[str, tuple[int | None, int | None, int | None]] = {
    "newer": (TAKEN, TAKEN, TAKEN),
    "same seq, same v": (TAKEN, 302, TAKEN),
    "same seq, other v": (TAKEN, 302, 302),  # libtorrent keeps the old v all the same
    "lower seq": (302, 302, 302),
    "right cas": (TAKEN, TAKEN, TAKEN),
    "wrong cas": (301, 301, 301),
    "bad token": (203, 203, 203),
    "no token": (203, SILENT, 203),
    "bad signature": (206, SILENT, 206),
    "v of 996 bytes": (TAKEN, TAKEN, TAKEN),
    "v of 997 bytes": (205, TAKEN, 205),
    "salt of 64 bytes": (TAKEN, TAKEN, TAKEN),
    "salt of 65 bytes": (207, TAKEN, 207),
    "negative seq": (203, TAKEN, 203),
    "seq of 2**53 - 1": (TAKEN, TAKEN, TAKEN),
    "seq of 2**63 - 1": (TAKEN, SILENT, TAKEN),
    "v is a dict": (TAKEN, TAKEN, TAKEN),
}
KINDS = ("libtorrent", "bittorrent-dht", "ours")


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, Address]]:
    """One node of each kind."""
    with ExitStack() as stack:
        swarms = {kind: stack.enter_context(SWARMS[kind](2)) for kind in KINDS}
        yield {kind: swarm.addresses[0] for kind, swarm in swarms.items()}


@pytest.fixture
def nodes(addresses: dict[str, Address]) -> Iterator[dict[str, RawClient]]:
    """A client of each of the nodes."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(raw_client(address)) for kind, address in addresses.items()
        }


def arguments(
    client: RawClient, pair: crypto.KeyPair, case: Case
) -> dict[bytes, bencoding.Encodable]:
    """The arguments of a put."""
    raw_value = bencoding.encode(case.value)
    message = signed_bytes(case.salt, case.seq, raw_value)
    given: dict[bytes, bencoding.Encodable] = {
        b"k": pair.public_key,
        b"seq": case.seq,
        b"v": bencoding.raw(raw_value),
        b"sig": case.signature or crypto.sign(message, pair.secret_key),
    }
    if case.salt:
        given[b"salt"] = case.salt
    if case.cas is not None:
        given[b"cas"] = case.cas
    if case.token != b"":
        token = client.get(mutable_target(pair.public_key, case.salt)).values[b"token"]
        assert isinstance(token, bytes)
        given[b"token"] = case.token or token
    return given


@pytest.mark.parametrize("name", CASES)
def test_what_a_storing_node_says(nodes: dict[str, RawClient], name: str) -> None:
    said = []
    for client in nodes.values():
        pair = crypto.key_pair(crypto.random_bytes(32))
        first = arguments(client, pair, Case(seq=STORED_SEQ, value=STORED))
        assert client.put(first) == TAKEN
        said.append(client.put(arguments(client, pair, CASES[name])))
    assert tuple(said) == EXPECTED[name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_get_with_seq_is_answered_with_what_is_newer(
    nodes: dict[str, RawClient], kind: str
) -> None:
    """bittorrent-dht does not know `seq` in a get and always sends the item."""
    client, pair = nodes[kind], crypto.key_pair(crypto.random_bytes(32))
    assert client.put(arguments(client, pair, Case(seq=STORED_SEQ, value=STORED))) == TAKEN
    target = mutable_target(pair.public_key)
    assert client.get(target, seq=STORED_SEQ - 1).values[b"v"] == STORED
    values = client.get(target, seq=STORED_SEQ).values
    assert values[b"seq"] == STORED_SEQ
    assert (b"v" in values) == (kind == "bittorrent-dht")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_refused_is_not_served(nodes: dict[str, RawClient], kind: str) -> None:
    client, pair = nodes[kind], crypto.key_pair(crypto.random_bytes(32))
    client.put(arguments(client, pair, Case(seq=STORED_SEQ, value=STORED)))
    for name in ("same seq, other v", "lower seq", "wrong cas", "bad token", "bad signature"):
        client.put(arguments(client, pair, CASES[name]))
    assert client.get(mutable_target(pair.public_key), seq=0).values[b"v"] == STORED
