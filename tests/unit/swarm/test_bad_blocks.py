"""A peer that sends a bad block: what it costs that peer, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.swarm.trust import MAX_CREDIT, MAX_DISTRUST_SECONDS, MAX_TRUSTS
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.log.proof_types import Proof, Request

BLOCKS = [b"%03d" % number * 40 for number in range(200)]
HOUR = 3600


def owner_of(blocks: list[bytes]) -> Peer:
    peer = Peer(is_owner=True, key=1)
    peer.append(blocks)
    return peer


class Rot:
    """Blocks that a peer gives wrong, as one whose disk does and who does not check them."""

    def __init__(self, peer: Peer, blocks: Iterable[int]) -> None:
        self.blocks = set(blocks)
        self.sent = 0
        self._proof: Callable[[Request], Proof] = peer.feed.proof
        peer.feed.proof = self.proof  # type: ignore[method-assign]

    def proof(self, request: Request) -> Proof:
        proof = self._proof(request)
        block = proof.block
        if block is None or block.block_index not in self.blocks:
            return proof
        self.sent += 1
        value = bytes([block.value[0] ^ 1]) + block.value[1:]
        return proof._replace(block=block._replace(value=value))


def held_by(peer: Peer) -> list[int]:
    log = peer.feed.log
    return [index for index in range(log.length) if log.held.get(index)]


def spend(reader: Peer, pipes: list[Pipe], seconds: range) -> None:
    """Time passes, as in the swarm: who is busy is looked after once a second."""
    for now in seconds:
        for replicator in list(reader.busy):
            replicator.handle_timeout(float(now))
        settle(pipes, float(now))


def connected(reader: Peer, owner: Peer, now: float = 0.0, name: str = "") -> Pipe:
    pipe = Pipe(reader, owner, now, name)
    pipe.offer(now)
    settle([pipe], now)
    return pipe


@pytest.mark.parametrize("bad", [0, 77, len(BLOCKS) - 1])
def test_it_loses_the_trust_for_that_block_only(bad: int) -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    rot = Rot(owner, [bad])
    pipe = connected(reader, owner)
    assert reader.feed.length == len(BLOCKS), "the length is learnt, with that block or without"
    assert held_by(reader) == [index for index in range(len(BLOCKS)) if index != bad]
    owner.append([b"more"])
    settle([pipe])
    assert reader.feed.log.block(len(BLOCKS)) == b"more"
    assert (pipe.dialler.fault, pipe.listener.fault) == (None, None)
    spend(reader, [pipe], range(60))
    rot.blocks.clear()
    spend(reader, [pipe], range(60, 300))
    assert reader.feed.log.block(bad) == BLOCKS[bad], "it is asked again for it"
    assert pipe.dialler.fault is None
    spend(reader, [pipe], range(300, 310))
    assert not reader.busy


def test_the_block_is_fetched_elsewhere_at_once() -> None:
    bad, good, reader = owner_of(BLOCKS), owner_of(BLOCKS), Peer(key=2)
    Rot(bad, range(50, 60))
    pipes = [Pipe(reader, bad, name="bad-"), Pipe(reader, good, name="good-")]
    for pipe in pipes:
        pipe.offer()
    settle(pipes)
    assert held_by(reader) == list(range(len(BLOCKS)))
    assert [pipe.dialler.fault for pipe in pipes] == [None, None]


def test_one_that_tells_that_it_has_the_block_is_asked_at_once() -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    rot = Rot(owner, [77])
    pipe = connected(reader, owner)
    rot.blocks.clear()
    for replica in owner.replicator.links:
        replica.send_range(77, 78)
    settle([pipe])
    assert reader.feed.log.block(77) == BLOCKS[77]


@pytest.mark.parametrize("is_reconnecting", [False, True])
def test_one_that_sends_bad_blocks_only_is_asked_less_and_less(is_reconnecting: bool) -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    rot = Rot(owner, range(len(BLOCKS)))
    pipe = connected(reader, owner)
    assert reader.feed.length == len(BLOCKS)
    first = rot.sent
    assert first <= len(BLOCKS)
    for hour in range(10):
        spend(reader, [pipe], range(hour * HOUR, (hour + 1) * HOUR))
        if is_reconnecting:
            pipe.close((hour + 1.0) * HOUR)
            pipe = connected(reader, owner, (hour + 1.0) * HOUR)
    assert not held_by(reader)
    assert pipe.dialler.fault is None
    assert rot.sent - first < 40, "doubling rests, of an hour at most"
    rot.blocks.clear()
    start = 10 * HOUR
    spend(reader, [pipe], range(start, start + int(MAX_DISTRUST_SECONDS) + 2))
    assert held_by(reader) == list(range(len(BLOCKS))), "it is never given up"


def test_one_with_a_few_bad_blocks_gives_all_others_without_a_rest() -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    bad = range(5, len(BLOCKS), 2 * MAX_CREDIT)
    Rot(owner, bad)
    connected(reader, owner)
    assert held_by(reader) == [index for index in range(len(BLOCKS)) if index not in bad]


def test_a_bad_head_is_asked_again_after_a_rest() -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    proof = owner.feed.proof

    def forged(request: Request) -> Proof:
        right = proof(request)
        if right.upgrade is None:
            return right
        return right._replace(upgrade=right.upgrade._replace(signature=bytes(64)))

    owner.feed.proof = forged  # type: ignore[method-assign]
    pipe = connected(reader, owner)
    spend(reader, [pipe], range(4))
    assert reader.feed.length == 0
    (link,) = reader.replicator.links.values()
    assert "has sent something invalid" in link.trouble(4.0, 0)
    assert pipe.dialler.fault is None
    owner.feed.proof = proof  # type: ignore[method-assign]
    spend(reader, [pipe], range(4, 60))
    assert held_by(reader) == list(range(len(BLOCKS)))


def test_what_is_remembered_of_peers_is_bounded() -> None:
    owner, reader = owner_of(BLOCKS), Peer(key=2)
    Rot(owner, range(len(BLOCKS)))
    for number in range(MAX_TRUSTS + 5):
        connected(reader, owner, name=f"{number}-").close(0.0)
    assert len(reader.replicator.trusts) == MAX_TRUSTS
