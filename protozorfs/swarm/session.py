"""One connection and the feeds on it: which are shown to that peer, and what each message is for.

A peer is shown (a) the feeds that it was found for, (b) those that it opens and we have; a peer
that the user named is shown all, paced. Nothing else is revealed (docs/design.md, section 2). What
it may be shown is remembered while it is not here: a feed that comes, or comes back, is shown at
once, whichever side had let it go. No I/O here.

What is paced are opens: a few dozen wait for their answers at a time, so that thousands of feeds
are shown as fast as both sides get them done, and neither is held up by them; and in the long run
they stay below the rate that a peer takes from strangers. What a reader waits for goes first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from protozorfs import crypto
from protozorfs.boundary import Boundary
from protozorfs.errors import (
    DecodeError,
    LocalProtocolError,
    RemoteProtocolError,
    StoreError,
)
from protozorfs.ids import discovery_key_of
from protozorfs.types import DiscoveryKey
from protozorfs.wire import connection as c
from protozorfs.wire.messages import (
    PROTOCOL,
    Handshake,
    capability,
    decode_handshake,
    encode_handshake,
)
from protozorfs.wire.replication import Replica

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.feeds.feed import Feed
    from protozorfs.swarm.replicator import Replicator
    from protozorfs.types import FeedId, NodeKey

# Of what a peer of our kind takes (`wire.limits`: 16 384, then 100 a second) the rest is for the
# opens that answer its own.
OPEN_BURST = 12_288
OPENS_PER_SECOND = 50  # after that
MAX_OPENING = 64  # without an answer; a batch of answers lets as many more out, some 10 ms of work
MAX_REMEMBERED = 4096  # feeds that are not here and that this peer may be shown; 32 bytes each

logger = logging.getLogger(__name__)


class Directory(Protocol):
    """Who knows the feeds and judges connections: the swarm."""

    def replicator_for(self, discovery_key: DiscoveryKey) -> Replicator | None:
        """The replicator of a feed that is here."""

    def session_ready(self, session: Session) -> str | None:
        """The handshake is over; a reason if the connection is one too many."""

    def channel_settled(self, feed: Feed) -> None:
        """It is known now whether this peer can help with a feed's head."""


class ByteMover(Protocol):
    """Who moves the bytes of a session."""

    def wake(self) -> None:
        """There may be something to send."""

    def drop(self, error: Exception) -> None:
        """Ends the connection for a fault of the peer's."""

    def end(self, why: str) -> None:
        """Ends the connection."""


class Session:
    """What is known about one connection above its bytes."""

    def __init__(
        self,
        connection: c.Connection,
        directory: Directory,
        name: str,
        *,
        is_initiator: bool,
        driver: ByteMover,
    ) -> None:
        self.connection = connection
        self.name = name
        self.is_initiator = is_initiator
        self.is_ready = False  # the handshake is over
        self.wake = driver.wake
        self._driver = driver
        self._directory = directory
        # Who dials us comes from another port each time.
        self._source = name if is_initiator else name.rpartition(":")[0] or name
        self._replicas: dict[c.ChannelId, tuple[Replica, Replicator]] = {}
        self._opening: dict[DiscoveryKey, tuple[c.ChannelId, Feed]] = {}
        self._open_keys: dict[DiscoveryKey, c.ChannelId] = {}
        self._keys: dict[c.ChannelId, DiscoveryKey] = {}  # of both
        self._to_open: OrderedDict[Feed, None] = OrderedDict()
        self._awaited: dict[DiscoveryKey, None] = {}  # not here, and may be shown to this peer
        self._opens_left = OPEN_BURST
        self._max_opening = MAX_OPENING
        self._touched: dict[Replicator, None] = {}
        self._is_handling = False

    @property
    def remote_key(self) -> NodeKey:
        """The static key that the peer has shown; only after the handshake."""
        if self.connection.remote_key is None:
            raise LocalProtocolError("the handshake is not over")
        return self.connection.remote_key

    def offer(self, feeds: Iterable[Feed], now: float) -> None:
        """Shows feeds to this peer, as soon as the handshake and the pace allow."""
        self._to_open.update(dict.fromkeys(feeds))
        self._open_offered(now)

    def hurry(self, feed: Feed, now: float) -> None:
        """A reader waits: if the feed is yet to be shown, it is the next one."""
        if feed in self._to_open:
            self._to_open.move_to_end(feed, last=False)
            self._open_offered(now)

    def offer_if_awaited(self, feed: Feed, now: float) -> None:
        """Shows a feed that is new here, if this peer has opened it, or was shown it before."""
        key = discovery_key_of(feed.feed_id)
        if key in self._awaited:
            del self._awaited[key]
            self.offer([feed], now)

    def withdraw(self, feed: Feed, now: float, *, was_found: bool) -> None:
        """Closes the channel of a feed that is not here any more.

        `was_found`: the peer was found for that feed.
        """
        key = discovery_key_of(feed.feed_id)
        opening = self._opening.get(key)
        if was_found or feed in self._to_open or opening is not None or key in self._open_keys:
            self._remember(key)
        self._to_open.pop(feed, None)
        channel = opening[0] if opening is not None else self._open_keys.get(key)
        if channel is not None:
            self.connection.close(channel)
            self._channel_ended(channel, now)
        self.wake()

    def is_opening(self, feed: Feed) -> bool:
        """The feed is shown or being shown to this peer, and its state is not known yet."""
        key = discovery_key_of(feed.feed_id)
        channel = self._open_keys.get(key)
        if channel is not None:
            return not self._replicas[channel][0].remote.is_known
        return key in self._opening or feed in self._to_open

    def may_bring_head(self, feed: Feed) -> bool:
        """This peer has the feed open, or it is not known yet whether it will open it.

        Whatever length it claims: to have nothing is no knowledge, and it may get something.
        """
        is_open = discovery_key_of(feed.feed_id) in self._open_keys
        return not self.is_ready or is_open or self.is_opening(feed)

    def receive(self, data: bytes, now: float) -> None:
        """Takes what one `recv` brought.

        Raises:
            RemoteProtocolError: the connection must end.
        """
        self.connection.receive_bytes(data, now)
        self._handle_events(now)

    def drained(self) -> None:
        """The output was sent: there is room to answer more."""
        for replica, replicator in list(self._replicas.values()):
            if replica.to_serve or replica.to_tell:
                link = replicator.links.get(replica)
                if link is not None:
                    replicator.serve(link)

    def tick(self, now: float) -> None:
        """Once a second: goes on showing feeds."""
        self._opens_left = max(self._opens_left, OPENS_PER_SECOND)
        if len(self._opening) >= self._max_opening:  # some of them may never be answered
            self._max_opening += OPENS_PER_SECOND
        self._open_offered(now)

    def close(self, now: float) -> None:
        """The connection has ended: whatever goes wrong with one feed, the others are told."""
        self._is_handling = False  # if an error ended it
        for channel in list(self._replicas):
            with Boundary(logger, f"the end of a feed's channel with {self.name}"):
                self._channel_ended(channel, now)
        for _, feed in self._opening.values():
            with Boundary(logger, f"the end of a feed's opening with {self.name}"):
                self._directory.channel_settled(feed)

    def _handle_events(self, now: float) -> None:
        """Takes all events there are, then acts on all messages at once."""
        self._is_handling = True
        while True:
            for event in self.connection.events():
                if type(event) is c.MessageReceived:
                    entry = self._replicas.get(event.channel)
                    if entry is not None:
                        replica, replicator = entry
                        self._touched[replicator] = None
                        try:
                            replicator.receive(replica, event.type, event.body, now)
                        except (StoreError, OSError) as error:
                            replicator.store_failed(error, now)
                else:
                    self._on_event(event, now)
            if not self._open_some():  # opens that crossed ours have made new events
                break
        self._is_handling = False
        touched, self._touched = self._touched, {}
        for replicator in touched:
            replicator.flush(now)
        self.wake()

    def _on_event(self, event: c.Event, now: float) -> None:
        match event:
            case c.HandshakeCompleted():
                self.is_ready = True
                superfluous = self._directory.session_ready(self)
                if superfluous is not None:
                    self._driver.end(superfluous)
            case c.OpenRequested(name=name, handshake=handshake):
                self._on_open_requested(name, handshake)
            case c.ChannelOpened(channel=channel, handshake=handshake):
                self._on_opened(channel, handshake, now)
            case c.ChannelClosed(channel=channel):
                self._channel_ended(channel, now)

    def _open_offered(self, now: float) -> None:
        if not self._to_open or self._is_handling:  # else it is done with what is handled
            return
        try:
            self._handle_events(now)
        except RemoteProtocolError as error:
            self._driver.drop(error)

    def _open_some(self) -> bool:
        """Opens as many of the offered feeds as the pace allows; False if that is none."""
        if not self.is_ready:
            return False
        opened = 0
        while self._to_open and self._opens_left > 0 and len(self._opening) < self._max_opening:
            feed, _ = self._to_open.popitem(last=False)
            key = discovery_key_of(feed.feed_id)
            if key not in self._opening and key not in self._open_keys and feed.is_usable:
                self._open(feed)
                opened += 1
        return opened > 0

    def _open(self, feed: Feed) -> c.ChannelId:
        key = discovery_key_of(feed.feed_id)
        channel = self.connection.open(
            c.ChannelName(PROTOCOL, key),
            encode_handshake(Handshake(False, self._capability(feed.feed_id, mine=True))),
        )
        self._opens_left -= 1
        self._opening[key] = (channel, feed)
        self._keys[channel] = key
        return channel

    def _capability(self, feed_id: FeedId, *, mine: bool) -> bytes:
        handshake_hash = self.connection.handshake_hash
        if handshake_hash is None:
            raise LocalProtocolError("the handshake is not over")
        return capability(
            handshake_hash,
            feed_id,
            sent_by_initiator=self.is_initiator == mine,
        )

    def _on_open_requested(self, name: c.ChannelName, handshake: bytes) -> None:
        key = DiscoveryKey(name.id)
        replicator = self._directory.replicator_for(key) if name.protocol == PROTOCOL else None
        if replicator is None or not replicator.feed.is_usable:
            self.connection.reject(name)
            self._remember(key)
            return
        self._check_capability(replicator.feed.feed_id, handshake)
        self._open(replicator.feed)

    def _remember(self, key: DiscoveryKey) -> None:
        if len(self._awaited) < MAX_REMEMBERED:
            self._awaited[key] = None

    def _on_opened(self, channel: c.ChannelId, handshake: bytes, now: float) -> None:
        key = self._keys.get(channel)
        if key is None:
            return
        _, feed = self._opening.pop(key)
        replicator = self._directory.replicator_for(key)
        if replicator is None:
            del self._keys[channel]
            self.connection.close(channel)
            return
        self._check_capability(feed.feed_id, handshake)
        pads_seeks = decode_handshake(handshake).seeks
        replica = Replica(self.connection, channel, feed.feed_id, pads_seeks=pads_seeks)
        self._replicas[channel] = (replica, replicator)
        self._open_keys[key] = channel
        try:
            replicator.attach(replica, self.name, self._driver, self._source)
        except (StoreError, OSError) as error:
            replicator.store_failed(error, now)

    def _check_capability(self, feed_id: FeedId, handshake: bytes) -> None:
        try:
            told = decode_handshake(handshake).capability
        except DecodeError as error:
            raise RemoteProtocolError(f"handshake of a feed: {error}") from error
        if not crypto.equal(told, self._capability(feed_id, mine=False)):
            raise RemoteProtocolError("does not know the key of the feed that it opened")

    def _channel_ended(self, channel: c.ChannelId, now: float) -> None:
        key = self._keys.pop(channel, None)
        if key is None:
            return
        opening = self._opening.pop(key, None)
        if opening is not None:
            self._directory.channel_settled(opening[1])
            return
        del self._open_keys[key]
        replica, replicator = self._replicas.pop(channel)
        replicator.detach(replica)
        if self._is_handling:
            self._touched[replicator] = None
        else:
            replicator.flush(now)
