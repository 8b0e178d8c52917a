"""What readers make of items that libtorrent's nodes took although they should not have.

Whoever wants to hide a feed can store so. libtorrent stands for the network: its nodes are most of
the real one.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from protozorfs import crypto
from protozorfs.dht.items import mutable_target
from tests.dht_peers import SWARMS
from tests.interop.storing_rows import KINDS, Put, changed
from tests.interop.test_dht_errors import arguments_of
from tests.raw_krpc import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dht_peers import Swarm

pytestmark = pytest.mark.interop

NODES = 20
TEXT = "newer"  # of a put as it should be
FAR_FROM_US = 0xF0  # first byte of a target; that of the raw client's id is 0


class Row(NamedTuple):
    """Puts, one after the other, to every node; who finds the item then; and why ours does, or not.

    `changed` ones are without a signature.
    """

    puts: tuple[Put, ...]
    libtorrent: bool
    bittorrent: bool
    ours: bool
    why: str = ""


REPAIRED = "ours reduces S before it checks; bittorrent-dht refuses S + L"
WITH_SEQ = "ours asks with `seq`, which only signed items answer; the others are shown a bare value"
ROWS = {
    "as it should be": Row((Put(),), True, True, True),
    "S + L": Row((Put(adds_order=True),), True, False, True, REPAIRED),
    "S + L, then as it should be": Row((Put(adds_order=True), Put()), True, False, True, REPAIRED),
    "no signature": Row((changed(sig=None),), False, False, False),
    "as it should be, then no signature": Row(
        (Put(), changed(sig=None)), False, False, True, WITH_SEQ
    ),
    "no signature, then as it should be": Row(
        (changed(sig=None), Put()), False, False, True, WITH_SEQ
    ),
    "seq of 0": Row(
        *((Put(seq=0),), False, True, False),
        "to libtorrent's nodes a get of seq 0 is for what is newer; ours writes from seq 1 on",
    ),
}


class Stage(NamedTuple):
    """The network, and a reader of each kind."""

    network: Swarm
    readers: dict[str, Swarm]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        network = stack.enter_context(SWARMS["libtorrent"](NODES))
        readers = {
            kind: stack.enter_context(SWARMS[kind](1, *network.addresses[:8])) for kind in KINDS
        }
        yield Stage(network, readers)


def far_pair() -> crypto.KeyPair:
    """A key whose item is as far from the raw client as can be.

    libtorrent takes who has stored for a node, and readers near that one would wait 15 s for it.
    """
    while True:
        pair = crypto.key_pair(crypto.random_bytes(32))
        if mutable_target(pair.public_key)[0] >= FAR_FROM_US:
            return pair


@pytest.mark.parametrize("name", ROWS)
def test_who_finds_an_item(stage: Stage, name: str) -> None:
    row, pair = ROWS[name], far_pair()
    for address in stage.network.addresses:
        with raw_client(address) as client:
            for put in row.puts:
                assert client.put(arguments_of(client, pair, put)) == 0
    found = {}
    for kind, reader in stage.readers.items():
        answer = reader.ask("get", key=pair.public_key.hex())
        found[kind] = answer["ok"]
        assert not answer["ok"] or answer["text"] == TEXT
    assert found == dict(zip(KINDS, (row.libtorrent, row.bittorrent, row.ours), strict=True))
    assert bool(row.why) == (len(set(found.values())) > 1)
