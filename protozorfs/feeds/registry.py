"""Every feed of a node, by name and by ID."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from protozorfs import crypto
from protozorfs.boundary import Boundary
from protozorfs.errors import NoSuchFeed, NotRemovable, NotWritable, StoreError
from protozorfs.feeds.changes import Changes
from protozorfs.feeds.feed import Feed
from protozorfs.feeds.numbers import Numbers, identity_of_feed
from protozorfs.feeds.recovery import name_unnamed, open_others, open_unclean
from protozorfs.feeds.rests import Rests
from protozorfs.feeds.scrub import Scrub
from protozorfs.feeds.surroundings import NodeSurroundings
from protozorfs.feeds.visits import Visits
from protozorfs.feeds.why import make_report
from protozorfs.log.feed import Log
from protozorfs.names import check_new_name, short_name, shown_name
from protozorfs.store.name_records import NameRow
from protozorfs.store.numbers import KeptNumbers
from protozorfs.types import FeedId

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from protozorfs.feeds.facts import CheckFacts, FeedReport, Informant, NodeFacts, ScrubFacts
    from protozorfs.feeds.ports import Listener
    from protozorfs.options import Options
    from protozorfs.store.layout import FeedDirectory, Store

CLOSE_SECONDS = 0.5  # for syncs at the end; all has to be over after 2 s, the mount takes its share
UPKEEP_INTERVAL = 60.0  # seconds between looks at visits, modification times and open files

logger = logging.getLogger(__name__)


class Feeds:
    """The registry: what `fs` shows, what `swarm` finds and serves.

    All methods are for the trio thread, and none waits for the network. `run` must be running
    before feeds are appended to. What changes names waits for the disk, and for other changes of
    names; everything else goes on meanwhile, and sees what was before.

    Attributes:
        surroundings: the node as feeds see it, and who watches them grow.
        numbers: inode numbers of the feeds that are here, and of what else a mount shows.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._names: dict[bytes, Feed] = {}
        self._name_of: dict[Feed, bytes] = {}
        self._by_id: dict[FeedId, Feed] = {}
        self._visits = Visits()
        self._rests = Rests()
        self._changes = Changes()
        self._leaving: dict[FeedId, bool] = {}  # files are to go; whether with a key
        self.numbers = Numbers(KeptNumbers(store.files, store.node_key.seed))
        self._scrub: Scrub | None = None
        self._scrub_rate = options.scrub
        self._informant: Informant | None = None
        self.surroundings = NodeSurroundings(store, options, self._handles_changed)
        name_unnamed(store)
        for row in store.names.all():
            feed = Feed(
                row.feed_id,
                self.surroundings,
                is_owned=row.is_owned,
                is_followed=True,
                created_ns=row.created_ns,
                mtime_ns=row.mtime_ns,
            )
            self._add(feed, self._shown_name(row))
        if options.cache_size is not None and not options.read_only:
            self._count_kept()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the tasks of all feeds, and forgets visited ones; runs until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.surroundings.run)
            task_status.started()
            try:
                await self._keep_up()
            finally:
                await self._changes.end()

    async def _keep_up(self) -> None:
        while True:
            await trio.sleep(UPKEEP_INTERVAL)
            for feed in self._visits.over(trio.current_time()):
                with Boundary(logger, f"the end of a visit to {feed.feed_id.hex()}"):
                    self._discard(feed)
            with Boundary(logger, "the marking of feeds at rest"):
                await self._rests.mark(self._by_id.values())
            with Boundary(logger, "the upkeep of the store"):
                async with self._changes.one():
                    mtimes = self._mtimes()
                    if await self._changes.run(self._keep_mtimes, mtimes):
                        grown = self.surroundings.grown  # some of them since
                        grown -= {feed for feed in mtimes if feed.mtime_ns == mtimes[feed]}
                self._store.pool.close_unused()
                self._store.known_peers.save()

    async def recover(self) -> None:
        """Opens the feeds that a killed run had open, in the order and time of `open_unclean`.

        The scrub, if there is to be one, begins behind that: it uses the same files.
        """
        found = [feed for feed in self._name_of if feed.needs_recovery()]
        others = await open_unclean(self._store, found)
        if others:
            self.surroundings.start_task(partial(open_others, self._store, others))
        self.surroundings.room.shrink()  # the limit may be lower than it was
        if self._scrub_rate is not None:
            around = self.surroundings
            self._scrub = Scrub(around, around.checks, self._scrub_rate)
            around.start_task(partial(self._scrub.run, partial(list, self._by_id.values())))

    def subscribe(self, listener: Listener, informant: Informant | None = None) -> None:
        """Tells the listener of every feed there is, and from now on of what happens to them.

        The informant is asked for what the status shows.
        """
        self.surroundings.listener = listener
        self._informant = informant
        for feed in self._name_of:
            listener.feed_opened(feed)

    def close(self) -> None:
        """Ends all waits and closes every log; appends are refused from now on.

        No change of names may be under way: `run` waits for it when it is cancelled.

        Feeds that there is no time for are left without the mark of a clean stop: what is in them
        is as safe as after a kill, and is checked by the next run.
        """
        self.surroundings.is_closing = True
        self._keep_mtimes(self._mtimes())
        deadline = time.monotonic() + CLOSE_SECONDS
        for feed in sorted(self._by_id.values(), key=lambda feed: not feed.is_owned):
            try:
                feed.close(has_time=time.monotonic() < deadline)
            except (StoreError, OSError) as error:
                logger.error("feed %s was not left cleanly: %s", feed.feed_id.hex(), error)
            if not feed.is_followed:
                self._leaving[feed.feed_id] = feed.is_owned
        for feed_id, is_owned in self._leaving.items():
            try:
                self._remove_files(feed_id, is_owned=is_owned)
            except (StoreError, OSError) as error:  # the next start does it
                logger.error("files of feed %s are still here: %s", feed_id.hex(), error)

    # finding

    def names(self) -> list[tuple[bytes, Feed]]:
        """All named feeds, sorted by name."""
        return sorted(self._names.items(), key=lambda item: item[0])

    def __iter__(self) -> Iterator[Feed]:
        return iter(list(self._by_id.values()))

    def by_name(self, name: bytes) -> Feed | None:
        """The feed of that local name."""
        return self._names.get(name)

    def by_id(self, feed_id: FeedId) -> Feed | None:
        """The feed of that ID, if it is named or visited."""
        return self._by_id.get(feed_id)

    def by_number(self, number: int) -> Feed | None:
        """The feed whose file has that inode number, if it is named or visited."""
        feed_id = self.numbers.feed_of(number)
        return None if feed_id is None else self._by_id.get(feed_id)

    def name_of(self, feed: Feed) -> bytes | None:
        """The local name of a feed; None if it is only visited."""
        return self._name_of.get(feed)

    def name_by_id(self, feed_id: FeedId) -> bytes | None:
        """The local name of a feed; None if it has none."""
        feed = self._by_id.get(feed_id)
        return None if feed is None else self._name_of.get(feed)

    # what happens

    def report(self, feed_id: FeedId) -> FeedReport:
        """What the status shows, now, of a feed that is named or visited."""
        return make_report(self._by_id[feed_id], self._informant, trio.current_time())

    def node_facts(self) -> NodeFacts | None:
        """What the status shows of this node; None before it is connected to anything."""
        return None if self._informant is None else self._informant.node_facts()

    def check_facts(self) -> CheckFacts | None:
        """How far the check of what an unclean stop has left is; None if there is none."""
        return self.surroundings.checks.facts

    def scrub_facts(self) -> ScrubFacts | None:
        """How far the scrub is, and what the last one found; None without that option."""
        return None if self._scrub is None else self._scrub.facts

    # changing

    async def create(self, name: bytes | None) -> Feed:
        """A new owned feed; its key is made and kept here. Without a name: `names.short_name`.

        Raises:
            InvalidName: no feed may have that name.
            NameTaken, StoreFull: the name is in use; no space.
            NotWritable: the store is only read. So for all that change it.
            StoreGone: the store was deleted or replaced. So for all that change it.
            Closing: the node shuts down. So for all that change it.
        """
        async with self._changes.one():
            return await self._create(name)

    async def _create(self, wanted: bytes | None) -> Feed:
        self._check_writable()
        pair = crypto.key_pair(crypto.random_bytes(crypto.SEED_BYTES))
        feed_id = FeedId(pair.public_key)
        name = short_name(feed_id) if wanted is None else wanted
        check_new_name(name)
        self._store.names.check_free(name)  # before the key is kept
        created_ns = time.time_ns()
        directory = self._store.feed(feed_id).apart()
        row = NameRow(name, feed_id, True, created_ns, created_ns)
        try:
            log = await self._changes.run(self._make_files, directory, pair.seed, row)
        finally:
            self._store.pool.join(directory.pool)
        feed = Feed(
            feed_id,
            self.surroundings,
            is_owned=True,
            is_followed=True,
            created_ns=created_ns,
            mtime_ns=created_ns,
            made_at=time.monotonic(),
        )
        feed.adopt_log(log)
        self._add(feed, name)
        self._opened(feed)
        return feed

    def _make_files(self, directory: FeedDirectory, seed: bytes, row: NameRow) -> Log:
        try:
            log = Log.create(directory, seed)
            self._store.names.add(row)
        except BaseException:
            with suppress(StoreError, OSError):  # nobody knows the feed yet
                self._store.remove_feed(row.feed_id, with_secret=True)
            raise
        return log

    async def follow(self, feed_id: FeedId, name: bytes) -> Feed:
        """Follows a feed under a name; a visited one is kept from now on.

        Raises:
            NameTaken: the name is in use, or the feed has another name already.
            InvalidName, StoreFull, NotWritable: as for `create`.
        """
        async with self._changes.one():
            return await self._follow(feed_id, name)

    async def _follow(self, feed_id: FeedId, name: bytes) -> Feed:
        self._check_writable()
        check_new_name(name)
        await self._remove_leaving(feed_id)
        created_ns = time.time_ns()
        row = NameRow(name, feed_id, False, created_ns, created_ns)
        await self._changes.run(self._store.names.add, row)
        feed = self._by_id.get(feed_id)
        if feed is None:
            feed = self._visitor(feed_id, created_ns)
        feed.is_followed = True
        self._visits.end(feed)
        self._store.end_visit(feed_id)
        self._add(feed, name)
        self._opened(feed)
        try:
            await self._changes.run(self._store.feed(feed_id).unmark_visited)
        except (StoreError, OSError) as error:  # the next start does it
            logger.warning("feed %s is still marked as visited: %s", feed_id.hex(), error)
        return feed

    async def visit(self, feed_id: FeedId) -> Feed:
        """The feed of that ID, known for a while if it has no name.

        Raises:
            TooManyVisits: so many feeds are being read by their IDs already.
        """
        if feed_id in self._leaving:
            async with self._changes.one():
                await self._remove_leaving(feed_id)
        feed = self._by_id.get(feed_id)
        if feed is None:
            forgotten = self._visits.to_make_room()
            if forgotten is not None:
                self._discard(forgotten)
            feed = self._visitor(feed_id, time.time_ns())
            self._store.begin_visit(feed_id)
            self._know(feed)
            self._visits.touch(feed, trio.current_time())
        return feed

    async def rename(self, old: bytes, new: bytes) -> None:
        """Gives a feed another local name.

        Raises:
            NoSuchFeed, InvalidName, NameTaken, StoreFull, NotWritable
        """
        async with self._changes.one():
            self._check_writable()
            feed = self._named(old)
            check_new_name(new)
            await self._changes.run(self._store.names.rename, self._kept_name(feed), new)
            self._names[new] = self._names.pop(old)
            self._name_of[feed] = new

    async def remove(self, name: bytes) -> None:
        """Unfollows a feed and drops its blocks; an owned feed may go while nobody can know it.

        Raises:
            NoSuchFeed
            NotRemovable: an owned feed that has blocks, unless it was made a moment ago and no head
                of it has left this machine.
            NotWritable: the store is only read.
        """
        async with self._changes.one():
            self._check_writable()
            feed = self._named(name)
            if feed.is_owned and feed.length > 0 and not feed.unshared.lasts(time.monotonic()):
                raise NotRemovable("its key would be lost: protozorfs rm --delete-key")
            await self._remove(feed, name)

    async def delete_key(self, name: bytes, feed_id: FeedId) -> None:
        """Removes an owned feed with its key and blocks, for ever. The ID must be the feed's.

        Raises:
            NoSuchFeed: no feed of that name, or it has another ID.
            NotWritable: the store is only read.
        """
        async with self._changes.one():
            self._check_writable()
            feed = self._names.get(name)
            if feed is None or feed.feed_id != feed_id:
                raise NoSuchFeed("no feed of that name and ID")
            await self._remove(feed, name)

    def statvfs(self) -> os.statvfs_result:
        """The file system below the store."""
        return self._store.statvfs()

    def _handles_changed(self, feed: Feed) -> None:
        """A visit starts with the first handle, and ends a while after the last."""
        if feed.is_followed:
            return
        if feed not in self._visits:  # it was removed while somebody had it open
            if not feed.handles:
                self._discard(feed)
        elif feed.handles:
            self._opened(feed)
        else:
            self._visits.touch(feed, trio.current_time())

    def _check_writable(self) -> None:
        if self.surroundings.is_read_only:
            raise NotWritable("the store is open read-only")
        self.surroundings.check_store()

    def _add(self, feed: Feed, name: bytes) -> None:
        self._names[name] = feed
        self._name_of[feed] = name
        self._know(feed)

    def _know(self, feed: Feed) -> None:
        if feed.feed_id not in self._by_id:
            self._by_id[feed.feed_id] = feed
            self.numbers.take(identity_of_feed(feed.feed_id))

    def _named(self, name: bytes) -> Feed:
        feed = self._names.get(name)
        if feed is None:
            raise NoSuchFeed("no feed of that name")
        return feed

    def _kept_name(self, feed: Feed) -> bytes:
        """The name in the store, which need not be the one that the feed is shown by."""
        row = self._store.names.by_feed_id(feed.feed_id)
        assert row is not None  # every feed in `_names` has one
        return row.name

    @staticmethod
    def _shown_name(row: NameRow) -> bytes:
        name = shown_name(row.name, row.feed_id)
        if name != row.name:
            logger.warning(
                "no feed may be called %s: this one is shown as %s"
                " until it is given another name (mv in a mount)",
                row.name.decode(errors="backslashreplace"),
                name.decode(),
            )
        return name

    def _opened(self, feed: Feed) -> None:
        listener = self.surroundings.listener
        if listener is not None:
            listener.feed_opened(feed)

    async def _remove(self, feed: Feed, name: bytes) -> None:
        await self._changes.run(self._store.remove_name, self._kept_name(feed))
        del self._names[name]
        del self._name_of[feed]
        self.surroundings.grown.discard(feed)
        feed.is_followed = False
        if not feed.handles:
            self._forget(feed)
            await self._remove_leaving(feed.feed_id)

    def _discard(self, feed: Feed) -> None:
        """Forgets a feed without a name at once; its files go behind that."""
        self._forget(feed)
        self.surroundings.start_task(partial(self._remove_behind, feed.feed_id))

    def _forget(self, feed: Feed) -> None:
        listener = self.surroundings.listener
        if listener is not None:
            listener.feed_closed(feed)
        self._visits.end(feed)
        del self._by_id[feed.feed_id]
        self.numbers.give_back(identity_of_feed(feed.feed_id))
        feed.discard()
        self.surroundings.room.closed(feed)
        self._leaving[feed.feed_id] = feed.is_owned

    async def _remove_behind(self, feed_id: FeedId) -> None:
        async with self._changes.one():
            try:
                await self._remove_leaving(feed_id)
            except (StoreError, OSError) as error:  # the next start does it
                logger.error("files of feed %s are still here: %s", feed_id.hex(), error)

    async def _remove_leaving(self, feed_id: FeedId) -> None:
        """Part of a change. Before a feed may come back nothing may be left of what it was."""
        if feed_id not in self._leaving:
            return
        try:
            is_owned = self._leaving[feed_id]
            await self._changes.run(self._remove_files, feed_id, is_owned=is_owned)
        finally:
            del self._leaving[feed_id]

    def _count_kept(self) -> None:
        for feed in self._name_of:
            directory = self._store.feed(feed.feed_id)
            if not feed.is_owned and directory.exists():
                data = directory.file("data")
                self.surroundings.room.count(feed, data.allocated_bytes())
                data.close()

    def _remove_files(self, feed_id: FeedId, *, is_owned: bool) -> None:
        if self._store.may_remove(feed_id):
            self._store.remove_feed(feed_id, with_secret=is_owned)

    def _mtimes(self) -> dict[Feed, int]:
        return {feed: feed.mtime_ns for feed in self.surroundings.grown}

    def _keep_mtimes(self, mtimes: dict[Feed, int]) -> bool:
        try:
            self._store.names.set_mtimes((feed.feed_id, mtime) for feed, mtime in mtimes.items())
        except (StoreError, OSError) as error:  # as on a full disk; they are kept the next time
            logger.warning("modification times could not be kept: %s", error)
            return False
        return True

    def _visitor(self, feed_id: FeedId, now_ns: int) -> Feed:
        return Feed(
            feed_id,
            self.surroundings,
            is_owned=False,
            is_followed=False,
            created_ns=now_ns,
            mtime_ns=now_ns,
        )
