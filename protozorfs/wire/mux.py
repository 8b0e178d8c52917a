"""Channels over one encrypted stream (protomux): who may use which id, and when.

A channel exists when both sides have sent an open for the same name. Each side counts its own ids
from 1 and sends with its own; an id is free again when the channel was answered and either side
closed it, or the other side rejected it, or answered it after we had closed it.

| arrives | for | then |
|---|---|---|
| open | a name that we opened, oldest first | the two pair: the channel is open |
| | one that we closed before this answer | our close again (1), our id is free |
| | a name that is open or waits already | reject: one channel a name |
| | else | it waits for our decision; its messages are held |
| reject | an id of ours without an answer | closed, the id is free |
| | else | fatal |
| close | an open channel | closed, our id is free |
| | one that waits for our decision | reject (2) |
| | else | ignored: both may close at once |
| message | an open channel | delivered |
| | else | ignored |

(1) A Node that decides late forgets a close that came before its decision and would hold the id
for ever; one that did not forget ignores the second. (2) Every open is answered exactly once, else
the other side takes our next open of that name for the answer. Source: protomux 3.12.1 `index.js`,
and the races found with it that docs/protocol.md describes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protozorfs.compact import (
    MAX_UINT_BYTES,
    decode_buffer,
    decode_uint,
    encode_buffer,
    encode_uint,
)
from protozorfs.crypto import SECRETSTREAM_OVERHEAD
from protozorfs.errors import DecodeError, LocalProtocolError, RemoteProtocolError
from protozorfs.wire.batches import BatchQueue
from protozorfs.wire.events import (
    ChannelClosed,
    ChannelId,
    ChannelName,
    ChannelOpened,
    MessageReceived,
    OpenRequested,
)
from protozorfs.wire.limits import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from protozorfs.wire.events import Event
    from protozorfs.wire.limits import Limits

CONTROL = 0  # the channel of the mux itself
BATCH, OPEN, REJECT, CLOSE = range(4)  # its message types; others are ignored

# A plaintext begins with a channel and a type.
MAX_BODY_BYTES = MAX_FRAME_BYTES - SECRETSTREAM_OVERHEAD - 2 * MAX_UINT_BYTES
HELD_MESSAGE_BYTES = 512  # what a held message counts on top of its size, as Node does


class _Channel:
    """A channel that we opened."""

    __slots__ = ("channel", "is_closed", "local_id", "name", "remote_id")

    def __init__(self, channel: ChannelId, name: ChannelName, local_id: int) -> None:
        self.channel = channel
        self.name = name
        self.local_id = local_id
        self.remote_id = 0  # not answered
        self.is_closed = False  # by us, before the answer


class _Waiting:
    """An open of the other side that waits for our decision."""

    __slots__ = ("event", "held", "held_bytes", "remote_id")

    def __init__(self, remote_id: int, event: OpenRequested) -> None:
        self.remote_id = remote_id
        self.event = event
        self.held: list[tuple[int, bytes]] = []
        self.held_bytes = 0


class Mux:
    """One side of a protomux. Plaintexts in, events out; what is to be sent gathers in `queue`."""

    def __init__(self, limits: Limits, aliases: Mapping[bytes, bytes], now: float) -> None:
        """Starts without channels.

        Args:
            limits: what the other side may make us hold.
            aliases: protocol names of the other side that stand for another name.
            now: seconds, monotonic.
        """
        self.queue = BatchQueue()
        self._limits = limits
        self._aliases = aliases
        self._events: deque[Event] = deque()
        self._last_channel = 0
        self._channels: dict[ChannelId, _Channel] = {}  # opened by us and not closed
        self._by_name: dict[ChannelName, _Channel] = {}  # the same
        self._unanswered: dict[int, _Channel] = {}  # by our id; closed ones too
        self._unanswered_names: dict[ChannelName, deque[_Channel]] = {}  # the same, oldest first
        self._free_ids: list[int] = []  # our ids that may be used again, the last freed last
        self._highest_id = 0  # of ours
        self._remote: dict[int, ChannelId] = {}  # open channels by the other side's id
        self._waiting: dict[ChannelName, _Waiting] = {}
        self._waiting_ids: dict[int, _Waiting] = {}  # the same, by the other side's id
        self._highest_remote_id = 0
        self._undecided_bytes = 0
        self._open_credit = float(limits.open_burst)
        self._open_credit_time = now

    # for our side

    def events(self) -> Iterator[Event]:
        """Drains what has happened. A request that was taken back meanwhile is left out."""
        events = self._events
        while events:
            event = events.popleft()
            if type(event) is OpenRequested:
                waiting = self._waiting.get(event.name)
                if waiting is None or waiting.event is not event:
                    continue
            yield event

    def open(self, name: ChannelName, handshake: bytes) -> ChannelId:
        """Opens a channel, or accepts the other side's open of that name.

        Raises:
            LocalProtocolError: we have it open already.
            RemoteProtocolError: the other side does not answer our opens.
        """
        if name in self._by_name:
            raise LocalProtocolError(f"the channel {name} is open")
        if len(self._unanswered) >= self._limits.max_unanswered_opens:
            raise RemoteProtocolError("leaves too many opens without an answer")
        self._last_channel += 1
        channel = _Channel(ChannelId(self._last_channel), name, self._take_id())
        self._channels[channel.channel] = self._by_name[name] = channel
        body = encode_uint(channel.local_id) + encode_buffer(name.protocol)
        self.queue.put(CONTROL, OPEN, body + encode_buffer(name.id) + handshake)
        waiting = self._waiting.get(name)
        if waiting is None:
            self._unanswered[channel.local_id] = channel
            self._unanswered_names.setdefault(name, deque()).append(channel)
        else:
            self._forget_waiting(waiting)
            self._pair(channel, waiting.remote_id, waiting.event.handshake)
            for message_type, body in waiting.held:
                self._events.append(MessageReceived(channel.channel, message_type, body))
        return channel.channel

    def reject(self, name: ChannelName) -> None:
        """Declines the other side's open of that name; nothing if it was taken back meanwhile."""
        waiting = self._waiting.get(name)
        if waiting is not None:
            self._forget_waiting(waiting)
            self.queue.put(CONTROL, REJECT, encode_uint(waiting.remote_id))

    def send(self, channel: ChannelId, message_type: int, body: bytes) -> None:
        """Queues a message; nothing if the other side closed the channel meanwhile."""
        found = self._channels.get(channel)
        if found is None:
            self._check_was_open(channel)
            return
        if len(body) > MAX_BODY_BYTES:
            raise LocalProtocolError(f"a message of {len(body)} bytes")
        self.queue.put(found.local_id, message_type, body)

    def close(self, channel: ChannelId) -> None:
        """Closes a channel; nothing if the other side closed it meanwhile."""
        found = self._channels.pop(channel, None)
        if found is None:
            self._check_was_open(channel)
            return
        del self._by_name[found.name]
        self.queue.put(CONTROL, CLOSE, encode_uint(found.local_id))
        if found.remote_id:
            del self._remote[found.remote_id]
            self._free_ids.append(found.local_id)
        else:
            found.is_closed = True

    def _check_was_open(self, channel: ChannelId) -> None:
        if not 0 < channel <= self._last_channel:
            raise LocalProtocolError(f"there never was a channel {channel}")

    def _take_id(self) -> int:
        if self._free_ids:
            return self._free_ids.pop()
        self._highest_id += 1
        return self._highest_id

    # for the other side

    def receive(self, plain: bytearray, now: float) -> None:
        """Takes one decrypted frame, which is not empty.

        Raises:
            RemoteProtocolError: it, or something in it, breaks the protocol or a limit.
            DecodeError: it cannot be decoded.
        """
        remote_id, pos = decode_uint(plain, 0)
        message_type, pos = decode_uint(plain, pos)
        if remote_id == CONTROL and message_type == BATCH:
            self._receive_batch(bytes(plain), pos, now)
        elif remote_id == CONTROL:
            self._receive_control(message_type, bytes(plain), pos, now)
        else:
            self._receive_message(remote_id, message_type, bytes(memoryview(plain)[pos:]))

    def _receive_batch(self, data: bytes, pos: int, now: float) -> None:
        # One loop without calls for what is most of all traffic: small messages in batches.
        add_event = self._events.append
        items_left = self._limits.max_batch_items
        remote_id, pos = decode_uint(data, pos)
        channel = self._remote.get(remote_id)
        size = len(data)
        while pos < size:
            if not items_left:
                raise RemoteProtocolError("a batch of too many items")
            items_left -= 1
            item_bytes, pos = (data[pos], pos + 1) if data[pos] <= 0xFC else decode_uint(data, pos)
            if not item_bytes:
                remote_id, pos = decode_uint(data, pos)
                channel = self._remote.get(remote_id)
                continue
            end = pos + item_bytes
            if end > size:
                raise RemoteProtocolError("a batch with an item that is cut short")
            message_type = data[pos]
            if channel is not None and message_type <= 0xFC:
                add_event(MessageReceived(channel, message_type, data[pos + 1 : end]))
            else:
                self._receive_item(remote_id, data[pos:end], now)
            pos = end

    def _receive_item(self, remote_id: int, item: bytes, now: float) -> None:
        message_type, pos = decode_uint(item, 0)
        if remote_id != CONTROL:
            self._receive_message(remote_id, message_type, item[pos:])
        elif message_type == BATCH:
            raise RemoteProtocolError("a batch within a batch")
        else:
            self._receive_control(message_type, item, pos, now)

    def _receive_message(self, remote_id: int, message_type: int, body: bytes) -> None:
        channel = self._remote.get(remote_id)
        if channel is not None:
            self._events.append(MessageReceived(channel, message_type, body))
            return
        waiting = self._waiting_ids.get(remote_id)
        if waiting is None:
            return
        counted = len(body) + HELD_MESSAGE_BYTES
        if self._undecided_bytes + counted > self._limits.max_undecided_bytes:
            raise RemoteProtocolError("sends too much on channels that are not open yet")
        self._undecided_bytes += counted
        waiting.held_bytes += counted
        waiting.held.append((message_type, body))

    def _receive_control(self, message_type: int, data: bytes, pos: int, now: float) -> None:
        if message_type == OPEN:
            self._receive_open(data, pos, now)
        elif message_type == REJECT:
            self._receive_reject(decode_uint(data, pos)[0])
        elif message_type == CLOSE:
            self._receive_close(decode_uint(data, pos)[0])

    def _receive_open(self, data: bytes, pos: int, now: float) -> None:
        remote_id, pos = decode_uint(data, pos)
        protocol, pos = decode_buffer(data, pos)
        channel_id, pos = decode_buffer(data, pos)
        handshake = data[pos:]
        self._check_open(remote_id, protocol, channel_id, handshake, now)
        self._highest_remote_id = max(self._highest_remote_id, remote_id)
        name = ChannelName(self._aliases.get(protocol, protocol), channel_id)
        unanswered = self._unanswered_names.get(name)
        if unanswered:
            channel = unanswered[0]
            self._forget_unanswered(channel)
            if channel.is_closed:
                self.queue.put(CONTROL, CLOSE, encode_uint(channel.local_id))
                self._free_ids.append(channel.local_id)
            else:
                self._pair(channel, remote_id, handshake)
        elif name in self._by_name or name in self._waiting:
            self.queue.put(CONTROL, REJECT, encode_uint(remote_id))
        else:
            event = OpenRequested(name, handshake)
            self._waiting[name] = self._waiting_ids[remote_id] = _Waiting(remote_id, event)
            self._events.append(event)

    def _check_open(
        self, remote_id: int, protocol: bytes, channel_id: bytes, handshake: bytes, now: float
    ) -> None:
        limits = self._limits
        in_use = remote_id in self._remote or remote_id in self._waiting_ids
        if in_use or not 0 < remote_id <= self._highest_remote_id + 1:
            raise RemoteProtocolError(f"an open of id {remote_id}, which is not its turn")
        if (
            len(protocol) > limits.max_protocol_bytes
            or len(channel_id) > limits.max_channel_id_bytes
            or len(handshake) > limits.max_handshake_bytes
        ):
            raise RemoteProtocolError("an open with a name or handshake that is too long")
        try:
            protocol.decode()
        except UnicodeDecodeError:
            raise DecodeError("a protocol name that is not UTF-8") from None
        if len(self._remote) + len(self._waiting_ids) >= limits.max_remote_channels:
            raise RemoteProtocolError("too many channels")
        earned = (now - self._open_credit_time) * limits.opens_per_second
        self._open_credit = min(limits.open_burst, self._open_credit + earned) - 1
        self._open_credit_time = now
        if self._open_credit < 0:
            raise RemoteProtocolError("opens channels too fast")

    def _receive_reject(self, local_id: int) -> None:
        channel = self._unanswered.get(local_id)
        if channel is None:
            raise RemoteProtocolError(f"a reject of id {local_id}, which waits for no answer")
        self._forget_unanswered(channel)
        self._free_ids.append(local_id)
        if not channel.is_closed:
            del self._channels[channel.channel]
            del self._by_name[channel.name]
            self._events.append(ChannelClosed(channel.channel))

    def _receive_close(self, remote_id: int) -> None:
        waiting = self._waiting_ids.get(remote_id)
        if waiting is not None:
            self._forget_waiting(waiting)
            self.queue.put(CONTROL, REJECT, encode_uint(remote_id))
            return
        closed = self._remote.pop(remote_id, None)
        if closed is not None:
            channel = self._channels.pop(closed)
            del self._by_name[channel.name]
            self._free_ids.append(channel.local_id)
            self._events.append(ChannelClosed(closed))

    def _pair(self, channel: _Channel, remote_id: int, handshake: bytes) -> None:
        channel.remote_id = remote_id
        self._remote[remote_id] = channel.channel
        self._events.append(ChannelOpened(channel.channel, handshake))

    def _forget_unanswered(self, channel: _Channel) -> None:
        del self._unanswered[channel.local_id]
        same_name = self._unanswered_names[channel.name]
        same_name.remove(channel)
        if not same_name:
            del self._unanswered_names[channel.name]

    def _forget_waiting(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.event.name]
        del self._waiting_ids[waiting.remote_id]
        self._undecided_bytes -= waiting.held_bytes
