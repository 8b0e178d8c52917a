"""One feed on one connection: what both sides have told, what is asked, what is to be answered.

A `Replica` keeps the protocol's state of one `hypercore/alpha` channel and turns messages into
events and calls into messages. It decides nothing: which blocks to ask of whom, and what to do with
an answer, is for its user (`swarm.replicator`). Source: hypercore lib/replicator.js, as
docs/protocol.md describes it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import DecodeError, RemoteProtocolError
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.prove import promised_by
from protozorfs.wire import messages as m
from protozorfs.wire.mux import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protozorfs.log.proof_types import Proof, Request
    from protozorfs.types import FeedId
    from protozorfs.wire.connection import ChannelId, Connection

WANT_BLOCKS = 2**21  # the window of blocks that Node asks about at a time
MAX_REMOTE_WANTS = 1024  # windows that wait for an answer; Node repeats none, and has 528 at most
MAX_WANTED_BLOCKS = 64 * WANT_BLOCKS  # that they are about; reading so many bits takes a second
MAX_REMOTE_REQUESTS = 4096  # unanswered requests per peer, about 1 MiB of Python objects
MAX_UNSOLICITED = 1024  # answers that nobody asked for; a few are honest, after a cancel
MAX_DROPPED_SEGMENTS = 64  # of what is told as dropped; only requests on their way matter
MAX_RANGE_AHEAD = 2**21  # blocks that an announcement may run ahead of the announced length
MAX_REMOTE_SEGMENTS = 4096  # of a claimed bitfield; 2.8 MiB at the worst
MAX_LENGTH = 2**52  # half of what the wire can carry, so that doubled indexes stay safe

NO_DATA_DROPPED = 0
NO_DATA_UNAVAILABLE = 1
NO_DATA_INVALID = 2
CONFLICT_ID = 0  # the request id that is kept for other histories of a feed


class Sent(NamedTuple):
    """A request that is under way."""

    request: Request
    since: float  # seconds, monotonic
    assumed: bool  # it counts on answers to earlier requests


class Answer(NamedTuple):
    """A `data` message for a request of ours. Claimed, not verified."""

    sent: Sent
    proof: Proof


class Refused(NamedTuple):
    """A `no-data` message for a request of ours."""

    sent: Sent
    reason: int


class Synced(NamedTuple):
    """The remote side told its state; `is_first` once per channel."""

    is_first: bool


class Announced(NamedTuple):
    """The remote side told which blocks it holds, or no longer holds."""


class Asked(NamedTuple):
    """There is a request in `Replica.to_serve`."""


class Wanted(NamedTuple):
    """There is a want in `Replica.to_tell`."""


class HistoryShown(NamedTuple):
    """A proof from an empty tree, asked for or not: evidence of another history, perhaps."""

    proof: Proof
    was_asked: bool


class HistoryRefused(NamedTuple):
    """There is no answer to `send_conflict_request`."""


Event = Answer | Refused | Synced | Announced | Asked | Wanted | HistoryShown | HistoryRefused


@dataclass(slots=True)
class RemoteState:
    """What the remote side said last. All of it is a claim."""

    is_known: bool = False  # a first sync has come
    fork: int = 0
    length: int = 0
    acknowledged: int = 0  # the length of ours that it has seen
    can_upgrade: bool = False
    is_uploading: bool = True
    is_downloading: bool = True


class Replica:
    """The state of one feed's channel. Never does I/O: messages go into the connection's queue."""

    def __init__(
        self,
        connection: Connection,
        channel: ChannelId,
        feed_id: FeedId,
        *,
        pads_seeks: bool = False,
    ) -> None:
        """`pads_seeks` is what the remote side's handshake said in `seeks`."""
        self.connection = connection
        self.channel = channel
        self.feed_id = feed_id
        self.remote = RemoteState()
        self.remote_held = Bitfield(MAX_REMOTE_SEGMENTS)
        self.in_flight: dict[int, Sent] = {}
        self.in_flight_blocks: dict[int, int] = {}  # block index -> id of the request
        # Both in the order they came; by the request's id, which honest peers use once.
        self.to_serve: OrderedDict[int, m.RequestMessage] = OrderedDict()
        self.to_tell: OrderedDict[tuple[int, int], None] = OrderedDict()  # wants: `[start, end)`
        self.promised: dict[int, int] = {}  # tree index -> number of requests that will bring it
        self.wanted_windows: set[int] = set()
        self.refusals = 0
        self.is_history_asked = False  # and neither shown nor refused yet
        self.told_contiguous = 0  # told by one range from 0 on, and nothing of it dropped since
        self._dropped = Bitfield()  # told, and not asked for since
        self._wanted_blocks = 0  # in `to_tell`
        self._pads_seeks = pads_seeks
        self._next_id = CONFLICT_ID + 1
        self._unsolicited = 0
        self._handlers: dict[int, Callable[[bytes], Event | None]] = {
            m.SYNC: self._on_sync,
            m.REQUEST: self._on_request,
            m.CANCEL: self._on_cancel,
            m.DATA: self._on_data,
            m.NO_DATA: self._on_no_data,
            m.WANT: self._on_want,
            m.UNWANT: self._on_unwant,
            m.BITFIELD: self._on_bitfield,
            m.RANGE: self._on_range,
        }

    # what we tell

    def send_sync(self, *, fork: int, length: int, can_upgrade: bool) -> None:
        """Tells our whole state; acknowledges the remote length if the forks agree."""
        remote_length = self.remote.length if self.remote.fork == fork else 0
        message = m.Sync(fork, length, remote_length, can_upgrade, True, True)
        self.connection.send(self.channel, m.SYNC, m.encode_sync(message))

    def send_range(self, start: int, end: int) -> None:
        """Says that we hold the blocks of `[start, end)`."""
        if start == 0:
            self.told_contiguous = max(self.told_contiguous, end)
        message = m.Range(False, start, end - start)
        self.connection.send(self.channel, m.RANGE, m.encode_range(message))

    def send_dropped(self, start: int, end: int) -> None:
        """Says that we hold no block of `[start, end)` any more.

        Of what a range from 0 told, hypercore up to 11.37.1 forgets with these blocks all that is
        behind them (lib/replicator.js, `onrange`). So that is told once more, by a range of its
        own, and first: no peer ever thinks that there is less than there is.
        """
        if start < self.told_contiguous:
            if end < self.told_contiguous:
                self.send_range(end, self.told_contiguous)
            self.told_contiguous = start
        if self._dropped.segments >= MAX_DROPPED_SEGMENTS:
            self._dropped = Bitfield()
        self._dropped.set_range(start, end)
        message = m.Range(True, start, end - start)
        self.connection.send(self.channel, m.RANGE, m.encode_range(message))

    def send_held(self, held: Bitfield, length: int, start: int, end: int) -> None:
        """Answers a want for `[start, end)` of `length` blocks; `start` is a multiple of 32.

        The work is in proportion to what the range has of these blocks.
        """
        end = min(end, length)
        if start >= end:
            return
        contiguous = min(held.contiguous_length, length)
        if contiguous > start and (contiguous >= end or held.first_set(contiguous, end) is None):
            self.send_range(0, contiguous)
            return
        words = held.to_bytes(start, end - start)
        words = words[: (len(words.rstrip(b"\0")) + 3) // 4 * 4]
        if words:
            # Node takes its start for the end of what is held from 0 on.
            self.told_contiguous = min(self.told_contiguous, start)
            message = m.BitfieldMessage(start, words)
            self.connection.send(self.channel, m.BITFIELD, m.encode_bitfield(message))

    def send_want(self, block_index: int) -> None:
        """Asks, once, what the remote side holds in the window around a block."""
        window = block_index // WANT_BLOCKS
        if window not in self.wanted_windows:
            self.wanted_windows.add(window)
            message = m.Want(window * WANT_BLOCKS, WANT_BLOCKS, False)
            self.connection.send(self.channel, m.WANT, m.encode_want(message))

    def send_request(
        self, request: Request, fork: int, now: float, *, assumed: bool = False, priority: int = 0
    ) -> int:
        """Asks; returns the id of the request."""
        request_id = self._next_id
        self._next_id += 1
        self.in_flight[request_id] = Sent(request, now, assumed)
        if request.block is not None:
            self.in_flight_blocks[request.block.block_index] = request_id
            for index in promised_by(*request.block):
                self.promised[index] = self.promised.get(index, 0) + 1
        message = m.RequestMessage(request_id, fork, request, priority)
        self.connection.send(self.channel, m.REQUEST, m.encode_request(message))
        return request_id

    def send_conflict_request(self, request: Request, fork: int) -> None:
        """Asks for the proof of a whole tree, to see whether it is the same history as ours."""
        self.is_history_asked = True
        message = m.RequestMessage(CONFLICT_ID, fork, request, 0)
        self.connection.send(self.channel, m.REQUEST, m.encode_request(message))

    def cancel(self, request_id: int) -> Sent:
        """Takes a request back. Its answer may still come and is ignored then."""
        sent = self._forget(request_id)
        self.connection.send(self.channel, m.CANCEL, m.encode_cancel(m.Cancel(request_id)))
        return sent

    def send_proof(self, request_id: int, proof: Proof) -> None:
        """Answers a request.

        A block that just fitted into its frame when it came may not together with more nodes.
        """
        body = m.encode_data(m.Data(request_id, proof))
        if len(body) > MAX_BODY_BYTES:
            self.send_no_data(request_id, NO_DATA_UNAVAILABLE)
            return
        self.connection.send(self.channel, m.DATA, body)

    def send_no_data(self, request_id: int, reason: int) -> None:
        """Answers that there is no answer.

        Node counts the reasons 1 and 2, and from the 32nd on asks nothing more on this connection;
        with `NO_DATA_DROPPED`, which is no reason, it asks for ever what it thinks is here.
        """
        message = m.NoData(request_id, reason)
        self.connection.send(self.channel, m.NO_DATA, m.encode_no_data(message))

    # what we are told

    def receive(self, message_type: int, body: bytes) -> Event | None:
        """Takes one message; returns what its user has to know of it.

        Raises:
            RemoteProtocolError: it cannot be decoded, or breaks a limit.
        """
        handler = self._handlers.get(message_type)
        if handler is None:  # extensions, and whatever later versions add
            return None
        try:
            return handler(body)
        except DecodeError as error:
            raise RemoteProtocolError(f"message {message_type}: {error}") from error

    def remote_has(self, block_index: int) -> bool:
        """True if the remote side announced the block."""
        return self.remote_held.get(block_index)

    def next_want(self) -> tuple[int, int]:
        """Takes the want from `to_tell` that came first."""
        (start, end), _ = self.to_tell.popitem(last=False)
        self._wanted_blocks -= end - start
        return start, end

    def takes_dropped(self, block_index: int) -> bool:
        """True, once, for a block that was told as dropped: a request may have crossed that."""
        if not self._dropped.get(block_index):
            return False
        self._dropped.clear(block_index)
        return True

    def drain_in_flight(self) -> Iterable[Sent]:
        """Forgets all requests under way, as after the end of the channel; yields them."""
        for request_id in list(self.in_flight):
            yield self._forget(request_id)

    def _forget(self, request_id: int) -> Sent:
        sent = self.in_flight.pop(request_id)
        block = sent.request.block
        if block is not None:
            if self.in_flight_blocks.get(block.block_index) == request_id:
                del self.in_flight_blocks[block.block_index]
            promised = self.promised
            for index in promised_by(*block):
                left = promised.get(index, 0) - 1
                if left > 0:
                    promised[index] = left
                else:
                    promised.pop(index, None)
        return sent

    def _on_sync(self, body: bytes) -> Event:
        message = m.decode_sync(body)
        if message.length > MAX_LENGTH:
            raise RemoteProtocolError("claims a length beyond what can be indexed")
        remote = self.remote
        is_first = not remote.is_known
        if message.fork != remote.fork:
            self.remote_held = Bitfield(MAX_REMOTE_SEGMENTS)
        remote.is_known = True
        remote.fork = message.fork
        remote.length = message.length
        remote.acknowledged = message.remote_length
        remote.can_upgrade = message.can_upgrade
        remote.is_uploading = message.uploading
        remote.is_downloading = message.downloading
        return Synced(is_first)

    def _on_request(self, body: bytes) -> Event:
        if len(self.to_serve) >= MAX_REMOTE_REQUESTS:
            raise RemoteProtocolError("asks faster than it takes the answers")
        message = m.decode_request(body, padded_seeks=self._pads_seeks)
        self.to_serve[message.id] = message
        return Asked()

    def _on_cancel(self, body: bytes) -> None:
        self.to_serve.pop(m.decode_cancel(body).id, None)

    def _on_data(self, body: bytes) -> Event | None:
        message = m.decode_data(body)
        if message.id == CONFLICT_ID:
            was_asked, self.is_history_asked = self.is_history_asked, False
            return HistoryShown(message.proof, was_asked)
        if message.id not in self.in_flight:
            self._count_unsolicited()
            return None
        self.refusals = 0
        return Answer(self._forget(message.id), message.proof)

    def _on_no_data(self, body: bytes) -> Event | None:
        message = m.decode_no_data(body)
        if message.id == CONFLICT_ID and self.is_history_asked:
            self.is_history_asked = False
            return HistoryRefused()
        if message.id not in self.in_flight:
            self._count_unsolicited()
            return None
        sent = self._forget(message.id)
        block = sent.request.block
        if block is None or self.remote_held.get(block.block_index):  # not dropped meanwhile
            self.refusals += 1
        return Refused(sent, message.reason)

    def _count_unsolicited(self) -> None:
        self._unsolicited += 1
        if self._unsolicited > MAX_UNSOLICITED:
            raise RemoteProtocolError("answers what it was not asked")

    def _on_want(self, body: bytes) -> Event | None:
        message = m.decode_want(body)
        if message.length > WANT_BLOCKS or message.start % 32:
            return None  # Node ignores such wants as well
        window = (message.start, message.start + message.length)
        if (
            window not in self.to_tell
            and len(self.to_tell) < MAX_REMOTE_WANTS
            and self._wanted_blocks + message.length <= MAX_WANTED_BLOCKS
        ):
            self.to_tell[window] = None
            self._wanted_blocks += message.length
        return Wanted()

    def _on_unwant(self, body: bytes) -> None:
        message = m.decode_unwant(body)
        window = (message.start, message.start + message.length)
        if window in self.to_tell:
            del self.to_tell[window]
            self._wanted_blocks -= message.length

    def _on_bitfield(self, body: bytes) -> Event:
        message = m.decode_bitfield(body)
        end = message.start + len(message.words) * 8
        if end > self._announcement_limit():
            raise RemoteProtocolError("announces blocks beyond its length")
        self.remote_held.assign_bytes(message.start, message.words)
        return Announced()

    def _on_range(self, body: bytes) -> Event:
        message = m.decode_range(body)
        end = min(message.start + message.length, self._announcement_limit())
        if message.start < end:
            if message.drop:
                self.remote_held.clear_range(message.start, end)
            else:
                self.remote_held.set_range(message.start, end)
        return Announced()

    def _announcement_limit(self) -> int:
        # A bitfield is a whole number of words, and a range may come before the sync that
        # explains it.
        return self.remote.length + MAX_RANGE_AHEAD
