"""Whether the peers of a feed show other histories of it than ours: what to ask, what it proves.

A peer that sent something invalid is asked for the history that it signed, and one that names a
later fork for the proof of that. Both answers are upgrades from nothing with the id that is kept
for them; they may come unasked, too. A claim that is not proven changes nothing. What is proven to
a feed that has no history yet is for `first_history`. No I/O, no clock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import BlockUnavailable, InvalidRequest
from protozorfs.log.proof_types import Request, UpgradeRequest
from protozorfs.wire.replication import CONFLICT_ID

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.first_history import FirstHistory
    from protozorfs.swarm.link import Link

# To one peer about one feed: to name a fork costs it nothing. An honest one names a new one when
# the owner cuts the feed, and the first that is proven ends the questions.
MAX_FORK_QUESTIONS = 8
MAX_CONFLICT_QUESTIONS = 8  # to one peer about one feed, after bad answers

logger = logging.getLogger(__name__)


def ask_for_conflict(feed: Feed, link: Link) -> None:
    """Asks a peer that sent something bad for the history of our fork that it signed."""
    length = min(feed.log.length, link.replica.remote.length)
    may_ask = not link.replica.is_history_asked and link.histories_asked < MAX_CONFLICT_QUESTIONS
    if length and may_ask:
        link.histories_asked += 1
        _ask(link, feed.log.fork, length)


def ask_for_same(feed: Feed, link: Link) -> None:
    """Asks a peer of a feed of our own for its proof, if it need not have its head from us.

    A copy of our store that appended as often has another head of the same length: nothing that
    either asks for otherwise would show that before one of them appends again.
    """
    remote = link.replica.remote
    if (
        feed.is_owned
        and remote.fork == feed.log.fork
        and link.same_length < remote.length <= feed.log.length
    ):
        link.same_length = remote.length
        _ask(link, remote.fork, remote.length)


def ask_for_later_fork(feed: Feed, link: Link) -> bool:
    """Asks a peer that names a later fork for the proof of it, once for each that it names."""
    remote = link.replica.remote
    if (
        remote.fork <= feed.log.fork
        or not remote.length
        or feed.conflicts.later_head is not None
        or remote.fork in link.forks_asked
        or len(link.forks_asked) >= MAX_FORK_QUESTIONS
    ):
        return False
    link.forks_asked.add(remote.fork)
    _ask(link, remote.fork, remote.length)
    return True


def _ask(link: Link, fork: int, length: int) -> None:
    link.replica.send_conflict_request(Request(upgrade=UpgradeRequest(0, length)), fork)


def show_conflict(feed: Feed, link: Link) -> None:
    """Shows a peer the two histories that are proven of our fork, once: it has one of them at most.

    Who has none yet is shown them when it says that it has begun. A later fork is not shown: Node's
    followers of our history would leave it for one that nobody here can give them.
    """
    remote, head = link.replica.remote, feed.published_head
    if link.was_shown_conflict or head is None or remote.fork != head.fork or not remote.length:
        return
    link.was_shown_conflict = True
    # Ours up to where the peer can compare it with its own.
    ours = _history(feed, min(head.length, remote.length))
    for proof in (ours, feed.conflicts.other_history):
        if proof is not None:
            link.replica.send_proof(CONFLICT_ID, proof)


def _history(feed: Feed, length: int) -> Proof | None:
    """Our proof from nothing; None if we hold too little of the tree, having fetched little."""
    try:
        return feed.proof(Request(upgrade=UpgradeRequest(0, length)))
    except (BlockUnavailable, InvalidRequest):
        return None


def judge(feed: Feed, first: FirstHistory, link: Link, proof: Proof) -> None:
    """Takes what a peer shows of a history, and keeps it as evidence if it is another.

    Raises:
        InvalidProof: it shows nothing but a bad peer.
    """
    was_frozen = feed.is_frozen
    if feed.takes_any_fork:
        first.show(proof)
        return
    is_conflict = feed.conflicts.check_proof(feed.log, proof)
    note_later_fork(feed, proof)
    _note_proven(feed, link, proof)
    if is_conflict and not was_frozen:
        logger.error("feed %s: two histories are signed", feed.feed_id.hex())


def _note_proven(feed: Feed, link: Link, proof: Proof) -> None:
    log = feed.log
    if log.head is not None and proof.upgrade is not None and proof.fork == log.fork:
        link.proven_length = max(link.proven_length, proof.upgrade.length)


def note_later_fork(feed: Feed, proof: Proof) -> None:
    """Keeps a proof as evidence if it is the first of a later fork than ours.

    Raises:
        InvalidProof: it shows nothing but a bad peer.
    """
    if feed.conflicts.check_later_fork(feed.log, feed.known_head.head, proof):
        logger.error("feed %s: %s", feed.feed_id.hex(), feed.conflicts.sentence)
