"""Which history a feed takes for its own of which no head was ever seen: the highest fork proven.

Nothing of ours is given up then, and the feed's key has signed it. A fork above 0 is begun with the
proof of it that `histories` asks for, fork 0 like any newer head. While a peer that names a higher
fork has not answered, a lower one is not begun, for a short time in all. No I/O, no clock.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import StoreError
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import later_head
from protozorfs.swarm.histories import note_later_fork

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.link import Link

CHOICE_SECONDS = 2.0  # of the feed, not of each claim: to name a fork costs a liar nothing
RETRY_SECONDS = 5.0  # after the disk had no space for it

logger = logging.getLogger(__name__)


class FirstHistory:
    """Chooses for one feed; idle once the feed has a head."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._proof: Proof | None = None  # of the highest fork that is proven
        self._rank = (0, 0)  # its fork and length
        self._chooses_until: float | None = None
        self._not_before = float("-inf")

    def asked(self, now: float) -> None:
        """A peer is asked for the proof of the fork that it names."""
        if self._chooses_until is None:
            self._chooses_until = now + CHOICE_SECONDS

    def show(self, proof: Proof) -> None:
        """A peer shows a history, asked for it or not.

        Raises:
            InvalidProof: it proves nothing.
        """
        head = later_head(public_key_of(self._feed.feed_id), 0, proof)
        if head is not None and (head.fork, head.length) > self._rank:
            self._proof = proof
            self._rank = (head.fork, head.length)

    def is_choosing(self, links: Iterable[Link], now: float) -> bool:
        """A higher fork than any that is proven may still be: nothing is asked or stored yet."""
        return (
            self._chooses_until is not None
            and now < self._chooses_until
            and self._feed.takes_any_fork
            and any(
                link.replica.is_history_asked and link.replica.remote.fork > self._rank[0]
                for link in links
            )
        )

    def begin(self, now: float) -> bool:
        """Makes the highest fork that is proven the feed's own; True if there was one."""
        proof = self._proof
        if proof is None or now < self._not_before:
            return False
        if not self._feed.takes_any_fork:  # a record has shown a head meanwhile
            note_later_fork(self._feed, proof)
            self._proof = None
            return False
        try:
            self._feed.begin_history(proof)
        except (StoreError, OSError) as error:
            logger.error("feed %s cannot be begun: %s", self._feed.feed_id.hex(), error)
            self._not_before = now + RETRY_SECONDS
            return False
        self._proof = None
        return True

    @property
    def is_pending(self) -> bool:
        """A fork is proven and not begun yet."""
        return self._proof is not None
