"""What a connection reports. Named tuples: there is one event for every message."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NewType

if TYPE_CHECKING:
    from protozorfs.types import NodeKey

ChannelId = NewType("ChannelId", int)  # names a channel of one connection; never used twice


class ChannelName(NamedTuple):
    """What both sides of a channel must agree on. A feed's `id` is its discovery key."""

    protocol: bytes
    id: bytes = b""


class HandshakeCompleted(NamedTuple):
    """The other side has proved that it holds `remote_key`. The first event there is."""

    remote_key: NodeKey
    handshake_hash: bytes


class OpenRequested(NamedTuple):
    """The other side asks for a channel: answer with `open` or `reject`."""

    name: ChannelName
    handshake: bytes


class ChannelOpened(NamedTuple):
    """Both sides have opened the channel; `handshake` is the other side's."""

    channel: ChannelId
    handshake: bytes


class MessageReceived(NamedTuple):
    """A message. Types that the receiver does not know must be ignored."""

    channel: ChannelId
    type: int
    body: bytes


class ChannelClosed(NamedTuple):
    """The other side closed the channel, or rejected our open of it."""

    channel: ChannelId


Event = HandshakeCompleted | OpenRequested | ChannelOpened | MessageReceived | ChannelClosed
