"""Evidence of two histories of one fork: kept once, for ever, and no full disk is in its way."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import NotWritable, StoreCorrupt
from protozorfs.feeds.evidence import (
    FILE_NAME,
    HEADS_FILE_NAME,
    LATER_FILE_NAME,
    load_later_fork,
    load_proofs,
    load_two_heads,
)
from protozorfs.feeds.known_head import FILE_NAME as RECORD_FILE_NAME
from protozorfs.feeds.ports import FeedState
from protozorfs.feeds.why import make_report
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


EACH = [FILE_NAME, HEADS_FILE_NAME, LATER_FILE_NAME]


def prove(feed: Feed, name: str) -> None:
    """Another history is shown, and kept in the file of that name."""
    if name == FILE_NAME:
        assert feed.conflicts.check_proof(feed.log, whole(owner_of(RIVALS)))
    elif name == HEADS_FILE_NAME:
        head = owner_of(RIVALS).feed.log.head
        assert head is not None
        assert feed.conflicts.check_head(feed.log, None, head)
    else:
        proof = whole(owner_of(RIVALS, fork=1))
        assert feed.conflicts.check_later_fork(feed.log, None, proof)
    assert kept(feed, name) is not None


def damage(peer: Peer, name: str, how: str) -> bytes:
    """Damages that file; returns what it holds."""
    directory = peer.feed.log.directory
    path = f"{directory.path}/{name}"
    content = directory.files.read(path)
    content = content[:-1] if how == "short" else b"" if how == "empty" else content
    directory.files.replace(path, content)
    if how == "flipped":
        peer.surroundings.files.flip_bit(path, 100 * 8)
    return directory.files.read(path)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("how", ["flipped", "short", "empty"])
def test_a_feed_whose_evidence_is_damaged_is_read_and_stays_frozen(
    reader: Peer, name: str, how: str
) -> None:
    prove(reader.feed, name)
    was_frozen = reader.feed.is_frozen
    content = damage(reader, name, how)
    feed = reopened(reader)
    assert [feed.log.block(index) for index in range(len(OURS))] == OURS
    assert feed.state is FeedState.FROZEN
    assert feed.is_frozen == was_frozen
    assert f"the proof in its file '{name}' is damaged" in make_report(feed, None, 0.0).why
    assert kept(feed, name) == content, "nothing makes it vanish"
    prove(feed, name)
    assert "damaged" not in feed.frozen_why
    again = reopened_twice(reader, feed)
    assert again.log.length == len(OURS)
    assert again.state is FeedState.FROZEN
    assert "damaged" not in again.frozen_why


@pytest.mark.parametrize("name", EACH)
async def test_our_own_feed_takes_no_appends_beside_damaged_evidence(name: str) -> None:
    owner = owner_of(OURS)
    prove(owner.feed, name)
    damage(owner, name, "flipped")
    feed = reopened(owner)
    with pytest.raises(NotWritable, match=f"the proof in its file '{name}' is damaged"):
        await feed.append([b"more"])
    assert feed.length == len(OURS)


@pytest.mark.parametrize("name", EACH)
def test_evidence_that_the_disk_cannot_read_is_damaged(reader: Peer, name: str) -> None:
    prove(reader.feed, name)
    files, directory = reader.surroundings.files, reader.feed.log.directory
    load = {FILE_NAME: load_proofs, HEADS_FILE_NAME: load_two_heads}.get(name, load_later_fork)
    files.fail_look_at(files.looks)
    with pytest.raises(StoreCorrupt, match="cannot read"):
        load(directory)
    files.fail_look_at(files.looks, errno.EMFILE)
    with pytest.raises(OSError, match="open files"):
        load(directory)
    files.fail_look_at(None)
    assert load(directory) is not None
