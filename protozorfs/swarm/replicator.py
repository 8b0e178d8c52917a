"""One feed and all its connected peers: what to ask of whom, what to tell and to answer.

The order of asking is: blocks that a reader waits for, blocks ahead of the readers, then (for a
feed that is kept whole) all the rest, lowest first. A block is asked of one peer at a time, of a
second one when the first is slow. Nothing here does network I/O or looks at a clock; `flush` is
called when a batch of messages has been received, and `handle_timeout` once a second while anything
is under way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import (
    BlockUnavailable,
    InvalidProof,
    RemoteProtocolError,
    StoreCorrupt,
    StoreError,
    UnanchoredProof,
)
from protozorfs.log.flat_tree import peaks
from protozorfs.log.proof_types import BlockRequest, Request, UpgradeRequest
from protozorfs.swarm.link import Link
from protozorfs.wire import replication as r

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.link import LinkConnection
    from protozorfs.wire.replication import Replica, Sent

SECOND_SOURCE_SECONDS = 2.0  # a block that a reader waits for is then asked of another peer too
REASSIGN_SECONDS = 5.0  # any other block
CONFLICT_SECONDS = 5.0  # for a peer that sent something invalid to show the history it signed
SERVE_BATCH = 256  # answers between two turns of other tasks
MAX_QUEUED_BYTES = 4 * 1024 * 1024  # output waiting for a peer; no more answers are made then
MAX_CONTIGUOUS_RUNS = 64  # ranges told at once; more would be a scan of a scattered feed

logger = logging.getLogger(__name__)


class Replicator:
    """Keeps one feed the same here and at every connected peer."""

    def __init__(self, feed: Feed, changed: Callable[[Feed], None]) -> None:
        """`changed` is called when a peer has told its length, or ours has grown."""
        self.feed = feed
        self._changed = changed
        self.links: dict[Replica, Link] = {}
        self._answers: list[tuple[Link, Sent, Proof]] = []
        self._upgrade: Link | None = None  # who was asked for the newest head
        self._upgrade_since = 0.0

    # peers that come and go

    def attach(self, replica: Replica, name: str, connection: LinkConnection) -> Link:
        """Both sides have opened the feed: tells our state."""
        link = Link(replica, name, connection)
        self.links[replica] = link
        self.feed.peers.add(name)
        self._send_sync(link)
        self._send_contiguous(link)
        return link

    def detach(self, replica: Replica, now: float) -> None:
        """The channel has ended: what was asked there is asked elsewhere."""
        link = self.links.pop(replica)
        self._answers = [answer for answer in self._answers if answer[0] is not link]
        for sent in replica.drain_in_flight():
            self._ended(link, sent)
        if all(other.name != link.name for other in self.links.values()):
            self.feed.peers.discard(link.name)
        self._note_remote_length()
        self.flush(now)

    @property
    def is_busy(self) -> bool:
        """Something is under way that has a deadline."""
        return any(link.replica.in_flight or link.condemned for link in self.links.values())

    def wake(self) -> None:
        """Lets every connection send what is queued."""
        for link in self.links.values():
            link.wake()

    # messages

    def receive(self, replica: Replica, message_type: int, body: bytes, now: float) -> None:
        """Takes one message; most of what follows from it waits for `flush`."""
        link = self.links[replica]
        event = replica.receive(message_type, body)
        if type(event) is r.Answer:
            if not link.condemned:
                self._answers.append((link, event.sent, event.proof))
            else:
                self._ended(link, event.sent)
        elif type(event) is r.Refused:
            self._ended(link, event.sent)
            link.refused(event, now)
        elif type(event) is r.Synced:
            self._on_sync(link)
        elif type(event) is r.Wanted:
            replica.send_held(self.feed.log.held, event.start, event.end)
        elif type(event) is r.ConflictClaimed:
            self._on_conflict_claim(link, event.proof)

    def flush(self, now: float) -> None:
        """Stores the answers that came, tells the news, answers and asks."""
        if self._answers and not self.feed.is_syncing:
            answers, self._answers = self._answers, []
            self._apply(answers, now)
        for link in list(self.links.values()):
            self.serve(link)
            self._fill(link, now)
        self.wake()

    def serve(self, link: Link) -> None:
        """Answers what the peer asked, as far as its queue has room."""
        replica = link.replica
        queue = replica.to_serve
        connection = replica.connection
        left = SERVE_BATCH
        while queue and left and connection.queued_bytes < MAX_QUEUED_BYTES:
            left -= 1
            message = queue.popleft()
            try:
                if message.fork != self.feed.log.fork:
                    raise BlockUnavailable("another fork")
                proof = self.feed.proof(message.request)
            except (BlockUnavailable, StoreCorrupt):
                replica.send_no_data(message.id, r.NO_DATA_UNAVAILABLE)
            except RemoteProtocolError:
                replica.send_no_data(message.id, r.NO_DATA_INVALID)
            else:
                replica.send_proof(message.id, proof)

    def head_published(self, now: float) -> None:
        """An owned feed has a new durable head: tells everybody."""
        self._tell_news([], now)
        self.flush(now)

    def handle_timeout(self, now: float) -> None:
        """Takes back what is asked of peers that do not answer; drops those that are condemned."""
        for link in list(self.links.values()):
            if link.condemned and now >= link.condemned_until:
                link.drop(link.condemned)
            elif link.is_stalled(now):
                logger.info("%s does not answer; asking elsewhere", link.name)
                for request_id in list(link.replica.in_flight):
                    self._ended(link, link.replica.cancel(request_id))
                link.rest(now)
        self._reassign(now)
        self.flush(now)

    # what came

    def _on_sync(self, link: Link) -> None:
        self._note_remote_length()
        head = self.feed.published_head
        remote = link.replica.remote
        length = head.length if head else 0
        # Without this acknowledgement Node, shorter than we are, never asks for the rest.
        if remote.fork == self.feed.log.fork and remote.length < length:
            self._send_sync(link)
        self._changed(self.feed)

    def _note_remote_length(self) -> None:
        fork = self.feed.log.fork
        remotes = [link.replica.remote for link in self.links.values()]
        lengths = [remote.length for remote in remotes if remote.fork == fork]
        self.feed.remote_length = max(lengths, default=0)

    def _apply(self, answers: list[tuple[Link, Sent, Proof]], now: float) -> None:
        log = self.feed.log
        length = log.length
        try:
            results = self.feed.apply_all([(sent.request, proof) for _, sent, proof in answers])
        except StoreError as error:
            logger.error("feed %s cannot be stored: %s", self.feed.feed_id.hex(), error)
            for link, sent, _ in answers:
                self._ended(link, sent)
                link.rest(now)
            return
        added: list[int] = []
        for (link, sent, proof), result in zip(answers, results, strict=True):
            self._ended(link, sent)
            if isinstance(result, Exception):
                self._on_invalid(link, sent, result, now)
                continue
            link.answered(proof, now)
            if result.block_index is not None:
                added.append(result.block_index)
        if added or log.length != length:
            self._tell_news(added, now)
        if log.length != length:
            self._changed(self.feed)

    def _on_invalid(self, link: Link, sent: Sent, error: Exception, now: float) -> None:
        if isinstance(error, UnanchoredProof):
            upgrade = sent.request.upgrade
            if upgrade is not None and upgrade.start != self.feed.log.length:
                return  # another peer was faster
            if sent.assumed:
                link.trusts_order = False  # an earlier answer failed or came later; ask in full
                return
        if not isinstance(error, InvalidProof):
            raise error
        logger.warning("%s sent something invalid: %s", link.name, error)
        if link.condemned:
            return
        link.condemn(error, now + CONFLICT_SECONDS)
        # It may hold another signed history: ask for it, as evidence, before it is dropped.
        length = min(self.feed.log.length, link.replica.remote.length)
        if length:
            request = Request(upgrade=UpgradeRequest(0, length))
            link.replica.send_conflict_request(request, self.feed.log.fork)
        else:
            link.drop(error)

    def _on_conflict_claim(self, link: Link, proof: Proof) -> None:
        try:
            is_conflict = self.feed.check_conflict(proof)
        except InvalidProof as error:
            link.drop(error)
            return
        if is_conflict:
            logger.error("feed %s: two histories are signed", self.feed.feed_id.hex())
            for other in self.links.values():
                if other is not link:
                    other.replica.send_proof(r.CONFLICT_ID, proof)
        elif link.condemned:
            link.drop(link.condemned)

    def _ended(self, link: Link, sent: Sent) -> None:
        if sent.request.upgrade is not None:
            link.is_late = False
            if self._upgrade is link:
                self._upgrade = None
        if sent.request.block is not None:
            self.feed.wants.note_not_asked(sent.request.block.block_index, link.name)

    # what we tell

    def _send_sync(self, link: Link) -> None:
        head = self.feed.published_head
        fork, length = (head.fork, head.length) if head else (self.feed.log.fork, 0)
        remote = link.replica.remote
        can_upgrade = remote.length == 0 or (
            remote.length < length
            and all(self.feed.log.nodes.node(peak) is not None for peak in peaks(remote.length))
        )
        link.replica.send_sync(fork=fork, length=length, can_upgrade=can_upgrade)
        link.told_length = length

    def _send_contiguous(self, link: Link) -> None:
        end = self._shown_contiguous()
        if end:
            link.replica.send_range(0, end)
            link.told_contiguous = end

    def _shown_contiguous(self) -> int:
        head = self.feed.published_head
        return min(self.feed.log.contiguous_length, head.length) if head else 0

    def _tell_news(self, added: list[int], now: float) -> None:
        head = self.feed.published_head
        length = head.length if head else 0
        runs = _runs(added)
        contiguous = self._shown_contiguous()
        for link in self.links.values():
            replica = link.replica
            if self.feed.is_owned and contiguous > link.told_contiguous:
                replica.send_range(link.told_contiguous, contiguous)
                link.told_contiguous = contiguous
            for start, end in runs:
                if replica.remote_held.first_unset(start) < end:
                    replica.send_range(start, end)
            if link.told_length != length:
                self._send_sync(link)

    # what we ask

    def _fill(self, link: Link, now: float) -> None:
        log = self.feed.log
        remote = link.replica.remote
        if not link.may_ask(now) or remote.fork != log.fork or self.feed.is_frozen:
            return
        self._maybe_upgrade(link, now)
        if log.contiguous_length == log.length or not self.feed.may_fetch():
            return
        room = link.window(log.length, log.byte_length) - len(link.replica.in_flight)
        for block in self._urgent(link, now):
            self._ask_block(link, block, now, priority=2)
            room -= 1
        if room > link.low_water():
            for block in self._candidates(link):
                self._ask_block(link, block, now)
                room -= 1
                if room <= 0:
                    break

    def _maybe_upgrade(self, link: Link, now: float) -> None:
        log = self.feed.log
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
        if self.feed.is_whole and self.feed.may_fetch() and replica.remote_has(last):
            block = BlockRequest(last, 0)  # saves a round trip for a feed that is followed live
            self.feed.wants.note_asked(last, link.name, now)
        upgrade = UpgradeRequest(log.length, remote.length - log.length)
        self._upgrade = link
        self._upgrade_since = now
        link.asked(now)
        replica.send_request(Request(block=block, upgrade=upgrade), log.fork, now)

    def _urgent(self, link: Link, now: float) -> Iterator[int]:
        wants = self.feed.wants
        if not len(wants):
            return
        replica = link.replica
        for block in wants.urgent_blocks():
            if block >= self.feed.log.length or block in replica.in_flight_blocks:
                continue
            if not replica.remote_has(block):
                replica.send_want(block)
                continue
            asked = wants.asked.get(block)
            if not asked or now - asked[-1].since >= SECOND_SOURCE_SECONDS:
                yield block

    def _candidates(self, link: Link) -> Iterator[int]:
        log = self.feed.log
        wants = self.feed.wants
        for start, end in wants.ahead_ranges(log):
            yield from self._missing(link, start, end)
        if self.feed.is_whole:
            found = False
            for block in self._missing(link, log.contiguous_length, log.length):
                found = True
                yield block
            if not found and log.contiguous_length not in wants.asked:
                link.replica.send_want(log.contiguous_length)

    def _missing(self, link: Link, start: int, end: int) -> Iterator[int]:
        held = self.feed.log.held
        asked = self.feed.wants.asked_blocks
        remote_held = link.replica.remote_held
        while start < end:
            found = held.next_missing(start, end, excluding=asked, within=remote_held)
            if found is None:
                return
            yield found
            start = found + 1

    def _ask_block(self, link: Link, block: int, now: float, priority: int = 0) -> None:
        log = self.feed.log
        replica = link.replica
        promised = replica.promised if link.trusts_order else {}
        nodes = log.request_hint(block, promised)
        assumed = bool(promised) and nodes != log.request_hint(block)
        self.feed.wants.note_asked(block, link.name, now)
        link.asked(now)
        replica.send_request(
            Request(block=BlockRequest(block, nodes)),
            log.fork,
            now,
            assumed=assumed,
            priority=priority,
        )

    def _reassign(self, now: float) -> None:
        """Asks others for what a slow peer has kept too long."""
        if self._upgrade is not None and now - self._upgrade_since >= SECOND_SOURCE_SECONDS:
            self._upgrade.is_late = True
            self._upgrade = None
        wants = self.feed.wants
        slow = [
            block
            for block, asked in wants.asked.items()
            if block < self.feed.log.length
            and len(asked) == 1
            and now - asked[0].since >= REASSIGN_SECONDS
        ]
        for link in self.links.values():
            room = link.window(self.feed.log.length, self.feed.log.byte_length)
            for block in slow:
                if len(link.replica.in_flight) >= room or not link.may_ask(now):
                    break
                if block not in link.replica.in_flight_blocks and link.replica.remote_has(block):
                    self._ask_block(link, block, now)


def _runs(blocks: list[int]) -> list[tuple[int, int]]:
    """The half-open ranges that a list of block indexes makes up."""
    runs: list[tuple[int, int]] = []
    for block in sorted(blocks):
        if runs and runs[-1][1] == block:
            runs[-1] = (runs[-1][0], block + 1)
        else:
            runs.append((block, block + 1))
    return runs
