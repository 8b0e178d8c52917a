"""What the feeds of a node need of it, and all have in common."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from protozorfs.boundary import Boundary
from protozorfs.errors import Closing
from protozorfs.feeds.checks import Checks
from protozorfs.feeds.presence import Presence
from protozorfs.feeds.room import Room
from protozorfs.feeds.space import SpaceGuard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from protozorfs.feeds.feed import Feed
    from protozorfs.feeds.ports import Listener
    from protozorfs.options import Options
    from protozorfs.store.layout import FeedDirectory, Store

MAX_SYNCS = 40  # at once, as many as there are threads
FILES_OF_SYNC = 4  # of the pool, for each: three stay open meanwhile

logger = logging.getLogger(__name__)


class NodeSurroundings:
    """The node as its feeds see it; implements `ports.Surroundings`. For the trio thread.

    Attributes:
        listener: who is told what happens, once somebody is there.
        checks: the check of what an unclean stop has left.
        room: the room that followed feeds may take.
        is_local: nothing is fetched for readers.
        is_sparse: only what is read is fetched.
        syncs: how many feeds are made durable at once.
        forces_appends: the user knows that no newer head is elsewhere.
        is_read_only: the store is only read: nothing changes, and nobody is connected.
        is_closing: the node shuts down.
        grown: feeds that have grown since their modification times were kept.
    """

    def __init__(
        self, store: Store, options: Options, handles_changed: Callable[[Feed], None]
    ) -> None:
        """`handles_changed`: told when a feed's first handle was opened, or its last one closed."""
        self.listener: Listener | None = None
        self.checks = Checks(self)
        self.is_read_only = options.read_only
        self.room = Room(None if options.read_only else options.cache_size, self._dropping)
        self.is_local = options.local or options.read_only
        self.is_sparse = options.sparse
        self.syncs = trio.CapacityLimiter(min(MAX_SYNCS, max(1, store.pool.limit // FILES_OF_SYNC)))
        self.forces_appends = options.force_append
        self.is_closing = False
        self.grown: set[Feed] = set()
        self._store = store
        self._handles_changed = handles_changed
        self._space = SpaceGuard(store.free_space)
        self._presence = Presence(store)
        self._watchers: list[Callable[[Feed], None]] = []
        self._nursery: trio.Nursery | None = None
        self._early: list[Callable[[], Awaitable[None]]] = []  # tasks that wait for `run`

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the tasks of all feeds; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.checks.run)
            for run in self._early:
                nursery.start_soon(_run_one, run)
            self._early.clear()
            nursery.start_soon(_run_one, self._presence.run)
            task_status.started()
            await trio.sleep_forever()

    def check_open(self) -> None:
        """Raises Closing if the node shuts down."""
        if self.is_closing:
            raise Closing("the node is shutting down")

    def check_store(self) -> None:
        """Raises StoreGone if the store was deleted or replaced while it was in use."""
        self._presence.check()

    def check_store_often(self) -> None:
        """The same, for every append."""
        self._presence.check_often()

    def store_trouble(self) -> str:
        """That the store was deleted or replaced, as a sentence; empty if it was not."""
        return self._presence.trouble()

    def may_fetch(self) -> bool:
        """False while the disk is nearly full."""
        return self._space.may_fetch(trio.current_time())

    def has_room_again(self) -> bool:
        """True, once, when what was not fetched for want of room may be fetched."""
        has_space = self._space.has_resumed(trio.current_time())
        return self.room.has_resumed() or has_space

    def directory_of(self, feed: Feed) -> FeedDirectory:
        """Where the feed's files are, or will be."""
        return self._store.feed(feed.feed_id)

    def start_task(self, run: Callable[[], Awaitable[None]]) -> None:
        """Starts a task in the nursery of `run`; an unexpected end of it is that feed's affair.

        Before `run` has begun the task waits for it: a log may be opened only to be looked at.
        """
        if self._nursery is None:
            self._early.append(run)
        else:
            self._nursery.start_soon(_run_one, run)

    def handles_changed(self, feed: Feed) -> None:
        """The first handle was opened or the last one closed."""
        self._handles_changed(feed)

    def check_behind(self, feed: Feed) -> None:
        """Something of its log is in doubt, or in memory only: it is seen to behind the mount."""
        self.checks.add(feed)

    @contextmanager
    def watched(self, watcher: Callable[[Feed], None]) -> Iterator[None]:
        """In the body, `watcher` is called when a feed has a newer head, or more of it is here.

        It must not block.
        """
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def feed_grown(self, feed: Feed) -> None:
        """Tells whoever watches."""
        self.grown.add(feed)
        for watcher in self._watchers:
            watcher(feed)

    def _dropping(self, feed: Feed, start: int, end: int) -> None:
        if self.listener is not None:
            self.listener.blocks_dropped(feed, start, end)


async def _run_one(run: Callable[[], Awaitable[None]]) -> None:
    with Boundary(logger, "a background task of a feed"):
        await run()
