"""One feed and all its connected peers: what to ask of whom, what to tell and to answer.

What to ask of whom is decided in `asking`. Nothing here does network I/O or looks at a clock;
`flush` is called when a batch of messages has been received, and `handle_timeout` once a second
while anything is under way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from protozorfs.errors import (
    BlockUnavailable,
    InvalidProof,
    InvalidRequest,
    NoRoom,
    StoreCorrupt,
    StoreError,
    UnanchoredProof,
)
from protozorfs.log.bitfield import runs_of_indexes
from protozorfs.log.flat_tree import peaks
from protozorfs.swarm import histories
from protozorfs.swarm.asking import Asker
from protozorfs.swarm.first_history import FirstHistory
from protozorfs.swarm.link import Link
from protozorfs.swarm.trust import Trusts
from protozorfs.wire import replication as r

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from protozorfs.feeds.feed import Feed
    from protozorfs.log.proof_types import Proof
    from protozorfs.swarm.link import LinkConnection
    from protozorfs.types import NodeKey
    from protozorfs.wire.replication import Replica, Sent

SERVE_BATCH = 256  # answers between two turns of other tasks
MAX_QUEUED_BYTES = 4 * 1024 * 1024  # output waiting for a peer; no more answers are made then
# Of how many peers of a feed of our own is known how much they were given; 100 bytes each. Beyond
# that all are taken for having their head from us.
MAX_GIVEN = 4096
STORE_REST_SECONDS = 10.0  # after the disk failed a feed, until its files are used for peers again

logger = logging.getLogger(__name__)


class Replicator:
    """Keeps one feed the same here and at every connected peer."""

    def __init__(self, feed: Feed, changed: Callable[[Feed], None], busy: set[Replicator]) -> None:
        """`changed` is called when a peer has told its length or history, or ours has grown.

        It keeps itself in `busy` while `handle_timeout` is to be called.
        """
        self.feed = feed
        self._changed = changed
        self._busy = busy
        self.links: dict[Replica, Link] = {}
        self.trusts = Trusts()
        self._answers: list[tuple[Link, Sent, Proof]] = []
        self._asker = Asker(feed)
        self._first = FirstHistory(feed)
        self._given: dict[NodeKey | None, int] = {}  # how much of our own feed a peer got here
        self._rests_until = float("-inf")
        self._is_news = False  # a peer has told its length or history since the last `flush`

    # peers that come and go

    def attach(self, replica: Replica, name: str, connection: LinkConnection, source: str) -> Link:
        """Both sides have opened the feed: tells our state.

        `source`: what a peer is known by when it comes again.
        """
        trust, given_length = self.trusts.of(source), self._given_to(replica)
        link = Link(replica, name, connection, source, trust, given_length=given_length)
        self.links[replica] = link
        self.feed.peers.add(name)
        self._send_sync(link)
        self._send_contiguous(link)
        return link

    def detach(self, replica: Replica) -> None:
        """The channel has ended: what was asked there is asked elsewhere, by the next `flush`."""
        link = self.links.pop(replica)
        lost = [sent for answered, sent, _ in self._answers if answered is link]
        self._answers = [answer for answer in self._answers if answer[0] is not link]
        for sent in (*lost, *replica.drain_in_flight()):
            self._asker.ended(link, sent)
        if all(other.name != link.name for other in self.links.values()):
            self.feed.peers.discard(link.name)
        self._is_news = True

    def wake(self) -> None:
        """Lets every connection send what is queued."""
        for link in self.links.values():
            link.wake()

    def knows_newest(self) -> bool:
        """Whether a connected peer has shown a head as long as ours that it need not have from us.

        A peer that has less, or got all it has here, knows of no head that we do not know.
        """
        length = max(1, self.feed.log.length)
        return any(link.proven_length >= length for link in self.links.values())

    def _given_to(self, replica: Replica) -> int:
        given = self._given.get(replica.connection.remote_key)
        if given is None:
            return r.MAX_LENGTH if len(self._given) >= MAX_GIVEN else 0
        return given

    def _note_given(self, link: Link, length: int) -> None:
        link.same_length = max(link.same_length, length)
        if self.feed.is_owned and self._given_to(link.replica) < length:
            self._given[link.replica.connection.remote_key] = length

    # messages

    def receive(self, replica: Replica, message_type: int, body: bytes, now: float) -> None:
        """Takes one message; most of what follows from it waits for `flush`."""
        link = self.links[replica]
        event = replica.receive(message_type, body)
        if type(event) is r.Answer:
            self._answers.append((link, event.sent, event.proof))
        elif type(event) is r.Refused:
            self._asker.ended(link, event.sent)
            link.refused(event, now)
        elif type(event) is r.Synced:
            self._on_sync(link, now)
        elif type(event) is r.HistoryShown:
            self._on_history(link, event, now)
        elif type(event) is r.HistoryRefused:
            self._is_news = True

    def store_failed(self, error: Exception, now: float) -> None:
        """The feed's files cannot be used: it rests for a while, and others go on."""
        if now >= self._rests_until:
            logger.error("feed %s cannot be used: %s", self.feed.feed_id.hex(), error)
        self._rests_until = now + STORE_REST_SECONDS
        self._busy.add(self)

    def flush(self, now: float) -> None:
        """Stores the answers that came, tells the news, answers and asks."""
        if now >= self._rests_until:
            try:
                self._flush(now)
            except (StoreError, OSError) as error:
                self.store_failed(error, now)

    def _flush(self, now: float) -> None:
        if self._is_news:
            self._is_news = False
            self._note_remote_length()
            self._changed(self.feed)
        is_choosing = self._first.is_choosing(self.links.values(), now)
        if not is_choosing and self._first.begin(now):
            self._on_begun(now)
        if self._answers and not is_choosing and not self.feed.is_syncing:
            answers, self._answers = self._answers, []
            self._apply(answers, now)
        for link in list(self.links.values()):
            if self.feed.is_frozen:
                histories.show_conflict(self.feed, link)
            self.serve(link)
            if not is_choosing:
                self._asker.fill(link, now)
        self._note_busy(is_choosing=is_choosing)
        self.wake()

    def _note_busy(self, *, is_choosing: bool) -> None:
        """Something is under way that has a deadline, or nothing any more."""
        if (
            is_choosing
            or self._first.is_pending
            or any(link.replica.in_flight or link.is_resting for link in self.links.values())
        ):
            self._busy.add(self)
        else:
            self._busy.discard(self)

    def serve(self, link: Link) -> None:
        """Answers what the peer asked, as far as its queue has room."""
        replica = link.replica
        while replica.to_tell and replica.connection.queued_bytes < MAX_QUEUED_BYTES:
            start, end = replica.next_want()
            replica.send_held(self.feed.log.held, self._shown_length(), start, end)
        queue = replica.to_serve
        connection = replica.connection
        left = SERVE_BATCH
        while queue and left and connection.queued_bytes < MAX_QUEUED_BYTES:
            left -= 1
            _, message = queue.popitem(last=False)
            try:
                if message.fork != self.feed.log.fork:
                    raise BlockUnavailable("another fork")
                proof = self.feed.proof(message.request)
            except (BlockUnavailable, StoreCorrupt):
                block = message.request.block
                has_crossed = block is not None and replica.takes_dropped(block.block_index)
                reason = r.NO_DATA_DROPPED if has_crossed else r.NO_DATA_UNAVAILABLE
                replica.send_no_data(message.id, reason)
            except InvalidRequest:
                replica.send_no_data(message.id, r.NO_DATA_INVALID)
            else:
                replica.send_proof(message.id, proof)
                upgrade = message.request.upgrade
                if upgrade is not None:  # it verifies what we sign against what it has
                    self._note_given(link, upgrade.start + upgrade.length)

    def head_published(self, now: float) -> None:
        """An owned feed has a new durable head: tells everybody."""
        self._tell_news([], now)
        self.flush(now)

    def tell_found(self, blocks: Sequence[int], now: float) -> None:
        """Tells everybody that blocks are here; they were not fetched."""
        self._tell_news(list(blocks), now)
        self.flush(now)

    def tell_dropped(self, start: int, end: int) -> None:
        """Tells everybody that blocks `[start, end)` are not here any more, or soon will not be."""
        for link in self.links.values():
            link.replica.send_dropped(start, end)
        self.wake()

    def handle_timeout(self, now: float) -> None:
        """Takes back what is asked of peers that do not answer; ends rests."""
        for link in list(self.links.values()):
            link.rest_until(now)
            if link.is_stalled(now):
                logger.info("%s does not answer; asking elsewhere", link.name)
                for request_id in list(link.replica.in_flight):
                    self._asker.ended(link, link.replica.cancel(request_id))
                link.rest(now)
        self._asker.reassign(self.links.values(), now)
        self.flush(now)

    # what came

    def _on_sync(self, link: Link, now: float) -> None:
        self._is_news = True
        head = self.feed.published_head
        remote = link.replica.remote
        length = head.length if head else 0
        # Without this acknowledgement Node, shorter than we are, never asks for the rest.
        if remote.fork == self.feed.log.fork and remote.length < length:
            self._send_sync(link)
        histories.ask_for_same(self.feed, link)
        if histories.ask_for_later_fork(self.feed, link):
            self._first.asked(now)

    def _on_begun(self, now: float) -> None:
        """The feed has begun with another fork than what was asked for so far is of."""
        for link, sent, _ in self._answers:
            self._asker.ended(link, sent)
        self._answers = []
        for link in self.links.values():
            for request_id in list(link.replica.in_flight):
                self._asker.ended(link, link.replica.cancel(request_id))
        self._note_remote_length()
        self._tell_news([], now)
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
        except NoRoom as error:
            logger.info("feed %s: %s", self.feed.feed_id.hex(), error)
            for link, sent, _ in answers:
                self._asker.ended(link, sent)
            self._asker.had_no_room(now)
            return
        except (StoreError, OSError) as error:
            logger.error("feed %s cannot be stored: %s", self.feed.feed_id.hex(), error)
            for link, sent, _ in answers:
                self._asker.ended(link, sent)
                link.rest(now)
            return
        except Exception:  # a bug: what these brought is to be asked for again
            for link, sent, _ in answers:
                self._asker.ended(link, sent)
            raise
        added: list[int] = []
        for (link, sent, proof), result in zip(answers, results, strict=True):
            self._asker.ended(link, sent)
            if isinstance(result, Exception):
                self._on_invalid(link, sent, result, now)
                continue
            link.answered(proof, now)
            if result.new_head is not None:
                link.proven_length = result.new_head.length
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
        block = sent.request.block
        self._distrust(link, None if block is None else block.block_index, error, now)
        # It may hold another signed history: that would be evidence, and no lie.
        histories.ask_for_conflict(self.feed, link)

    def _distrust(self, link: Link, block: int | None, error: Exception, now: float) -> None:
        if link.gave_bad(block, error, now):
            logger.warning("%s sent something invalid: %s", link.name, error)
        self.trusts.remember(link.source, link.trust)
        link.is_resting = True

    def _on_history(self, link: Link, shown: r.HistoryShown, now: float) -> None:
        self._is_news = True
        try:
            histories.judge(self.feed, self._first, link, shown.proof)
        except InvalidProof as error:
            if shown.was_asked:
                self._distrust(link, None, error, now)
            else:
                link.drop(error)

    # what we tell

    def _send_sync(self, link: Link) -> None:
        head = self.feed.published_head
        fork, length = (head.fork, head.length) if head else (self.feed.log.fork, 0)
        if length:
            self.feed.unshared.end()
        remote = link.replica.remote
        can_upgrade = remote.length == 0 or (
            remote.length < length
            and all(self.feed.log.nodes.node(peak) is not None for peak in peaks(remote.length))
        )
        link.replica.send_sync(fork=fork, length=length, can_upgrade=can_upgrade)
        link.told_length = length

    def _send_contiguous(self, link: Link) -> None:
        end = self._shown_contiguous()
        if end > link.replica.told_contiguous:
            link.replica.send_range(0, end)

    def _shown_length(self) -> int:
        head = self.feed.published_head
        return head.length if head else 0

    def _shown_contiguous(self) -> int:
        return min(self.feed.log.contiguous_length, self._shown_length())

    def _tell_news(self, added: list[int], now: float) -> None:
        """Tells the new length, and which blocks have come: all of them if that is now so.

        Whoever holds all blocks says that to every peer, to the one it has them from, too, as Node
        does: by ranges from 0 alone Node knows how much of a feed others hold.
        """
        length = self._shown_length()
        is_complete = self._shown_contiguous() == length
        runs = [] if is_complete else list(runs_of_indexes(added))
        for link in self.links.values():
            replica = link.replica
            if is_complete:
                self._send_contiguous(link)
            for start, end in runs:
                if replica.remote_held.first_unset(start) < end:
                    replica.send_range(start, end)
            if link.told_length != length:
                self._send_sync(link)
