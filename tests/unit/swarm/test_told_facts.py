"""What the swarm tells of peers and turns."""

from __future__ import annotations

import math
import random

from protozorfs.feeds.facts import PeerState
from protozorfs.swarm.facts import peer_facts
from protozorfs.swarm.link import MAX_REFUSALS
from protozorfs.swarm.peers import PeerTable
from protozorfs.swarm.schedule import Schedule
from protozorfs.types import Address, FeedId
from tests.unit.swarm.memory_peers import Peer, Pipe, settle

ADDRESS = Address("192.0.2.1", 4000)
NOW = 100.0


def test_the_state_of_an_address() -> None:
    table = PeerTable()
    peer = table.add_users(ADDRESS)

    def told() -> tuple[PeerState, float | None, str]:
        facts = peer_facts(peer, NOW)
        assert (facts.address, facts.is_users) == ("192.0.2.1:4000", True)
        return facts.state, facts.retry_seconds, facts.why

    assert told() == (PeerState.WAITING, 0.0, "")
    peer.is_dialling = True
    assert told() == (PeerState.DIALLING, None, "")
    table.connected(peer, "a:1")
    assert told() == (PeerState.CONNECTED, None, "")
    table.failed(peer, "refused", NOW, 0.0)
    assert told() == (PeerState.WAITING, 0.25, "refused")
    table.misbehaved(peer, "lied", NOW, 0.0)
    assert told() == (PeerState.LEFT_ALONE, 60.0, "lied")
    table.is_this_node(peer)
    assert told() == (PeerState.LEFT_ALONE, None, "that is this node itself")
    assert peer.next_dial == math.inf


def test_the_turns_of_a_feed() -> None:
    schedule = Schedule(random.Random(1))
    feed_id = FeedId(bytes(32))
    assert schedule.turns_of(feed_id) is None
    schedule.add(feed_id, is_owned=False, now=0.0)
    turns = schedule.turns_of(feed_id)
    assert turns is not None
    assert (turns.is_running, turns.last_done) == (False, None)
    jobs = schedule.next_jobs(1.0)
    assert jobs
    running = schedule.turns_of(feed_id)
    assert running is not None
    assert running.is_running
    for job in jobs:
        schedule.done(job, 3.0, found=False)
    done = schedule.turns_of(feed_id)
    assert done is not None
    assert (done.is_running, done.last_done) == (False, 3.0)
    assert done.next_due is not None
    assert done.next_due > 3.0


def test_why_a_link_is_not_asked() -> None:
    owner, reader = Peer(is_owner=True, key=1), Peer(is_sparse=True, key=2)
    owner.append([b"one"])
    pipe = Pipe(reader, owner)
    pipe.offer()
    settle([pipe])
    (link,) = reader.replicator.links.values()
    assert link.trouble(NOW, 0) == ""
    assert link.trouble(NOW, 1) == "is at another fork (0)"
    link.rest(NOW)
    assert link.trouble(NOW, 0) == "does not answer, so that it is left alone for 5 s"
    assert link.trouble(NOW + 5, 0) == ""
    link.replica.refusals = MAX_REFUSALS
    assert link.trouble(NOW + 5, 0) == "does not have what it announces"
    link.replica.remote.is_uploading = False
    assert link.trouble(NOW + 5, 0) == "does not give anything"
    link.gave_bad(None, ValueError("a lie"), NOW)
    assert link.trouble(NOW + 2, 0) == (
        "has sent something invalid (a lie), so that it is left alone for 3 s"
    )
    link.replica.remote.is_known = False
    assert link.trouble(NOW + 5, 0) == "has not told its state yet"
