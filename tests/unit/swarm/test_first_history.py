"""Which history a feed begins with of which no head was ever seen: any fork, the highest proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.errors import InvalidProof
from protozorfs.feeds.evidence import LATER_FILE_NAME
from protozorfs.feeds.ports import FeedState
from protozorfs.swarm.first_history import CHOICE_SECONDS, RETRY_SECONDS
from protozorfs.swarm.head import encode_kept, sign_record
from protozorfs.wire.replication import CONFLICT_ID
from tests.unit.swarm.fork_peers import (
    OURS,
    THEIRS,
    Liar,
    connect,
    follower,
    owner_of,
    reopened,
    whole,
)
from tests.unit.swarm.memory_peers import FEED_KEYS, Peer, Pipe, settle

if TYPE_CHECKING:
    from random import Random

    from protozorfs.feeds.feed import Feed


def blocks_of(feed: Feed) -> list[bytes]:
    return [feed.log.block(index) for index in range(feed.log.length)]


def has_evidence(feed: Feed) -> bool:
    directory = feed.log.directory
    return directory.files.exists(f"{directory.path}/{LATER_FILE_NAME}")


def offered(dialler: Peer, *listeners: Peer) -> list[Pipe]:
    """Connections on which nothing has been moved yet."""
    pipes = [
        Pipe(dialler, listener, name=f"{number}-") for number, listener in enumerate(listeners)
    ]
    for pipe in pipes:
        pipe.offer()
    return pipes


def ask(reader: Peer, pipe: Pipe) -> None:
    """Goes on until the reader has asked for the proof of a fork."""
    while not any(replica.is_history_asked for replica in reader.replicator.links):
        assert pipe.step(0.0)


def expect_begun(peer: Peer, fork: int, blocks: list[bytes]) -> None:
    feed = peer.feed
    assert (feed.fork, blocks_of(feed), feed.state) == (fork, blocks, FeedState.CURRENT)
    assert (feed.frozen_why, has_evidence(feed)) == ("", False)
    assert all(link.trust.is_full for link in peer.replicator.links.values())


@pytest.mark.parametrize("reader_dials", [True, False])
def test_a_later_fork_is_begun_followed_and_passed_on(reader_dials: bool) -> None:
    later, reader, other = owner_of(THEIRS, fork=2), Peer(key=2), Peer(key=3)
    pipes = [connect(reader, later) if reader_dials else connect(later, reader)]
    expect_begun(reader, 2, THEIRS)
    later.append([b"live\n"])
    settle(pipes)
    expect_begun(reader, 2, [*THEIRS, b"live\n"])
    pipes.append(connect(other, reader, "other-"))
    expect_begun(other, 2, [*THEIRS, b"live\n"])
    later.append([b"livelier\n"])
    settle(pipes)
    expect_begun(other, 2, [*THEIRS, b"live\n", b"livelier\n"])
    assert [end.fault for pipe in pipes for end in (pipe.dialler, pipe.listener)] == [None] * 4


def test_who_was_connected_before_gets_it_too() -> None:
    later, relay, other = owner_of(THEIRS, fork=2), Peer(key=2), Peer(key=3)
    pipes = [connect(other, relay, "other-")]
    pipes.append(connect(relay, later))
    settle(pipes)
    expect_begun(other, 2, THEIRS)


def test_the_head_is_told_by_who_fetches_no_blocks() -> None:
    relay, other = Peer(is_sparse=True, key=2), Peer(is_sparse=True, key=3)
    pipes = [connect(other, relay, "other-"), connect(relay, owner_of(THEIRS, fork=2))]
    settle(pipes)
    assert (other.feed.fork, other.feed.length, other.feed.held_bytes) == (2, 4, 0)


@given(
    forks=st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_in_whatever_order_it_comes_one_history_is_taken_whole(
    forks: list[int], chance: Random
) -> None:
    reader = Peer(key=2)
    histories = {fork: [*OURS[: chance.randrange(3)], b"%d" % fork] for fork in forks}
    owners = [owner_of(blocks, fork, key=10 + fork) for fork, blocks in histories.items()]
    pipes = offered(reader, *owners)
    for _ in range(chance.randrange(40)):
        chance.choice(pipes).step(0.0)
    settle(pipes)
    begun = reader.feed.fork
    assert blocks_of(reader.feed) == histories[begun]
    assert has_evidence(reader.feed) == (begun < max(forks))
    assert not any(end.fault for pipe in pipes for end in (pipe.dialler, pipe.listener))
    assert all(link.trust.is_full for link in reader.replicator.links.values())
    owners[forks.index(begun)].append([b"live\n"])
    settle(pipes)
    assert blocks_of(reader.feed) == [*histories[begun], b"live\n"]


def test_it_is_our_history_from_then_on() -> None:
    """After a restart, too: another follower gets it from us; still later forks are evidence."""
    reader = Peer(key=2)
    connect(reader, owner_of(THEIRS, fork=2)).close(0.0)
    again, other = Peer(key=2), Peer(key=3)
    again.surroundings.files = reader.surroundings.files
    reader.feed.close()
    assert again.feed.fork == 2, "known without opening the log"
    pipe = connect(other, again)
    expect_begun(other, 2, THEIRS)
    pipe.close(0.0)
    connect(again, owner_of(OURS, key=4), "lower-").close(0.0)
    assert (again.feed.fork, again.feed.frozen_why) == (2, "")
    head = again.feed.log.head
    connect(again, owner_of(OURS, fork=3, key=5), "later-")
    assert again.feed.frozen_why.startswith("its key signed a later history elsewhere (fork 3")
    assert (again.feed.fork, again.feed.log.head, blocks_of(again.feed)) == (2, head, THEIRS)


def test_after_a_kill_it_is_still_there() -> None:
    reader, again = Peer(key=2), Peer(key=2)
    connect(reader, owner_of(THEIRS, fork=2))
    reader.surroundings.files.kill()
    again.surroundings.files = reader.surroundings.files
    assert (again.feed.fork, blocks_of(again.feed)) == (2, THEIRS)


def test_what_is_read_is_fetched_of_a_sparse_feed() -> None:
    later, reader = owner_of(THEIRS, fork=2), Peer(is_sparse=True, key=2)
    pipe = connect(reader, later)
    assert (reader.feed.fork, reader.feed.length, reader.feed.held_bytes) == (2, 4, 0)
    want = reader.feed.wants.add(reader.feed.log, 4, 5, 0.0)
    reader.replicator.flush(0.0)
    settle([pipe])
    assert want.done.is_set()
    assert reader.feed.log.block(1) == THEIRS[1]


def test_any_head_of_our_own_is_kept_to() -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower(OURS[:1])
    connect(reader, later)
    assert (reader.feed.fork, blocks_of(reader.feed)) == (0, OURS[:1])
    assert has_evidence(reader.feed)


def test_of_several_forks_the_highest_is_taken() -> None:
    reader = Peer(key=2)
    forks = (0, 3, 1)
    owners = [owner_of([*OURS, b"%d" % fork], fork, key=10 + fork) for fork in forks]
    settle(offered(reader, *owners))
    expect_begun(reader, 3, [*OURS, b"3"])


def test_what_was_asked_of_a_lower_fork_is_taken_back() -> None:
    """Its answers come all the same, late, and harm nobody; nor does it count that it is longer."""
    lower, later, reader = owner_of(OURS * 3, key=3), owner_of(THEIRS, fork=2), Peer(key=2)
    first, second = offered(reader, lower, later)
    while not any(replica.in_flight for replica in reader.replicator.links):
        first.step(0.0)
    assert reader.feed.remote_length == 9
    settle([second])
    assert (reader.feed.fork, reader.feed.remote_length) == (2, 4)
    settle([first, second])
    expect_begun(reader, 2, THEIRS)
    assert (first.dialler.fault, first.listener.fault) == (None, None)


def test_answers_that_came_with_the_proof_give_way_to_it() -> None:
    lower, later, reader = owner_of(OURS, key=3), owner_of(THEIRS, fork=2), Peer(key=2)
    first, second = offered(reader, lower, later)
    ask(reader, second)
    settle([first])
    assert not reader.feed.log.length, "a higher fork may still be proven"
    settle([first, second])
    expect_begun(reader, 2, THEIRS)


def test_who_names_a_fork_and_proves_none_holds_nobody_up_for_long() -> None:
    liar, good, reader = Liar(), owner_of(OURS), Peer(key=2)
    first, second = offered(reader, liar, good)
    settle([first])
    liar.claim(7, length=9)
    ask(reader, first)
    first.is_cut = True
    for now in (0.0, CHOICE_SECONDS / 2):
        settle([first, second], now)
        assert not reader.feed.log.length
        assert reader.replicator in reader.busy
        liar.claim(8, length=9)
    reader.replicator.handle_timeout(CHOICE_SECONDS)
    settle([first, second], CHOICE_SECONDS)
    expect_begun(reader, 0, OURS)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_refusal_or_an_end_is_an_answer(leaves: bool) -> None:
    liar, good, reader = Liar(), owner_of(OURS), Peer(key=2)
    first, second = offered(reader, liar, good)
    settle([first])
    liar.claim(7, length=9)
    ask(reader, first)
    settle([second])
    assert not reader.feed.log.length
    if leaves:
        first.close(0.0)
    settle([second] if leaves else [first, second])
    expect_begun(reader, 0, OURS)


def test_a_fork_that_is_proven_later_is_evidence() -> None:
    later, good, reader = owner_of(THEIRS, fork=2, key=3), owner_of(OURS), Peer(key=2)
    first, second = offered(reader, later, good)
    ask(reader, first)
    settle([second])
    reader.replicator.handle_timeout(CHOICE_SECONDS)
    settle([second], CHOICE_SECONDS)
    assert blocks_of(reader.feed) == OURS
    settle([first, second], CHOICE_SECONDS)
    assert (reader.feed.fork, reader.feed.state) == (0, FeedState.FROZEN)
    assert has_evidence(reader.feed)


@pytest.mark.parametrize("lie", ["forged fork", "from the middle", "bad signature"])
def test_a_proof_that_is_none_begins_nothing(lie: str) -> None:
    liar, reader = Liar(), Peer(key=2)
    pipe = connect(reader, liar)
    signed = whole(owner_of(THEIRS, fork=2))
    assert signed.upgrade is not None
    lies = {
        "forged fork": signed._replace(fork=3),
        "from the middle": whole(owner_of(THEIRS, fork=2), start=2),
        "bad signature": signed._replace(upgrade=signed.upgrade._replace(signature=bytes(64))),
    }
    liar.show(lies[lie])
    settle([pipe])
    assert isinstance(pipe.dialler.fault, InvalidProof)
    assert (reader.feed.fork, reader.feed.log.length, reader.feed.frozen_why) == (0, 0, "")


def test_the_answer_to_another_question_begins_nothing() -> None:
    """Asked for fork 0, a peer answers with a later one: signed, and all the same a fault."""
    good, reader = owner_of(OURS), Peer(key=2)
    (pipe,) = offered(reader, good)
    while not any(replica.in_flight for replica in reader.replicator.links):
        pipe.step(0.0)
    ((replica, _),) = good.replicator.links.items()
    ((asked, _),) = reader.replicator.links.items()
    (request_id,) = asked.in_flight
    assert request_id != CONFLICT_ID
    replica.send_proof(request_id, whole(owner_of(THEIRS, fork=2)))
    settle([pipe])
    (link,) = reader.replicator.links.values()
    assert isinstance(link.trust.error, InvalidProof)
    assert reader.feed.fork == 0


def test_a_record_that_comes_meanwhile_is_a_head_of_ours() -> None:
    ours = owner_of(OURS, key=4).feed.log.head
    assert ours is not None
    later, liar, reader = owner_of(THEIRS, fork=2), Liar(), Peer(key=2)
    first, second = offered(reader, later, liar)
    settle([second])
    liar.claim(7, length=9)
    ask(reader, second)
    settle([first])
    assert not reader.feed.log.length
    reader.feed.learn_head(ours, encode_kept(sign_record(ours, FEED_KEYS)))
    settle([first, second])
    reader.replicator.flush(0.0)
    assert (reader.feed.fork, reader.feed.length, reader.feed.log.length) == (0, 3, 0)
    assert reader.feed.state is FeedState.FROZEN


def test_on_a_full_disk_it_is_tried_again() -> None:
    later, reader = owner_of(THEIRS, fork=2), Peer(key=2)
    files = reader.surroundings.files
    (pipe,) = offered(reader, later)
    ask(reader, pipe)
    files.fail_at(files.operations, "full")
    settle([pipe])
    assert not reader.feed.log.length
    files.fail_at(None)
    reader.replicator.flush(RETRY_SECONDS / 2)
    assert not reader.feed.log.length
    assert reader.replicator in reader.busy
    reader.replicator.handle_timeout(RETRY_SECONDS)
    settle([pipe], RETRY_SECONDS)
    expect_begun(reader, 2, THEIRS)
    assert reopened(reader).fork == 2
