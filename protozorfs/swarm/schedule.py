"""When which feed's head and peers are looked for, published and announced on the DHT. No I/O.

Every feed has two pieces of upkeep, each due at some time: its head (put again hourly, looked for
by who has none) and its peers (announced, and found on the way). What is due is done in the order
of `budget.Priority`: our own feeds, what a reader waits for, followed feeds without a live peer,
the rest. Within a class who fell due first goes first, from a random start: with more feeds than
the budget has room for, all are refreshed equally often, which a random draw each time would not do
(in a day of ten turns each, some feeds would get one). There is no timer per feed: one heap knows
what is due next.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.dht.budget import Priority

if TYPE_CHECKING:
    from protozorfs.dht.node_id import RandomSource
    from protozorfs.types import FeedId

HEAD_INTERVAL = 3600.0  # seconds between two puts of a head: nodes drop it after two hours
ANNOUNCE_INTERVAL = 1200.0  # between two announces: libtorrent forgets after 45 minutes
MIN_PUT_INTERVAL = 5.0  # between two puts of a head that grows all the time
NEVER = -math.inf
# For a feed that has nobody, or whose reader waits; doubles. Two that start at the same moment miss
# each other at first.
FIRST_RETRY = 3.0
MAX_RETRY = 900.0
READER_RETRY = 60.0  # the longest while a reader waits
REOPEN_RETRY = 15.0  # opens of a feed that was just looked for in vain do not make us ask again
SPREAD_PER_FEED = 0.3  # seconds: over so much are the first turns of many feeds spread
MAX_SPREAD = 900.0
JITTER = 0.1  # of an interval, both ways, so that feeds do not fall into step
SHARE_WINDOW = 3600.0  # over which the share of refreshed feeds is told

# How many operations may be under way for work of a class to be started. One takes about 40
# packets and a second or two; more at once would only make each of them slower.
MAX_RUNNING = {
    Priority.OWNED: 24,
    Priority.READER: 16,
    Priority.FOLLOWED: 8,
    Priority.SAMPLE: 4,
}


class Upkeep(enum.Enum):
    """What is to be done for a feed."""

    HEAD = enum.auto()
    PEERS = enum.auto()


class Job(NamedTuple):
    """One turn of upkeep. `adding`: which adding of the feed it belongs to, of how many ever."""

    feed_id: FeedId
    upkeep: Upkeep
    priority: Priority
    adding: int


class Turns(NamedTuple):
    """The turns of one feed; times in seconds, monotonic."""

    is_running: bool
    last_done: float | None
    next_due: float | None


@dataclass(slots=True, eq=False)
class _Entry:
    feed_id: FeedId
    is_owned: bool
    adding: int
    is_connected: bool = False
    is_urgent: bool = False
    due: dict[Upkeep, float] = field(default_factory=dict)
    version: dict[Upkeep, int] = field(default_factory=dict)  # of what stands in the heap
    waiting: set[Upkeep] = field(default_factory=set)  # in a queue of what is due
    running: set[Upkeep] = field(default_factory=set)
    retry: dict[Upkeep, float] = field(default_factory=dict)
    last_put: float = NEVER
    has_new_head: bool = False
    refreshed: float | None = None
    tried: float = NEVER  # when the last turn ended, whatever came of it

    @property
    def priority(self) -> Priority:
        if self.is_owned:
            return Priority.OWNED
        if self.is_urgent:
            return Priority.READER
        return Priority.SAMPLE if self.is_connected else Priority.FOLLOWED


class Schedule:
    """The upkeep of all feeds. `now` is in seconds, monotonic, and never goes back."""

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self._entries: dict[FeedId, _Entry] = {}
        self._heap: list[tuple[float, int, _Entry, Upkeep]] = []
        self._versions = itertools.count()
        self._addings = itertools.count()
        self._queues: dict[Priority, deque[tuple[_Entry, Upkeep]]] = {
            priority: deque() for priority in MAX_RUNNING
        }
        self._running = 0

    def __len__(self) -> int:
        return len(self._entries)

    # what happens to feeds

    def add(self, feed_id: FeedId, *, is_owned: bool, now: float) -> None:
        """A feed is here: its turns begin, at once if there are few feeds."""
        entry = self._entries[feed_id] = _Entry(feed_id, is_owned, next(self._addings))
        spread = min(MAX_SPREAD, SPREAD_PER_FEED * (len(self._entries) - 1))
        for upkeep in Upkeep:
            self._set_due(entry, upkeep, now + spread * self._chance())

    def remove(self, feed_id: FeedId) -> None:
        """A feed is not here any more."""
        entry = self._entries.pop(feed_id, None)
        if entry is not None:
            entry.version.clear()
            entry.waiting.clear()

    def head_grew(self, feed_id: FeedId, now: float) -> None:
        """An owned feed has a new head: published at once, then at most every few seconds."""
        entry = self._entries.get(feed_id)
        if entry is not None:
            entry.has_new_head = True
            if Upkeep.HEAD not in entry.running:
                self._hasten(entry, Upkeep.HEAD, max(now, entry.last_put + MIN_PUT_INTERVAL))

    def reader_waits(self, feed_id: FeedId, now: float) -> None:
        """Somebody waits for what is not here, and no connected peer has it."""
        entry = self._entries.get(feed_id)
        if entry is None or entry.is_urgent:
            return
        entry.is_urgent = True
        for upkeep in Upkeep:
            entry.retry.pop(upkeep, None)
            if upkeep not in entry.running:
                self._hasten(entry, upkeep, now)

    def head_wanted(self, feed_id: FeedId, now: float) -> None:
        """Somebody opens a feed of which nothing is known."""
        entry = self._entries.get(feed_id)
        if entry is not None and now >= entry.tried + REOPEN_RETRY:
            self.reader_waits(feed_id, now)

    def reader_gone(self, feed_id: FeedId) -> None:
        """Nobody waits any more."""
        entry = self._entries.get(feed_id)
        if entry is not None:
            entry.is_urgent = False

    def connected(self, feed_id: FeedId, is_connected: bool, now: float) -> None:
        """The feed got its first live peer, or lost its last."""
        entry = self._entries.get(feed_id)
        if entry is None or entry.is_connected == is_connected:
            return
        entry.is_connected = is_connected
        if not is_connected and not entry.is_owned and Upkeep.PEERS not in entry.running:
            self._hasten(entry, Upkeep.PEERS, now + FIRST_RETRY * self._chance())

    # what is to be done

    def next_jobs(self, now: float) -> list[Job]:
        """What to start now; `done` must be called for each."""
        self._queue_due(now)
        jobs: list[Job] = []
        for priority, limit in MAX_RUNNING.items():
            queue = self._queues[priority]
            while queue and self._running < limit:
                entry, upkeep = queue.popleft()
                if upkeep not in entry.waiting or entry.feed_id not in self._entries:
                    continue  # started from a queue of more importance, or gone
                entry.waiting.discard(upkeep)
                entry.running.add(upkeep)
                if upkeep is Upkeep.HEAD:
                    entry.has_new_head = False
                    entry.last_put = now
                self._running += 1
                jobs.append(Job(entry.feed_id, upkeep, entry.priority, entry.adding))
        return jobs

    def nothing_put(self, feed_id: FeedId) -> None:
        """The turn that runs finds no head yet: the first one is to be put at once."""
        entry = self._entries.get(feed_id)
        if entry is not None:
            entry.last_put = NEVER

    def done(self, job: Job, now: float, *, found: bool, answered: bool = True) -> None:
        """A job has ended.

        Args:
            found: a head was found, or put everywhere; we were announced.
            answered: some node answered; else the turn refreshed nothing.
        """
        self._running -= 1
        entry = self._entries.get(job.feed_id)
        if entry is None or entry.adding != job.adding:
            return  # let go meanwhile; if it came back, it has turns of its own
        entry.running.discard(job.upkeep)
        entry.tried = now
        if answered:
            entry.refreshed = now
        self._set_due(entry, job.upkeep, now + self._interval(entry, job.upkeep, found, now))

    def next_deadline(self) -> float | None:
        """When `next_jobs` has something to start; None while only the end of a job can tell."""
        while self._heap and self._is_stale(*self._heap[0][1:]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def is_searching(self, feed_id: FeedId) -> bool:
        """The first search for a head and peers of that feed is not over, or a later one runs."""
        entry = self._entries.get(feed_id)
        if entry is None or entry.is_owned:
            return False
        return len(entry.retry) < len(Upkeep) or bool(entry.running)

    def turns_of(self, feed_id: FeedId) -> Turns | None:
        """What has been done for a feed and what is next; None for one that is not here."""
        entry = self._entries.get(feed_id)
        if entry is None:
            return None
        next_due = min(entry.due.values(), default=None)
        return Turns(bool(entry.running), entry.refreshed, next_due)

    def refreshed_share(self, now: float) -> float:
        """The share of feeds that had a turn in the last hour; 1 without feeds."""
        if not self._entries:
            return 1.0
        fresh = sum(
            entry.refreshed is not None and now - entry.refreshed <= SHARE_WINDOW
            for entry in self._entries.values()
        )
        return fresh / len(self._entries)

    def _interval(self, entry: _Entry, upkeep: Upkeep, found: bool, now: float) -> float:
        if upkeep is Upkeep.HEAD and entry.has_new_head:
            return max(0.0, entry.last_put + MIN_PUT_INTERVAL - now)
        regular = HEAD_INTERVAL if upkeep is Upkeep.HEAD else ANNOUNCE_INTERVAL
        jitter = 1 + JITTER * (2 * self._chance() - 1)
        if self._is_settled(entry, upkeep, found):
            entry.retry[upkeep] = FIRST_RETRY
            return regular * jitter
        retry = entry.retry.get(upkeep, FIRST_RETRY)
        most = MAX_RETRY
        if entry.is_urgent:
            most = READER_RETRY
        elif entry.is_connected:  # its peers bring what is new; what they do not have can wait
            most = regular
        entry.retry[upkeep] = min(most, 2 * retry)
        return min(retry, most) * jitter

    @staticmethod
    def _is_settled(entry: _Entry, upkeep: Upkeep, found: bool) -> bool:
        """True if the next turn has the regular time.

        Peers bring heads but no records, which only the owner can sign: who follows looks for one
        while the owner is there, or the feed could not be found when it is gone. And an owner that
        nobody can dial meets a new follower only by looking for it.
        """
        if entry.is_urgent and not entry.is_owned:
            return False
        return found and (upkeep is Upkeep.HEAD or entry.is_connected)

    def _queue_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            _, version, entry, upkeep = heapq.heappop(self._heap)
            if not self._is_stale(version, entry, upkeep) and upkeep not in entry.waiting:
                entry.waiting.add(upkeep)
                self._queues[entry.priority].append((entry, upkeep))

    def _hasten(self, entry: _Entry, upkeep: Upkeep, due: float) -> None:
        """Makes a turn come at `due` at the latest, with the priority of now."""
        if upkeep in entry.waiting:
            self._queues[entry.priority].append((entry, upkeep))
        elif due < entry.due[upkeep]:
            self._set_due(entry, upkeep, due)

    def _set_due(self, entry: _Entry, upkeep: Upkeep, due: float) -> None:
        version = next(self._versions)
        entry.version[upkeep] = version
        entry.due[upkeep] = due
        heapq.heappush(self._heap, (due, version, entry, upkeep))

    @staticmethod
    def _is_stale(version: int, entry: _Entry, upkeep: Upkeep) -> bool:
        return entry.version.get(upkeep) != version

    def _chance(self) -> float:
        return self._random.random()
