"""Three implementations of the DHT: each stores in, and reads from, a network of each.

What the nodes of one kind keep was put by a node of another and is read by one of a third.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from protozorfs import crypto
from protozorfs.dht.items import mutable_target
from tests.dht_peers import SWARMS
from tests.raw_krpc import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dht_peers import Swarm

pytestmark = pytest.mark.interop

NODES = 20
SEED = bytes(range(32))
PEER_PORTS = {kind: 4700 + number for number, kind in enumerate(SWARMS)}


# Of one put: libtorrent and we store on the 8 nearest (once in a while an answer comes too late to
# count), bittorrent-dht on whoever gave it a token.
NEAREST = range(8, 10)
WHOEVER = range(10, NODES + len(SWARMS) + 1)


class Stage(NamedTuple):
    """A network of one kind, and one node of each kind that has joined it."""

    network: Swarm
    clients: dict[str, Swarm]

    def copies(self, target: bytes) -> int:
        """How many of all these nodes have an item."""
        swarms = [self.network, *self.clients.values()]
        count = 0
        for address in (address for swarm in swarms for address in swarm.addresses):
            with raw_client(address) as client:
                count += b"3:sig64:" in client.get(target)
        return count


@pytest.fixture(scope="module", params=SWARMS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A network of each kind in its turn."""
    with ExitStack() as stack:
        network = stack.enter_context(SWARMS[request.param](NODES))
        clients = {
            kind: stack.enter_context(start(1, *network.addresses[:8]))
            for kind, start in SWARMS.items()
        }
        yield Stage(network, clients)


@pytest.fixture
def clients(stage: Stage) -> dict[str, Swarm]:
    """One node of each kind, in a network of one kind."""
    return stage.clients


@pytest.mark.parametrize("writer", SWARMS)
def test_what_one_puts_all_get(clients: dict[str, Swarm], writer: str) -> None:
    """Twice, the newer item over the older one."""
    seed = crypto.blake2b_256(SEED, writer.encode())
    key = crypto.key_pair(seed).public_key.hex()
    for text in ("first", "second"):
        put = clients[writer].ask("put", seed=seed.hex(), text=text)
        assert put["ok"], put
        for reader, client in clients.items():
            found = client.ask("get", key=key)
            assert (found["ok"], found.get("text")) == (True, text), reader
            assert found["seq"] == put["seq"], reader


def test_whoever_comes_next_continues_the_sequence(clients: dict[str, Swarm]) -> None:
    """Each kind finds the newest seq of another's item before it puts its own."""
    seed = crypto.blake2b_256(SEED, b"together")
    numbers = [
        client.ask("put", seed=seed.hex(), text=kind)["seq"] for kind, client in clients.items()
    ]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("announcer", SWARMS)
def test_whom_one_announces_all_find(clients: dict[str, Swarm], announcer: str) -> None:
    infohash = crypto.blake2b_256(SEED, announcer.encode())[:20].hex()
    port = PEER_PORTS[announcer]
    assert clients[announcer].ask("announce", infohash=infohash, port=port)["ok"]
    address = f"{clients[announcer].addresses[0].host}:{port}"
    for reader, client in clients.items():
        assert client.ask("lookup", infohash=infohash)["peers"] == [address], reader


def test_the_longest_value_is_read_by_all(clients: dict[str, Swarm]) -> None:
    """996 bytes; bittorrent-dht itself puts up to 999, where its own nodes alone keep them."""
    text = "x" * 996
    for writer, client in clients.items():
        seed = crypto.blake2b_256(SEED + writer.encode(), b"long")
        assert client.ask("put", seed=seed.hex(), text=text)["ok"], writer
        key = crypto.key_pair(seed).public_key.hex()
        for reader, other in clients.items():
            assert other.ask("get", key=key)["text"] == text, (writer, reader)
    refused = clients["bittorrent-dht"].ask("put", seed=SEED.hex(), text="x" * 1000)
    assert refused["error"] == "Error: v must be less than 1000 bytes in put()"


def test_how_many_copies_a_put_makes(stage: Stage) -> None:
    """The last of the tests: whoever counts is taken for a node, and is gone then."""
    seeds = {writer: crypto.blake2b_256(SEED + writer.encode(), b"copies") for writer in SWARMS}
    puts = {
        writer: stage.clients[writer].ask("put", seed=seed.hex(), text="copied")
        for writer, seed in seeds.items()
    }
    for writer, seed in seeds.items():
        copies = stage.copies(mutable_target(crypto.key_pair(seed).public_key))
        assert copies in (WHOEVER if writer == "bittorrent-dht" else NEAREST), writer
        assert puts[writer]["stored"] <= copies, writer
