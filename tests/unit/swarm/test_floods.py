"""What one batch of messages may cost: a peer that fills it with one kind holds nobody up."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import trio
import trio.testing

from protozorfs.errors import RemoteProtocolError
from protozorfs.log.proof_types import Request, UpgradeRequest
from protozorfs.swarm.dht_upkeep import infohash_of
from protozorfs.swarm.driver import MAX_RECEIVE
from protozorfs.swarm.lan import Found
from protozorfs.swarm.link import MIN_REST_SECONDS
from protozorfs.swarm.peers import MAX_PEERS_PER_FEED, PeerTable
from protozorfs.types import Address
from protozorfs.wire import messages as m
from protozorfs.wire.mux import MAX_BODY_BYTES
from protozorfs.wire.replication import CONFLICT_ID, MAX_REMOTE_REQUESTS, MAX_REMOTE_WANTS
from tests.unit.swarm.fork_peers import OURS, Liar, connect, follower, owner_of, whole
from tests.unit.swarm.memory_net import PORT, MemoryNet, in_memory, memory_node
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

    from protozorfs.log.bitfield import Bitfield
    from protozorfs.wire.replication import Replica

ROOT = Path(__file__).parents[3]
MOST_KIB = 32 * 1024  # half of it is what the batches themselves take
MAX_ITEMS = 65_000  # in one frame
MOST_SECONDS = 3.0  # of the processor for one batch; 0.1 s is usual
MAX_ANSWER_BYTES = 8 * MAX_RECEIVE  # that one batch of small messages may make us queue


def connected(owner: Peer) -> tuple[Pipe, Replica]:
    """A peer that is connected to the owner, and its side of the channel."""
    pipe = Pipe(Peer(key=2), owner)
    pipe.offer()
    settle([pipe])
    ((replica, _),) = pipe.dialler.peer.replicator.links.items()
    return pipe, replica


def whole_tree(request_id: int) -> bytes:
    request = Request(upgrade=UpgradeRequest(0, len(OURS)))
    return m.encode_request(m.RequestMessage(request_id, 0, request))


def cancels() -> Iterator[tuple[int, bytes]]:
    """Of requests that were never made, while as many wait as may."""
    for number in range(MAX_REMOTE_REQUESTS - 1):
        yield m.REQUEST, whole_tree(number)
    while True:
        yield m.CANCEL, m.encode_cancel(m.Cancel(MAX_REMOTE_REQUESTS))


def repeated(message_type: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    while True:
        yield message_type, body


def wants() -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        number += 1
        yield m.WANT, m.encode_want(m.Want(32 * number, 2**21))


def scattered() -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        number += 1
        yield m.RANGE, m.encode_range(m.Range(False, number * 8192 % 2**21, 1))


FLOODS: dict[str, Callable[[], Iterator[tuple[int, bytes]]]] = {
    "cancels": cancels,
    "wants": wants,
    "one want": lambda: repeated(m.WANT, m.encode_want(m.Want(0, 2**21))),
    "syncs": lambda: repeated(m.SYNC, m.encode_sync(m.Sync(0, 2**52, 0, True, True, True))),
    "later forks": lambda: repeated(m.SYNC, m.encode_sync(m.Sync(9, 9, 0, True, True, True))),
    "one request": lambda: repeated(m.REQUEST, whole_tree(CONFLICT_ID)),
    "ranges": lambda: repeated(m.RANGE, m.encode_range(m.Range(False, 1, 2**53 - 1))),
    "scattered ranges": scattered,
    "extensions": lambda: repeated(m.EXTENSION, b"\0"),
    "unknown messages": lambda: repeated(99, b""),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_batch_of_one_kind_costs_little(flood: str) -> None:
    owner = owner_of(OURS)
    pipe, replica = connected(owner)
    messages = FLOODS[flood]()
    connection = replica.connection
    for message in islice(messages, MAX_ITEMS):
        connection.send(replica.channel, *message)
        if connection.queued_bytes >= MAX_RECEIVE:
            break
    data = bytes(connection.bytes_to_send())
    started = time.process_time()
    pipe.listener.session.receive(data, 0.0)
    assert time.process_time() - started < MOST_SECONDS
    assert pipe.listener.session.connection.queued_bytes < MAX_ANSWER_BYTES


def test_wants_are_answered_once_each_and_end_where_the_feed_does() -> None:
    owner = owner_of([b"."] * 100)
    owner.feed.log.held.clear_range(3, 4)
    pipe, replica = connected(owner)
    (link,) = owner.replicator.links.values()
    told: list[tuple[int, int]] = []
    send_held = link.replica.send_held

    def tell(held: Bitfield, length: int, start: int, end: int) -> None:
        told.append((start, min(end, length)))
        send_held(held, length, start, end)

    link.replica.send_held = tell  # type: ignore[method-assign]
    for start in (0, 0, 64, 2**52, 64):
        want = m.encode_want(m.Want(start, 2**21))
        replica.connection.send(replica.channel, m.WANT, want)
    settle([pipe])
    assert told == [(0, 100), (64, 100), (2**52, 100)]
    assert replica.remote_held.count(0, 2**53) == 99
    assert len(told) <= MAX_REMOTE_WANTS


def test_a_block_that_fits_into_no_frame_with_its_nodes_is_not_available() -> None:
    """It came in one, alone, and is asked for together with the tree."""
    owner = owner_of([bytes(MAX_BODY_BYTES - 40)])
    asker = Peer(key=2)
    pipe = Pipe(asker, owner)
    pipe.offer()
    settle([pipe])
    (link,) = asker.replicator.links.values()
    assert link.replica.refusals == 1
    now = MIN_REST_SECONDS + 1
    asker.replicator.handle_timeout(now)
    settle([pipe], now)
    assert asker.feed.log.length == 1, "the tree alone is no trouble"


def test_a_good_answer_before_a_bad_message_is_asked_for_again() -> None:
    """One batch may hold both: what came with the first must not count as under way for ever."""
    owner, liar, reader = owner_of(OURS), owner_of(OURS, key=3), Peer(key=2)
    lying, honest = Pipe(reader, liar, name="a"), Pipe(reader, owner, name="b")
    lying.offer()
    while not break_after_answer(lying):
        pass
    assert reader.feed.log.length < len(OURS)
    assert not reader.feed.wants.asked
    honest.offer()
    settle([honest])
    assert reader.feed.log.contiguous_length == len(OURS)


def break_after_answer(pipe: Pipe) -> bool:
    """Moves bytes once; the first answer has something invalid right behind it, then True."""
    ask, answer = pipe.dialler.session, pipe.listener.session
    question = ask.connection.bytes_to_send()
    if question:
        answer.receive(bytes(question), 0.0)
    is_asked = any(replica.in_flight for replica in pipe.dialler.peer.replicator.links)
    if is_asked and answer.connection.queued_bytes:
        ((replica, _),) = pipe.listener.peer.replicator.links.items()
        answer.connection.send(replica.channel, m.SYNC, b"")
        with pytest.raises(RemoteProtocolError):
            ask.receive(bytes(answer.connection.bytes_to_send()), 0.0)
        ask.close(0.0)
        return True
    ask.receive(bytes(answer.connection.bytes_to_send()), 0.0)
    return False


def test_two_histories_are_passed_on_once() -> None:
    """Peers that all know each other would send the proof round for ever."""
    followers = [follower() for _ in range(3)]
    pipes = [
        Pipe(one, other, name=f"{number}")
        for number, (one, other) in enumerate(itertools.combinations(followers, 2))
    ]
    for pipe in pipes:
        pipe.offer()
    settle(pipes)
    liar = Liar()
    telling = connect(liar, followers[0], name="liar")
    rival = owner_of([*OURS[:2], b"another\n"])
    liar.show(whole(rival))
    settle([telling, *pipes])
    assert all(one.feed.is_frozen for one in followers)


def test_claims_of_everything_take_little_memory() -> None:
    """In a process of its own: what it has had at the most says nothing of other tests."""
    command = [sys.executable, "-m", "tests.unit.swarm.claims"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) < MOST_KIB


async def test_what_is_heard_again_on_the_lan_costs_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Else a neighbour's datagrams, of many feeds each, would have all addresses looked at."""
    net = MemoryNet()
    with in_memory(net, 1):
        async with memory_node(net, tmp_path / "us", "10.0.0.1") as us:
            feed = await us.create(b"ours")
            table = us.swarm.connections.table
            heard = [Found(infohash_of(feed.feed_id), Address("10.0.0.2", PORT))]
            us.swarm._found_on_lan(heard)
            await trio.sleep(1.0)
            with (
                patch.object(PeerTable, "hurry", side_effect=AssertionError),
                patch.object(PeerTable, "due", side_effect=AssertionError),
            ):
                for _ in range(100):
                    us.swarm._found_on_lan(heard)
                    await trio.testing.wait_all_tasks_blocked()
            others = [Found(heard[0].infohash, Address("10.0.0.2", port)) for port in range(200)]
            us.swarm._found_on_lan(others)
            assert len(table) == MAX_PEERS_PER_FEED
