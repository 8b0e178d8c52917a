"""A history of a later fork: proven before it counts, kept as evidence, named, never followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import InvalidProof, NotWritable, RemoteProtocolError, StoreCorrupt
from protozorfs.feeds.evidence import LATER_FILE_NAME, load_later_fork
from protozorfs.feeds.facts import FeedFacts
from protozorfs.feeds.ports import FeedState
from protozorfs.feeds.why import explain
from protozorfs.log.format import decode_head_slot
from protozorfs.log.proof_types import Proof
from protozorfs.store.heads import SLOT_BYTES
from protozorfs.swarm.head import encode_kept, sign_record
from protozorfs.swarm.histories import MAX_FORK_QUESTIONS
from protozorfs.wire.replication import CONFLICT_ID, MAX_UNSOLICITED
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
from tests.unit.swarm.memory_peers import Peer, settle

if TYPE_CHECKING:
    from protozorfs.types import Head

LATER = "its key signed a later history elsewhere (fork 2, length 4), which is not followed"


def kept(peer: Peer) -> bytes:
    directory = peer.feed.log.directory
    return directory.files.read(f"{directory.path}/{LATER_FILE_NAME}")


def kept_heads(peer: Peer) -> list[Head | None]:
    data = kept(peer)
    assert len(data) == 2 * SLOT_BYTES
    slots = [decode_head_slot(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
    return [None if slot is None else slot.head for slot in slots]


def is_untouched(peer: Peer) -> bool:
    """Nothing of another history counts there."""
    directory = peer.feed.log.directory
    with pytest.raises(FileNotFoundError):
        directory.files.read(f"{directory.path}/{LATER_FILE_NAME}")
    return peer.feed.conflicts.later_head is None and peer.feed.frozen_why == ""


@pytest.mark.parametrize("follower_dials", [True, False])
def test_it_is_proven_kept_and_named_and_ours_stays(follower_dials: bool) -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower()
    ours = reader.feed.log.head
    pipe = connect(reader, later) if follower_dials else connect(later, reader)
    assert (pipe.dialler.fault, pipe.listener.fault) == (None, None)
    assert reader.feed.state is FeedState.FROZEN
    assert reader.feed.frozen_why == LATER
    assert kept_heads(reader) == [ours, later.feed.log.head]
    assert (reader.feed.fork, reader.feed.log.head) == (0, ours)
    assert [reader.feed.log.block(index) for index in range(3)] == OURS
    assert explain(reader.feed, FeedFacts(), 0.0) == (
        f"nobody waits: all 3 blocks are here; {LATER}"
    )
    # Who is ahead sees nothing new in us.
    assert later.feed.state is FeedState.OWNED
    assert is_untouched(later)


def test_ours_is_served_to_others_at_our_fork() -> None:
    later, relay, other = owner_of(THEIRS, fork=2, key=3), follower(), Peer(key=4)
    connect(relay, later)
    connect(other, relay)
    assert [other.feed.log.block(index) for index in range(3)] == OURS
    assert other.feed.state is FeedState.CURRENT, "it has met nobody who could prove it"


def test_what_is_waited_for_and_appended_still_comes_from_our_fork() -> None:
    owner, later, reader = owner_of(OURS), owner_of(THEIRS, 2, key=3), Peer(is_sparse=True, key=2)
    pipes = [connect(reader, owner, "ours-"), connect(reader, later, "later-")]
    assert reader.feed.frozen_why == LATER
    assert reader.feed.held_bytes == 0
    want = reader.feed.wants.add(reader.feed.log, 4, 8, 0.0)
    reader.replicator.flush(0.0)
    settle(pipes)
    assert want.done.is_set()
    assert reader.feed.log.block(1) == OURS[1]
    owner.append([b"four of ours\n"])
    settle(pipes)
    assert (reader.feed.log.length, reader.feed.log.fork) == (4, 0)


def test_why_names_it_whatever_is_waited_for() -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower()
    connect(reader, later).close(0.0)
    with reader.feed.wants.for_growth.one(0.0):
        sentence = explain(reader.feed, FeedFacts(), 12.0)
    assert sentence.startswith("block 3, the next one, for which 1 reader has waited 12 s: ")
    assert sentence.endswith(f"; {LATER}")


async def test_an_owner_appends_no_more() -> None:
    later, owner = owner_of(THEIRS, fork=2, key=3), owner_of(OURS)
    connect(later, owner)
    assert owner.feed.state is FeedState.FROZEN
    refusal = f"the feed is frozen, since {LATER}"
    with owner.feed.wants.for_growth.one(0.0):
        assert explain(owner.feed, FeedFacts(), 1.0).endswith(f": none comes, since {LATER}")
    for feed in (owner.feed, reopened(owner)):
        with pytest.raises(NotWritable, match="a later history elsewhere"):
            await feed.append([b"more\n"])
        assert feed.log.length == 3
        assert explain(feed, FeedFacts(), 0.0) == f"appends are refused: {refusal}"


def test_it_is_known_in_the_next_run() -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower()
    connect(reader, later).close(0.0)
    again = reopened(reader)
    assert again.state is FeedState.FROZEN
    assert again.frozen_why == LATER
    assert again.log.length == 3


def test_damaged_evidence_is_told() -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower()
    connect(reader, later).close(0.0)
    good = kept(reader)
    directory = reader.feed.log.directory
    files, path = reader.surroundings.files, f"{directory.path}/{LATER_FILE_NAME}"
    own, theirs = good[:SLOT_BYTES], good[SLOT_BYTES:]
    flipped = good[:40] + bytes([good[40] ^ 1]) + good[41:]
    for bad in (b"", own, theirs, flipped, theirs + own, own + own, own + bytes(SLOT_BYTES)):
        files.replace(path, bad)
        with pytest.raises(StoreCorrupt, match=LATER_FILE_NAME):
            load_later_fork(directory)


@pytest.mark.parametrize("length", [0, 1])
def test_an_owner_does_not_take_it_for_its_own(length: int) -> None:
    """Not even one that has appended nothing yet, as after its key was brought here."""
    later, owner = owner_of(THEIRS, fork=2, key=3), owner_of(OURS[:length], key=2)
    connect(owner, later)
    assert owner.feed.frozen_why == LATER
    assert (owner.feed.length, owner.feed.fork) == (length, 0)
    assert kept_heads(owner) == [owner.feed.log.head, later.feed.log.head]
    assert reopened(owner).state is FeedState.FROZEN


def test_nor_does_a_follower_that_knows_a_head_by_its_record_only() -> None:
    ours = owner_of(OURS).feed.log
    assert ours.head is not None
    assert ours.key_pair is not None
    record = encode_kept(sign_record(ours.head, ours.key_pair))
    later, reader = owner_of(THEIRS, fork=2, key=3), Peer(key=2)
    reader.feed.learn_head(ours.head, record)
    connect(reader, later)
    assert reader.feed.frozen_why == LATER
    assert (reader.feed.length, reader.feed.log.length, reader.feed.fork) == (3, 0, 0)
    assert kept_heads(reader) == [ours.head, later.feed.log.head]
    connect(reader, owner_of(OURS, key=4), "ours-")
    assert [reader.feed.log.block(index) for index in range(3)] == OURS


def test_a_claim_without_proof_changes_nothing() -> None:
    """It is asked for once for each fork that it names, and for a few forks only."""
    liar, reader = Liar(), follower()
    pipe = connect(reader, liar)
    for fork in (7, 7, 7, 8):
        liar.claim(fork, length=9)
        settle([pipe])
    assert liar.asked_forks == [7, 8]
    assert not any(replica.is_history_asked for replica in reader.replicator.links)
    for fork in range(9, 60):
        liar.claim(fork, length=9)
        settle([pipe])
    assert len(liar.asked_forks) == MAX_FORK_QUESTIONS
    assert is_untouched(reader)
    assert pipe.dialler.fault is None


def test_an_empty_or_earlier_fork_is_not_asked_for() -> None:
    liar, later = Liar(), owner_of(THEIRS, fork=2)
    pipe = connect(later, liar)
    for fork, length in ((3, 0), (1, 9), (2, 9)):
        liar.claim(fork, length)
        settle([pipe])
    assert liar.asked_forks == []


def test_who_does_not_answer_is_waited_for_only_while_it_is_there() -> None:
    liar, reader = Liar(), follower()
    pipe = connect(reader, liar)
    liar.claim(7, length=9)
    while not any(replica.is_history_asked for replica in reader.replicator.links):
        pipe.step(0.0)
    pipe.is_cut = True
    settle([pipe])
    pipe.close(0.0)
    assert not reader.replicator.links
    assert is_untouched(reader)


def forged(proof: Proof, fork: int) -> Proof:
    return proof._replace(fork=fork)


@pytest.mark.parametrize("lie", ["forged fork", "no upgrade", "from the middle", "bad signature"])
def test_a_proof_that_is_none_drops_the_peer(lie: str) -> None:
    liar, reader = Liar(is_owner=True), follower()
    liar.append(OURS)
    pipe = connect(reader, liar)
    signed = whole(owner_of(THEIRS, fork=2))
    assert signed.upgrade is not None
    lies = {
        "forged fork": forged(whole(liar), 1),
        "no upgrade": Proof(1),
        "from the middle": whole(owner_of(THEIRS, fork=2), start=2),
        "bad signature": signed._replace(upgrade=signed.upgrade._replace(signature=bytes(64))),
    }
    liar.show(lies[lie])
    settle([pipe])
    assert isinstance(pipe.dialler.fault, InvalidProof)
    assert is_untouched(reader)


def test_replays_and_still_later_forks_change_nothing() -> None:
    first, second = owner_of(THEIRS, fork=2, key=3), owner_of([b"x"], fork=5, key=4)
    liar, reader = Liar(), follower()
    connect(reader, first)
    evidence = kept(reader)
    pipe = connect(reader, liar, "liar-")
    for proof in (whole(first), whole(second), whole(first), whole(owner_of(OURS))):
        liar.show(proof)
        settle([pipe])
    connect(reader, second, "second-")
    assert kept(reader) == evidence
    assert reader.feed.frozen_why == LATER
    assert pipe.dialler.fault is None
    liar.claim(9, length=9)
    settle([pipe])
    assert liar.asked_forks == [], "one proof is enough"


def test_a_refusal_that_was_not_asked_for_counts_as_one() -> None:
    liar, reader = Liar(), follower()
    pipe = connect(reader, liar)
    for _ in range(MAX_UNSOLICITED + 1):
        for replica in liar.replicator.links:
            replica.send_no_data(CONFLICT_ID, 1)
    with pytest.raises(RemoteProtocolError, match="not asked"):
        settle([pipe])


def test_on_a_full_disk_it_counts_in_this_run() -> None:
    later, reader = owner_of(THEIRS, fork=2, key=3), follower()
    files = reader.surroundings.files
    files.fail_at(files.operations, "full")
    pipe = connect(reader, later)
    assert reader.feed.frozen_why == LATER
    assert pipe.dialler.fault is None
    with pytest.raises(FileNotFoundError):
        kept(reader)
    assert reopened(reader).state is FeedState.OFFLINE, "the next run asks again"
