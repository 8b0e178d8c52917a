"""What a feed tells the swarm, and what it needs of the node around it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import trio

    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.room import Room
    from protozorfs.store.layout import FeedDirectory


class FeedState(enum.StrEnum):
    """What `protozorfs.state` says."""

    OWNED = "owned"
    RESOLVING = "resolving"  # no head is known yet
    CURRENT = "current"  # all that is to be here is here
    BEHIND = "behind"  # blocks are missing, and there is somebody to ask
    OFFLINE = "offline"  # blocks or the head are missing or may be old, and nobody is there
    FROZEN = "frozen"  # another history is signed, of this fork or a later: see the evidence
    DAMAGED = "damaged"  # our own blocks are not what was signed
    PAUSED = "paused"  # the disk is nearly full


class Listener(Protocol):
    """Who wants to know what happens to feeds: the swarm."""

    def feed_opened(self, feed: Feed) -> None:
        """The feed is to be found and fetched from now on."""

    def feed_closed(self, feed: Feed) -> None:
        """The feed is not to be shown or fetched any more."""

    def wants_changed(self, feed: Feed) -> None:
        """A reader waits for other bytes."""

    def head_wanted(self, feed: Feed) -> None:
        """Somebody opens a feed of which nothing is known: a search for its first head begins.

        It ends at once if there is nobody to ask.
        """

    def head_published(self, feed: Feed) -> None:
        """An owned feed has a new durable head."""

    def blocks_dropped(self, feed: Feed, start: int, end: int) -> None:
        """Blocks `[start, end)` are about to be dropped to make room, or were found damaged."""

    def blocks_found(self, feed: Feed, blocks: Sequence[int]) -> None:
        """Blocks are here of which that was not known."""

    async def check_newest(self, feed: Feed) -> bool:
        """Looks, for a bounded time, for a head of an owned feed that is newer than ours.

        Returns True if enough of those who would know answered; what they know is told to the feed
        before. Returns at once if nobody can be asked.
        """


class Surroundings(Protocol):
    """What a feed needs of the node around it."""

    @property
    def listener(self) -> Listener | None:
        """Who is told, if anybody is."""

    @property
    def room(self) -> Room:
        """The room that followed feeds may take."""

    @property
    def is_local(self) -> bool:
        """Nothing is fetched for readers."""

    @property
    def is_sparse(self) -> bool:
        """Only what is read is fetched."""

    @property
    def syncs(self) -> trio.CapacityLimiter:
        """How many feeds may be made durable at once."""

    @property
    def forces_appends(self) -> bool:
        """The user knows that no newer head is elsewhere."""

    @property
    def is_read_only(self) -> bool:
        """The store is only read: nothing changes, and nobody is connected."""

    @property
    def is_closing(self) -> bool:
        """The node shuts down."""

    def check_open(self) -> None:
        """Raises Closing if the node shuts down."""

    def check_store(self) -> None:
        """Raises StoreGone if the store was deleted or replaced while it was in use."""

    def check_store_often(self) -> None:
        """The same, for every append."""

    def directory_of(self, feed: Feed) -> FeedDirectory:
        """Where the feed's files are, or will be."""

    def start_task(self, run: Callable[[], Awaitable[None]]) -> None:
        """Starts a task that lives at most as long as the node."""

    def handles_changed(self, feed: Feed) -> None:
        """The first handle was opened or the last one closed."""

    def check_behind(self, feed: Feed) -> None:
        """Its log is in doubt since an unclean stop, or recovered in memory only: see `Checks`."""

    def feed_grown(self, feed: Feed) -> None:
        """It has a newer head, or more of it is here."""

    def may_fetch(self) -> bool:
        """False while the disk is nearly full."""
