"""Whether the peers of a feed show other histories of it than ours: what to ask, what it proves.

A peer that sent something invalid is asked for the history that it signed, and one that names a
later fork for the proof of that. Both answers are upgrades from nothing with the id that is kept
for them; they may come unasked, too. A claim that is not proven changes nothing. No I/O, no clock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import InvalidProof
from protozorfs.log.proof_types import Request, UpgradeRequest
from protozorfs.wire.replication import CONFLICT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.link import Link

# To one peer about one feed: to name a fork costs it nothing. An honest one names a new one when
# the owner cuts the feed, and the first that is proven ends the questions.
MAX_FORK_QUESTIONS = 8

logger = logging.getLogger(__name__)


def ask_for_conflict(feed: Feed, link: Link) -> bool:
    """Asks a peer for the history of our fork that it signed; False if it claims none."""
    length = min(feed.log.length, link.replica.remote.length)
    if not length:
        return False
    _ask(link, feed.log.fork, length)
    return True


def ask_for_later_fork(feed: Feed, link: Link) -> None:
    """Asks a peer that names a later fork for the proof of it, once for each that it names."""
    remote = link.replica.remote
    if (
        remote.fork > feed.log.fork
        and remote.length
        and not link.condemned
        and feed.conflicts.later_head is None
        and remote.fork not in link.forks_asked
        and len(link.forks_asked) < MAX_FORK_QUESTIONS
    ):
        link.forks_asked.add(remote.fork)
        _ask(link, remote.fork, remote.length)


def _ask(link: Link, fork: int, length: int) -> None:
    link.replica.send_conflict_request(Request(upgrade=UpgradeRequest(0, length)), fork)


def judge(feed: Feed, link: Link, links: Iterable[Link], proof: Proof) -> None:
    """Takes what a peer shows of a history: keeps it as evidence, or drops a peer that lies.

    Two histories of one fork are shown to all `links`. A later fork is not: Node's followers of
    our history would leave it for one that nobody here can give them.
    """
    name = feed.feed_id.hex()
    conflicts = feed.conflicts
    try:
        is_conflict = conflicts.check_proof(feed.log, proof)
        is_news = conflicts.check_later_fork(feed.log, proof)
    except InvalidProof as error:
        link.drop(error)
        return
    if is_news:
        logger.error("feed %s: %s", name, conflicts.sentence)
    if is_conflict:
        logger.error("feed %s: two histories are signed", name)
        for other in links:
            if other is not link:
                other.replica.send_proof(CONFLICT_ID, proof)
    elif link.condemned:
        link.drop(link.condemned)
