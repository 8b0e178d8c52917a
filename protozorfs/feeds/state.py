"""The state of a feed in one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.feeds.ports import FeedState

if TYPE_CHECKING:
    from protozorfs.feeds.feed import Feed


def state_of(feed: Feed) -> FeedState:
    """What `protozorfs.state` says of a feed."""
    if not feed.is_kept:
        return FeedState.RESOLVING
    extent = feed.extent  # where evidence is kept this opens the log, which reads it
    if feed.frozen_why:
        return FeedState.FROZEN
    if extent.damaged:
        return FeedState.DAMAGED
    if feed.is_owned and extent.contiguous_length == extent.length:
        return FeedState.OWNED
    if feed.is_unknown and (feed.peers or not feed.head_search.is_over):
        return FeedState.RESOLVING
    if not feed.peers:
        return FeedState.OFFLINE
    is_complete = extent.length >= max(feed.remote_length, feed.known_head.length) and (
        not feed.is_whole or extent.contiguous_length == extent.length
    )
    if is_complete:
        return FeedState.CURRENT
    return FeedState.BEHIND if feed.may_fetch() else FeedState.PAUSED
