"""Evidence of two histories of one fork: kept once, for ever, and no full disk is in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.feeds.evidence import FILE_NAME, HEADS_FILE_NAME
from protozorfs.feeds.known_head import FILE_NAME as RECORD_FILE_NAME
from protozorfs.feeds.ports import FeedState
from tests.unit.swarm.fork_peers import OURS, follower, owner_of, reopened, whole

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.types import Head
    from tests.unit.swarm.memory_peers import Peer

RIVALS = [b"one\n", b"two\n", b"and another\n"]


@pytest.fixture
def reader() -> Peer:
    return follower()


@pytest.fixture
def proof() -> Proof:
    return whole(owner_of(RIVALS))


@pytest.fixture
def head() -> Head:
    head = owner_of(RIVALS).feed.log.head
    assert head is not None
    return head


def kept(feed: Feed, name: str) -> bytes | None:
    directory = feed.log.directory
    path = f"{directory.path}/{name}"
    return directory.files.read(path) if directory.files.exists(path) else None


def fill_disk(peer: Peer, failure: str) -> None:
    """The next write of a file fails."""
    files = peer.surroundings.files
    files.fail_at(files.operations, failure)


def test_it_is_kept_and_known_in_the_next_run(reader: Peer, proof: Proof, head: Head) -> None:
    feed = reader.feed
    assert feed.conflicts.check_proof(feed.log, proof)
    first = kept(feed, FILE_NAME)
    assert first is not None
    assert feed.conflicts.check_proof(feed.log, whole(owner_of([b"a", b"b", b"c"])))
    assert feed.conflicts.check_head(feed.log, None, head)
    assert (kept(feed, FILE_NAME), kept(feed, HEADS_FILE_NAME)) == (first, None)
    assert reopened(reader).state is FeedState.FROZEN


def test_our_own_history_is_none(reader: Peer) -> None:
    feed = reader.feed
    ours = owner_of(OURS)
    assert ours.feed.log.head is not None
    assert not feed.conflicts.check_proof(feed.log, whole(ours))
    assert not feed.conflicts.check_head(feed.log, ours.feed.log.head, ours.feed.log.head)
    assert not feed.frozen_why


@pytest.mark.parametrize("failure", ["full", "io"])
def test_proofs_count_in_this_run_where_they_cannot_be_kept(
    reader: Peer, proof: Proof, failure: str
) -> None:
    fill_disk(reader, failure)
    feed = reader.feed
    assert feed.conflicts.check_proof(feed.log, proof)
    assert feed.state is FeedState.FROZEN
    assert kept(feed, FILE_NAME) is None
    again = reopened(reader)
    assert not again.log.damaged
    assert not again.frozen_why
    assert again.conflicts.check_proof(again.log, proof)
    assert kept(again, FILE_NAME) is not None


@pytest.mark.parametrize("failure", ["full", "io"])
def test_so_do_heads(reader: Peer, head: Head, failure: str) -> None:
    fill_disk(reader, failure)
    feed = reader.feed
    assert feed.conflicts.check_head(feed.log, None, head)
    assert feed.state is FeedState.FROZEN
    assert kept(feed, HEADS_FILE_NAME) is None
    again = reopened(reader)
    assert not again.frozen_why
    assert again.conflicts.check_head(again.log, None, head)
    assert kept(again, HEADS_FILE_NAME) is not None
    assert reopened_twice(reader, again).state is FeedState.FROZEN


def reopened_twice(peer: Peer, feed: Feed) -> Feed:
    """The run after the next."""
    peer.feed = feed
    return reopened(peer)


@pytest.mark.parametrize("failure", ["full", "io"])
def test_so_does_a_record(reader: Peer, failure: str) -> None:
    head = owner_of([*OURS, b"four\n"]).feed.log.head
    assert head is not None
    fill_disk(reader, failure)
    reader.feed.learn_head(head, b"a record")
    assert reader.feed.length == 4
    assert reader.feed.known_head.record == b"a record"
    assert kept(reader.feed, RECORD_FILE_NAME) is None
    again = reopened(reader)
    assert again.length == 3
    again.learn_head(head, b"a record")
    assert kept(again, RECORD_FILE_NAME) == b"a record"
