"""Replicators in memory on virtual time: what is asked of whom, when, and what is told."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protozorfs.errors import RemoteProtocolError
from protozorfs.feeds.ports import FeedState
from protozorfs.log.proof_types import (
    BlockRequest,
    HashRequest,
    Request,
    SeekRequest,
    UpgradeRequest,
)
from protozorfs.swarm.asking import REASSIGN_SECONDS, SECOND_SOURCE_SECONDS
from protozorfs.swarm.link import ANSWER_SECONDS, MAX_WINDOW_BLOCKS
from protozorfs.types import MAX_SAFE_INTEGER
from protozorfs.wire import messages as m
from protozorfs.wire.replication import CONFLICT_ID, MAX_REMOTE_REQUESTS
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from protozorfs.feeds.wants import Want


def owner_of(blocks: list[bytes]) -> Peer:
    peer = Peer(is_owner=True, key=1)
    if blocks:
        peer.append(blocks)
    return peer


def numbered(count: int, size: int = 10) -> list[bytes]:
    return [b"%d " % number + bytes(size) for number in range(count)]


@given(
    sizes=st.lists(st.sampled_from([0, 1, 50, 3000, 70_000]), max_size=40),
    later=st.lists(st.sampled_from([0, 7, 900]), max_size=10),
    owner_dials=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_reader_gets_all_and_what_is_appended_later(
    sizes: list[int], later: list[int], owner_dials: bool
) -> None:
    chance = random.Random(0)
    blocks = [chance.randbytes(size) for size in sizes]
    owner, reader = owner_of(blocks), Peer(key=2)
    pipe = Pipe(owner, reader) if owner_dials else Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    for size in later:
        blocks.append(chance.randbytes(size))
        owner.append([blocks[-1]])
        settle([pipe])
    log = reader.feed.log
    assert log.length == len(blocks)
    assert [log.block(index) for index in range(len(blocks))] == blocks
    assert reader.feed.state in (FeedState.CURRENT, FeedState.RESOLVING)
    assert (pipe.dialler.fault, pipe.listener.fault) == (None, None)


def test_news_travels_along_a_chain_of_relays() -> None:
    owner = owner_of(numbered(30))
    peers = [owner, *(Peer(key=key) for key in range(2, 6))]
    pipes = [Pipe(after, before) for before, after in itertools.pairwise(peers)]
    for pipe in pipes:
        pipe.offer()
    settle(pipes)
    owner.append([b"news"])
    settle(pipes)
    for peer in peers:
        assert peer.feed.log.contiguous_length == 31
        assert peer.feed.log.block(30) == b"news"


def test_what_a_reader_waits_for_is_asked_first_then_what_follows_it() -> None:
    blocks = numbered(2000, 1000)
    owner, reader = owner_of(blocks), Peer(is_sparse=True, key=2)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    assert reader.feed.log.length == 2000
    assert reader.feed.held_bytes < 5000, "sparse: the upgrade brings no blocks"
    start = owner.feed.log.block_span(1500)[0]
    for _ in range(20):  # each answer narrows the search
        want = reader.feed.wants.add(reader.feed.log, start, start + 1, 0.0)
        reader.replicator.flush(0.0)
        if len(reader.feed.wants.asked) > 1:
            first = next(iter(reader.feed.wants.asked))
            assert first == want.missing_block
        settle([pipe])
        reader.feed.wants.discard(want)
    assert reader.feed.log.block(1500) == blocks[1500]
    assert reader.feed.held_bytes < 600_000


def test_all_that_readers_wait_for_is_asked_before_what_follows_it() -> None:
    owner, reader = owner_of([bytes(1000)] * 2000), Peer(is_sparse=True, key=2)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    log, wants = reader.feed.log, reader.feed.wants

    def want(start: int, end: int) -> Want:
        return wants.add(log, start * 1000, end * 1000, 0.0)

    first = want(500, 530)
    reader.replicator.flush(0.0)
    assert list(wants.asked) == list(range(500, 530)), "who just came may want no more"
    settle([pipe])
    assert first.done.is_set()
    wants.discard(first)

    both = [want(530, 560), want(1000, 1010)]
    reader.replicator.flush(0.0)
    asked = list(wants.asked)
    waited_for = [530, 1000, *range(531, 560), *range(1001, 1010)]
    assert asked[: len(waited_for)] == waited_for
    assert asked[len(waited_for)] == 560, "who reads on gets what follows"
    settle([pipe])
    assert all(one.done.is_set() for one in both)


def test_a_reader_waits_for_bytes_that_another_peer_brings() -> None:
    blocks = numbered(20, 3000)
    owner, reader = owner_of(blocks), Peer(key=2)
    want = None
    pipe = Pipe(reader, owner)
    pipe.offer()
    while reader.feed.log.length == 0:
        pipe.step(0.0)
    want = reader.feed.wants.add(reader.feed.log, 0, reader.feed.log.byte_length, 0.0)
    settle([pipe])
    assert want.done.is_set()
    assert want.error is None


def test_a_silent_peer_is_not_asked_for_ever() -> None:
    """It was asked first; what it keeps is asked of the other, the upgrade sooner than blocks."""
    blocks = numbered(300, 1000)
    silent, good, reader = owner_of(blocks), owner_of(blocks), Peer(key=2)
    to_silent = Pipe(reader, silent, name="silent-")
    to_silent.offer()
    while not reader.replicator.links or not any(
        link.replica.remote.is_known for link in reader.replicator.links.values()
    ):
        to_silent.step(0.0)
    to_silent.is_cut = True
    to_good = Pipe(reader, good, name="good-")
    to_good.offer()
    settle([to_silent, to_good])
    assert reader.feed.log.length == 0, "one upgrade at a time"
    reader.replicator.handle_timeout(SECOND_SOURCE_SECONDS + 0.1)
    settle([to_silent, to_good], SECOND_SOURCE_SECONDS + 0.1)
    assert reader.feed.log.length == 300
    for now in (REASSIGN_SECONDS + 3.0, ANSWER_SECONDS + 3.0):
        reader.replicator.handle_timeout(now)
        settle([to_silent, to_good], now)
    assert reader.feed.log.contiguous_length == 300
    assert (to_good.dialler.fault, to_silent.dialler.fault) == (None, None)


def test_a_peer_that_leaves_has_its_blocks_asked_elsewhere() -> None:
    blocks = numbered(400, 4000)
    first, second, reader = owner_of(blocks), owner_of(blocks), Peer(key=2)
    to_first, to_second = Pipe(reader, first, name="1"), Pipe(reader, second, name="2")
    to_first.offer()
    while not reader.feed.log.contiguous_length:
        to_first.step(0.0)
    assert 0 < reader.feed.log.contiguous_length < 400
    assert reader.feed.wants.asked
    to_first.close(1.0)
    assert not reader.feed.wants.asked
    to_second.offer(1.0)
    settle([to_second], 1.0)
    assert reader.feed.log.contiguous_length == 400


def test_what_is_under_way_is_bounded() -> None:
    owner, reader = owner_of(numbered(5000, 1)), Peer(key=2)
    pipe = Pipe(reader, owner)
    pipe.offer()
    most = 0
    while pipe.step(0.0):
        most = max(most, len(reader.feed.wants.asked))
    assert reader.feed.log.contiguous_length == 5000
    assert 32 <= most <= MAX_WINDOW_BLOCKS + 1


def test_nothing_is_fetched_while_the_disk_is_nearly_full() -> None:
    owner, reader = owner_of(numbered(50)), Peer(key=2)
    reader.surroundings.has_room = False
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    assert reader.feed.log.length == 50
    assert reader.feed.held_bytes == 0
    assert reader.feed.state is FeedState.PAUSED
    reader.surroundings.has_room = True
    reader.replicator.flush(1.0)
    settle([pipe], 1.0)
    assert reader.feed.log.contiguous_length == 50


def test_an_owner_shows_only_what_is_durable() -> None:
    owner, reader = owner_of(numbered(5)), Peer(key=2)
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    owner.feed.log.append([b"in the page cache only"])
    owner.replicator.flush(0.0)
    settle([pipe])
    assert reader.feed.log.length == 5
    owner.feed.log.sync()
    owner.replicator.head_published(0.0)
    settle([pipe])
    assert reader.feed.log.length == 6


def test_a_flood_of_requests_ends_the_connection() -> None:
    owner, flooder = owner_of(numbered(5)), Peer(key=2)
    pipe = Pipe(flooder, owner)
    pipe.offer()
    settle([pipe])
    ((replica, _),) = flooder.replicator.links.items()
    for number in range(MAX_REMOTE_REQUESTS + 2):
        request = m.encode_request(m.RequestMessage(number, 0, _whole_tree(5)))
        replica.connection.send(replica.channel, m.REQUEST, request)
    with pytest.raises(RemoteProtocolError, match="faster"):
        settle([pipe])


def _whole_tree(length: int) -> Request:
    return Request(upgrade=UpgradeRequest(0, length))


NUMBER = st.one_of(st.integers(0, 24), st.integers(0, MAX_SAFE_INTEGER))


@given(
    request=st.builds(
        Request,
        block=st.none() | st.builds(BlockRequest, NUMBER, NUMBER),
        hash=st.none() | st.builds(HashRequest, NUMBER, NUMBER),
        seek=st.none() | st.builds(SeekRequest, NUMBER, st.just(0)),
        upgrade=st.none() | st.builds(UpgradeRequest, NUMBER, NUMBER),
    ),
    is_relay=st.booleans(),
)
@example(request=_whole_tree(50), is_relay=False)
@example(request=_whole_tree(7), is_relay=True)
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_is_answered(request: Request, is_relay: bool) -> None:
    """A request that no proof can answer is the asker's affair, and harms nobody."""
    owner, relay, asker = owner_of(numbered(11)), Peer(is_sparse=True, key=2), Peer(key=3)
    pipes = [Pipe(relay, owner, name="a"), Pipe(asker, relay if is_relay else owner, name="b")]
    for pipe in pipes:
        pipe.offer()
        settle(pipes)
    ((replica, _),) = asker.replicator.links.items()
    replica.is_history_asked = True
    question = m.encode_request(m.RequestMessage(CONFLICT_ID, 0, request))
    replica.connection.send(replica.channel, m.REQUEST, question)
    settle(pipes)
    assert not replica.is_history_asked
    assert pipes[1].listener.fault is None


def test_a_claim_of_many_blocks_takes_no_memory() -> None:
    owner, liar = owner_of(numbered(5)), Peer(key=2)
    pipe = Pipe(liar, owner)
    pipe.offer()
    settle([pipe])
    ((replica, _),) = liar.replicator.links.items()
    replica.connection.send(
        replica.channel, m.SYNC, m.encode_sync(m.Sync(0, 2**50, 5, True, True, True))
    )
    replica.connection.send(replica.channel, m.RANGE, m.encode_range(m.Range(False, 0, 2**50)))
    settle([pipe])
    (remote,) = owner.replicator.links
    assert remote.remote_held.segments <= 2
    assert owner.feed.log.length == 5
