"""What to ask of which peer of a feed, and when to ask another one.

The order of asking is: the blocks that readers wait for, those ahead of the readers, then (for a
feed that is kept whole) all the rest, lowest first. A block is asked of one peer at a time, of a
second one when the first is slow; so is the newest head. No I/O, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protozorfs.feeds.feed import Feed
    from protozorfs.swarm.link import Link
    from protozorfs.wire.replication import Sent

SECOND_SOURCE_SECONDS = 2.0  # a head, or a block that a reader waits for, is then asked of another
REASSIGN_SECONDS = 5.0  # any other block
URGENT = 2  # the priority of what readers wait for, in a request; that of all else is 0
NO_ROOM_SECONDS = 5.0  # after what came had no room, nothing is asked for that nobody reads


class Asker:
    """Decides for one feed; what was asked of whom is kept in its `wants`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._upgrade: Link | None = None  # who was asked for the newest head
        self._upgrade_since = 0.0
        self._fills_from = float("-inf")

    def ended(self, link: Link, sent: Sent) -> None:
        """A request has ended, in whatever way: what it asked for may be asked elsewhere."""
        if sent.request.upgrade is not None:
            link.is_late = False
            if self._upgrade is link:
                self._upgrade = None
        if sent.request.block is not None:
            self._feed.wants.note_not_asked(sent.request.block.block_index, link.name)

    def had_no_room(self, now: float) -> None:
        """There was no room for what came; for what readers wait for it may be made."""
        self._fills_from = now + NO_ROOM_SECONDS

    def fill(self, link: Link, now: float) -> None:
        """Asks one peer for as much as it may be asked for now."""
        log = self._feed.log
        remote = link.replica.remote
        if not link.may_ask(now) or remote.fork != log.fork or self._feed.is_frozen:
            return
        self._maybe_upgrade(link, now)
        if log.contiguous_length == log.length or not self._feed.may_fetch():
            return
        room = link.window(log.length, log.byte_length) - len(link.replica.in_flight)
        for block in self._urgent(link, now):
            self._ask_block(link, block, now, priority=URGENT)
            room -= 1
        for block in self._wanted(link):
            if room <= 0:
                return
            self._ask_block(link, block, now, priority=URGENT)
            room -= 1
        if room > link.low_water():
            for block in self._candidates(link, now):
                self._ask_block(link, block, now)
                room -= 1
                if room <= 0:
                    break

    def _maybe_upgrade(self, link: Link, now: float) -> None:
        log = self._feed.log
        replica = link.replica
        remote = replica.remote
        if (
            self._upgrade is not None
            or link.is_late
            or remote.length <= log.length
            or not remote.can_upgrade
            or remote.acknowledged != log.length
        ):
            return
        block = None
        last = remote.length - 1
        if self._feed.is_whole and self._feed.may_fetch() and replica.remote_has(last):
            block = BlockRequest(last, 0)  # saves a round trip for a feed that is followed live
            self._feed.wants.note_asked(last, link.name, now)
        upgrade = UpgradeRequest(log.length, remote.length - log.length)
        self._upgrade = link
        self._upgrade_since = now
        link.asked(now)
        replica.send_request(Request(block=block, upgrade=upgrade), log.fork, now)

    def _urgent(self, link: Link, now: float) -> Iterator[int]:
        wants = self._feed.wants
        if not len(wants):
            return
        replica = link.replica
        for block in wants.urgent_blocks():
            if block >= self._feed.log.length or block in replica.in_flight_blocks:
                continue
            if not replica.remote_has(block):
                replica.send_want(block)
                continue
            asked = wants.asked.get(block)
            if not asked or now - asked[-1].since >= SECOND_SOURCE_SECONDS:
                yield block

    def _wanted(self, link: Link) -> Iterator[int]:
        """The rest of what readers wait for: they wake when they have all of it."""
        for start, end in self._feed.wants.wanted_ranges(self._feed.log):
            yield from self._missing(link, start, end)

    def _candidates(self, link: Link, now: float) -> Iterator[int]:
        log = self._feed.log
        wants = self._feed.wants
        for start, end in wants.ahead_ranges(log, self._feed.max_ahead_bytes):
            yield from self._missing(link, start, end)
        if self._feed.is_whole and now >= self._fills_from:
            found = False
            for block in self._missing(link, log.contiguous_length, log.length):
                found = True
                yield block
            if not found and log.contiguous_length not in wants.asked:
                link.replica.send_want(log.contiguous_length)

    def _missing(self, link: Link, start: int, end: int) -> Iterator[int]:
        held = self._feed.log.held
        asked = self._feed.wants.asked_blocks
        remote_held = link.replica.remote_held
        while start < end:
            found = held.next_missing(start, end, excluding=asked, within=remote_held)
            if found is None:
                return
            yield found
            start = found + 1

    def _ask_block(self, link: Link, block: int, now: float, priority: int = 0) -> None:
        log = self._feed.log
        replica = link.replica
        promised = replica.promised if link.trusts_order else {}
        nodes = log.request_hint(block, promised)
        assumed = bool(promised) and nodes != log.request_hint(block)
        self._feed.wants.note_asked(block, link.name, now)
        link.asked(now)
        replica.send_request(
            Request(block=BlockRequest(block, nodes)),
            log.fork,
            now,
            assumed=assumed,
            priority=priority,
        )

    def reassign(self, links: Iterable[Link], now: float) -> None:
        """Asks others for what a slow peer has kept too long."""
        if self._upgrade is not None and now - self._upgrade_since >= SECOND_SOURCE_SECONDS:
            self._upgrade.is_late = True
            self._upgrade = None
        if not self._feed.may_fetch():
            return
        wants = self._feed.wants
        slow = [
            block
            for block, asked in wants.asked.items()
            if block < self._feed.log.length
            and len(asked) == 1
            and now - asked[0].since >= REASSIGN_SECONDS
        ]
        for link in links:
            room = link.window(self._feed.log.length, self._feed.log.byte_length)
            for block in slow:
                if len(link.replica.in_flight) >= room or not link.may_ask(now):
                    break
                if block not in link.replica.in_flight_blocks and link.replica.remote_has(block):
                    self._ask_block(link, block, now)
