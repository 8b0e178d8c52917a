"""Keeps the feeds of a node findable on the DHT, and finds others: schedule, records, candidates.

The schedule decides what is next, the DHT node does it, and what is found goes to the swarm.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from protozorfs.boundary import PAUSE_SECONDS, Boundary
from protozorfs.dht.budget import Priority
from protozorfs.dht.node_id import NodeId
from protozorfs.dht.operations import ItemFound, PeersFound
from protozorfs.dht.routing import BUCKET_SIZE
from protozorfs.errors import DecodeError, InvalidSignature, LocalProtocolError
from protozorfs.ids import discovery_key_of, public_key_of
from protozorfs.swarm.head import decode_kept, encode_kept, read_item, sign_record, verify_kept
from protozorfs.swarm.schedule import Job, Schedule, Upkeep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.dht.item_operations import PutItem
    from protozorfs.dht.items import SignedItem
    from protozorfs.dht.node import DhtNode, Found
    from protozorfs.dht.node_id import RandomSource
    from protozorfs.feeds.feed import Feed
    from protozorfs.types import Address, FeedId

CHECK_SECONDS = 5.0  # that the first append of a run may wait (docs/design.md, rule 3)
CHECK_ANSWERS = 5  # of the 8 closest nodes: enough to have seen what the feed's owner put
SETTLE_SECONDS = 1.0  # after the start, in which a node that is online finds its first contacts
INFOHASH_BYTES = 20

logger = logging.getLogger(__name__)


def infohash_of(feed_id: FeedId) -> NodeId:
    """Under which a feed's peers find each other: the first 20 bytes of the discovery key."""
    return NodeId(discovery_key_of(feed_id)[:INFOHASH_BYTES])


class Finds(Protocol):
    """Who is told what the DHT knows: the swarm."""

    def peers_found(self, feed: Feed, addresses: Sequence[Address]) -> None:
        """Hints where a feed's peers are; nobody vouches for them."""

    def search_ended(self, feed: Feed) -> None:
        """One search for a feed is over."""


class _Turn(NamedTuple):
    """How a job has ended, in the words of `Schedule.done`."""

    found: bool
    answered: bool


class DhtUpkeep:
    """The feeds' side of the DHT."""

    def __init__(self, node: DhtNode, port: int, finds: Finds, random: RandomSource) -> None:
        """`port` is the TCP port that is announced; another one leads here behind a gateway."""
        self.schedule = Schedule(random)
        self.node = node
        self.announced_port = port
        self._finds = finds
        self._feeds: dict[FeedId, Feed] = {}
        self._changed = trio.Event()
        self._started = trio.current_time()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Does what is due until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                changed = self._changed = trio.Event()
                deadline: float | None = trio.current_time() + PAUSE_SECONDS
                with Boundary(logger, "the choice of what is due on the DHT"):
                    for job in self.schedule.next_jobs(trio.current_time()):
                        nursery.start_soon(self._do_one, job)
                    deadline = self.schedule.next_deadline()
                with trio.CancelScope() as scope:
                    if deadline is not None:
                        scope.deadline = deadline
                    await changed.wait()

    # what happens to feeds

    def add(self, feed: Feed) -> None:
        """A feed is to be found, and kept findable."""
        if feed.feed_id not in self._feeds:
            self._feeds[feed.feed_id] = feed
            self.schedule.add(feed.feed_id, is_owned=feed.is_owned, now=trio.current_time())
            self._changed.set()

    def remove(self, feed: Feed) -> None:
        """It is not here any more."""
        self._feeds.pop(feed.feed_id, None)
        self.schedule.remove(feed.feed_id)

    def head_grew(self, feed: Feed) -> None:
        """An owned feed has a new durable head."""
        self.schedule.head_grew(feed.feed_id, trio.current_time())
        self._changed.set()

    def reader_waits(self, feed: Feed) -> None:
        """Somebody waits for what no connected peer has."""
        self.schedule.reader_waits(feed.feed_id, trio.current_time())
        self._changed.set()

    def head_wanted(self, feed: Feed) -> None:
        """Somebody opens a feed of which nothing is known."""
        self.schedule.head_wanted(feed.feed_id, trio.current_time())
        self._changed.set()

    def connected(self, feed: Feed, is_connected: bool) -> None:
        """The feed got its first live peer, or lost its last."""
        self.schedule.connected(feed.feed_id, is_connected, trio.current_time())
        self._changed.set()

    def is_searching(self, feed: Feed) -> bool:
        """The first search for the feed is not over, or a later one runs."""
        return self.schedule.is_searching(feed.feed_id)

    @property
    def is_online(self) -> bool:
        """The DHT knows nodes that answer."""
        now = trio.current_time()
        return any(network.has_nodes(now) for network in self.node.engine.networks.values())

    async def check_newest(self, feed: Feed) -> bool:
        """Looks for a newer record of a feed; True if enough nodes answered."""
        with trio.move_on_after(CHECK_SECONDS):
            while not self.is_online:
                if trio.current_time() - self._started >= SETTLE_SECONDS:
                    return False
                await trio.sleep(SETTLE_SECONDS / 10)
            try:
                operation = self.node.engine.get_item(
                    public_key_of(feed.feed_id), newer_than=0, priority=Priority.OWNED
                )
            except LocalProtocolError as error:  # too many operations wait
                logger.warning("the DHT cannot be asked for a newer head: %s", error)
                return False
            await self.node.finish(operation, lambda found: self._on_found(feed, found))
            return operation.answered_count >= CHECK_ANSWERS
        return False

    # jobs

    async def _do_one(self, job: Job) -> None:
        with Boundary(logger, f"a turn of feed {job.feed_id.hex()} on the DHT"):
            await self._do(job)

    async def _do(self, job: Job) -> None:
        turn = _Turn(found=False, answered=False)
        feed = self._feeds.get(job.feed_id)
        try:
            if feed is not None and feed.is_usable:
                if job.upkeep is Upkeep.PEERS:
                    turn = await self._announce(feed, job.priority)
                else:
                    turn = await self._keep_head(feed, job.priority)
        except LocalProtocolError as error:  # too many operations wait: the schedule comes back
            logger.info("a turn on the DHT was put off: %s", error)
        finally:
            if feed is not None and not len(feed.wants):
                self.schedule.reader_gone(feed.feed_id)
            self.schedule.done(job, trio.current_time(), **turn._asdict())
            self._changed.set()
        if feed is not None and self._is_here(feed):
            self._finds.search_ended(feed)

    async def _announce(self, feed: Feed, priority: Priority) -> _Turn:
        operation = self.node.engine.announce(
            infohash_of(feed.feed_id), self.announced_port, priority=priority
        )
        await self.node.finish(operation, lambda found: self._on_found(feed, found))
        return _Turn(operation.stored_count > 0, operation.answered_count > 0)

    async def _keep_head(self, feed: Feed, priority: Priority) -> _Turn:
        """Puts the newest record that is here; without one, looks for one.

        It is not `found` if the network had too few nodes, as while it is being joined.
        """
        item = self.record_of(feed)
        if item is None:
            if feed.is_owned:  # nothing was appended yet
                self.schedule.nothing_put(feed.feed_id)
                return _Turn(found=True, answered=True)
            if feed.fork:  # records have fork 0 only: its peers bring its heads
                return _Turn(found=True, answered=False)
            get = self.node.engine.get_item(public_key_of(feed.feed_id), priority=priority)
            await self.node.finish(get, lambda found: self._on_found(feed, found))
            return _Turn(get.best is not None, get.answered_count > 0)
        with feed.unshared.in_doubt():
            put = self.node.engine.put_item(
                item, priority=priority, skip_if_fresh=not feed.is_owned
            )
            try:
                await self.node.finish(put, lambda found: self._on_found(feed, found))
            finally:
                if put.has_begun_storing:  # whoever is asked without an answer may have it
                    feed.unshared.end()
        self._check_rivals(feed, put)
        found = put.is_fresh or put.is_outdated or put.stored_count >= BUCKET_SIZE
        return _Turn(found, put.answered_count > 0)

    def record_of(self, feed: Feed) -> SignedItem | None:
        """The newest record that may be put: our own head's, or the newest that was seen."""
        if not feed.has_files:
            return None
        keys = feed.log.key_pair
        head = feed.published_head
        if keys is not None and head is not None and head.length and head.fork == 0:
            return sign_record(head, keys)
        verify_kept(feed)
        if feed.known_head.record is None:
            return None
        return decode_kept(feed.known_head.record, feed.feed_id)[0]

    def _check_rivals(self, feed: Feed, put: PutItem) -> None:
        if self._is_here(feed):
            for item in put.rivals:
                self._learn(feed, item)

    def _is_here(self, feed: Feed) -> bool:
        """False if it was let go while the DHT was asked; it may have come back as another."""
        return self._feeds.get(feed.feed_id) is feed

    def _on_found(self, feed: Feed, found: Found) -> None:
        if not self._is_here(feed):
            return
        match found:
            case PeersFound(peers=peers):
                self._finds.peers_found(feed, [peer.to_address() for peer in peers])
            case ItemFound(item=item):
                self._learn(feed, item)

    def _learn(self, feed: Feed, item: SignedItem) -> None:
        """Judges a record that was found against what is known."""
        try:
            head = read_item(item, feed.feed_id)
        except (DecodeError, InvalidSignature) as error:
            logger.warning("a record of %s counts for nothing: %s", feed.feed_id.hex(), error)
            return
        if head.fork != feed.fork:
            return  # a feed that has begun with a later fork keeps to it
        verify_kept(feed)
        if feed.conflicts.check_head(feed.log, feed.known_head.head, head):
            logger.error("feed %s: two histories are signed", feed.feed_id.hex())
        elif head.length >= feed.length and head.byte_length < feed.byte_length:
            logger.warning("a record of %s would make it shorter", feed.feed_id.hex())
        elif head.length > max(feed.known_head.length, feed.log.length if feed.is_owned else 0):
            feed.learn_head(head, encode_kept(item))
            if feed.is_owned:
                logger.warning("feed %s has grown elsewhere", feed.feed_id.hex())
