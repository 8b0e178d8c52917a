"""Two histories of one fork: whoever has proof of them shows it to all who have one of them."""

from __future__ import annotations

import pytest

from protozorfs.errors import NotWritable
from protozorfs.feeds.ports import FeedState
from protozorfs.wire.replication import CONFLICT_ID
from tests.unit.swarm.fork_peers import connect, owner_of, whole
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

SHARED = [b"one\n", b"two\n", b"three\n"]
LONGER = [*SHARED, b"four\n", b"five\n", b"six\n"]
SHORTER = [*SHARED, b"other\n"]


def conflicting() -> tuple[Peer, Peer]:
    """A feed's owner, and a copy of its store that has appended something else."""
    return owner_of(LONGER), owner_of(SHORTER, key=4)


def is_frozen(peer: Peer) -> bool:
    return peer.feed.state is FeedState.FROZEN


@pytest.mark.parametrize("longer_dials", [True, False])
async def test_both_that_have_appended_are_frozen(longer_dials: bool) -> None:
    original, copy = conflicting()
    pipe = connect(original, copy) if longer_dials else connect(copy, original)
    assert is_frozen(original)
    assert is_frozen(copy)
    assert (pipe.dialler.fault, pipe.listener.fault) == (None, None)
    for peer in (original, copy):
        with pytest.raises(NotWritable):
            await peer.feed.append([b"more\n"])


@pytest.mark.parametrize("blocks", [LONGER, SHORTER], ids=["longer", "shorter"])
def test_a_follower_of_either_learns_it_from_who_knows(blocks: list[bytes]) -> None:
    original, copy = conflicting()
    connect(original, copy).close(0.0)
    reader = Peer(key=2)
    connect(reader, owner_of(blocks)).close(0.0)
    assert not is_frozen(reader)
    connect(reader, original)
    assert is_frozen(reader)
    assert reader.feed.log.contiguous_length == len(blocks), "what it has stays"


def test_a_newcomer_learns_it_once_it_has_begun() -> None:
    original, copy = conflicting()
    connect(original, copy).close(0.0)
    newcomer = Peer(key=2)
    connect(newcomer, original)
    assert is_frozen(newcomer)
    assert newcomer.feed.length == len(LONGER)


def test_it_is_passed_on_along_a_chain_and_comes_to_rest() -> None:
    original, copy = conflicting()
    relay, reader = Peer(key=2), Peer(key=3)
    pipes = [Pipe(relay, original, name="a"), Pipe(reader, relay, name="b")]
    for pipe in pipes:
        pipe.offer()
    settle(pipes)
    assert not is_frozen(reader)
    pipes.append(Pipe(copy, original, name="c"))
    pipes[-1].offer()
    settle(pipes)
    assert all(map(is_frozen, (original, copy, relay, reader)))
    links = [
        link for peer in (original, copy, relay, reader) for link in peer.replicator.links.values()
    ]
    assert len(links) == 6
    assert all(link.was_shown_conflict for link in links)


def test_one_history_alone_shows_no_conflict() -> None:
    original, reader = owner_of(LONGER), Peer(key=2)
    pipe = connect(reader, original)
    for replica in original.replicator.links:
        replica.send_proof(CONFLICT_ID, whole(original))
    settle([pipe])
    assert not is_frozen(reader)
    assert pipe.dialler.fault is None
