"""Local discovery as an engine: which infohashes to announce when, and who was heard of.

    what                     when it is announced
    -----------------------  ----------------------------------------------------------------
    new here, or new links   at once, and again 2 and 6 seconds after the first time
    heard from another node  soon, if not within the last minute, so that both know each other;
                             the first repeat is made then
    the same, not connected  soon, within the minute, too, as far as EARLY_RATE allows: a node that
                             nobody can dial does not wait for the minute to pass
    a reader waits for it    next, if it is new; once more, if not within the last minute
    everything               every 5 minutes at the latest, as one rotation: the oldest first

One datagram leaves at a time, MIN_SPACING apart, and carries whatever is due, in the order of the
table. All infohashes are one queue in the order of their last announcement, so an infohash at rest
costs neither a timer nor a look. An announcement that was made for another reason puts the rotation
off by its share, so that nodes with the same feeds do not add up.

Pure: time (seconds, monotonic) and chance are arguments. Source: BEP 14; libtorrent src/lsd.cpp.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from protozorfs.dht.rate_limits import KeyedBuckets
from protozorfs.errors import DecodeError
from protozorfs.swarm.lan_messages import (
    MAX_SENT_INFOHASHES,
    decode_announcement,
    encode_announcement,
    is_cookie,
)
from protozorfs.types import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_AGE = 290.0  # seconds from one announcement to the next: within the 5 minutes of BEP 14
ROTATION = 240.0  # seconds that a whole rotation takes; the rest of MAX_AGE is slack
MIN_AGE = 60.0  # seconds; an infohash that is not new is not announced more often. BEP 14
REPEAT_DELAYS = (2.0, 4.0)  # seconds after the announcement before: datagrams get lost
MIN_SPACING = 0.1  # seconds between datagrams; 10 000 new infohashes take 42 seconds
# An answer waits up to so long, so that not all nodes of a link answer in the same instant.
ANSWER_DELAY = 0.25  # seconds

# An answer within MIN_AGE: BEP 14 is afraid of storms, so neither one source, nor all of them
# together, whatever they invent, get more than a few.
EARLY_AGE = 1.0  # seconds: one answer is for all who ask at about the same time
EARLY_RATE = 0.1  # answers per second to one source
EARLY_BURST = 8.0
ALL_EARLY_RATE = 0.5
ALL_EARLY_BURST = 32.0
# After the last announcement of a series, for answers and whoever is busy. Who answers dials, too.
LISTEN_SECONDS = 2.0

# A node sends 10 datagrams a second at most; several nodes on one host share its address.
SOURCE_RATE = 50.0  # datagrams per second
SOURCE_BURST = 100.0
TOTAL_RATE = 200.0  # from all sources: decoding that many takes less than 1 % of a core
TOTAL_BURST = 400.0
_ALL_SOURCES = b""


class Found(NamedTuple):
    """A peer that says it has a feed that we have too. Nothing is proven by it."""

    infohash: bytes
    address: Address


class Announcement(NamedTuple):
    """One datagram to send to every group.

    Attributes:
        infohashes: 1 to MAX_SENT_INFOHASHES, 20 bytes each.
        cookie: by which we know our own.
    """

    infohashes: tuple[bytes, ...]
    cookie: bytes

    def encode(self, host: bytes, port: int) -> bytes:
        """The bytes for one group; see `lan_messages.encode_announcement`."""
        return encode_announcement(host, port, self.infohashes, self.cookie)


@dataclass(slots=True, eq=False)
class _Entry:
    """One infohash.

    Attributes:
        count: announcements since it was new.
        is_awaited: somebody may still answer them for the first time.
    """

    announced_at: float
    count: int = 0
    is_awaited: bool = True


class _Repeat(NamedTuple):
    due: float
    infohash: bytes
    entry: _Entry  # the infohash may have been removed, and added again, meanwhile


class _Listening(NamedTuple):
    until: float
    infohash: bytes
    entry: _Entry


@dataclass(slots=True)
class Counters:
    """Datagrams that were received, by what became of them."""

    accepted: int = 0
    own: int = 0
    malformed: int = 0
    limited: int = 0


class LocalDiscovery:
    """Announces infohashes to the local links, and hears what others announce."""

    def __init__(self, cookie: bytes, chance: Callable[[], float]) -> None:
        """Args:
        cookie: printable, unlike that of any other node; at most MAX_COOKIE_BYTES.
        chance: a number in [0, 1).

        Raises:
            ValueError: the cookie would not come back as it was sent: the header of a datagram ends
                with a line, and spaces around it are not a part of it.
        """
        if not is_cookie(cookie):
            raise ValueError(f"not a printable cookie: {cookie!r}")
        self.counters = Counters()
        self._cookie = cookie
        self._chance = chance
        # Oldest announcement first. Those that were never announced count from their adding.
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._new: dict[bytes, None] = {}
        self._answers: dict[bytes, None] = {}
        self._answer_at = 0.0
        self._repeats: tuple[deque[_Repeat], ...] = tuple(deque() for _ in REPEAT_DELAYS)
        self._listening: deque[_Listening] = deque()  # by time
        self._rotate_at = 0.0
        self._send_at = 0.0
        self._source_limits = KeyedBuckets(SOURCE_RATE, SOURCE_BURST)
        self._total_limit = KeyedBuckets(TOTAL_RATE, TOTAL_BURST)
        self._early_limits = KeyedBuckets(EARLY_RATE, EARLY_BURST)
        self._all_early_limit = KeyedBuckets(ALL_EARLY_RATE, ALL_EARLY_BURST)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, infohash: bytes) -> bool:
        return infohash in self._entries

    def add(self, infohash: bytes, now: float) -> None:
        """Announces 20 bytes from now on; no effect if they are announced already."""
        if infohash not in self._entries:
            self._entries[infohash] = _Entry(now)
            self._new[infohash] = None

    def remove(self, infohash: bytes) -> None:
        """Announces them no more; no effect if they are not announced."""
        if self._entries.pop(infohash, None) is not None:
            self._new.pop(infohash, None)
            self._answers.pop(infohash, None)

    def ask(self, infohash: bytes, now: float) -> None:
        """A reader waits for somebody who has it: announces it as soon as it may be."""
        entry = self._entries.get(infohash)
        if entry is None:
            return
        if infohash in self._new:
            self._new[infohash] = self._new.pop(infohash)  # the last one is announced first
        elif now >= entry.announced_at + MIN_AGE:
            entry.is_awaited = True
            self._new[infohash] = None

    def may_answer(self, infohash: bytes) -> bool:
        """Somebody may still answer what was announced, or is about to be."""
        entry = self._entries.get(infohash)
        return entry is not None and entry.is_awaited

    def take_unanswered(self, now: float) -> list[bytes]:
        """Those infohashes for which `may_answer` has become False since the last call."""
        ended = []
        while self._listening and self._listening[0].until <= now:
            _, infohash, entry = self._listening.popleft()
            if self._entries.get(infohash) is entry:
                entry.is_awaited = False
                ended.append(infohash)
        return ended

    def announced_at(self, infohash: bytes) -> float | None:
        """When it was announced last; None before the first time."""
        entry = self._entries.get(infohash)
        return None if entry is None or not entry.count else entry.announced_at

    def links_changed(self, now: float) -> None:
        """Everything is new again: there is a link on which nothing was announced yet."""
        infohashes = list(self._entries)
        self._entries.clear()
        for infohash in infohashes:
            self.add(infohash, now)

    def receive_datagram(self, data: bytes, source_host: str, now: float) -> list[Found]:
        """Who was heard of. What is malformed, our own or too much is counted, and is nothing.

        Args:
            data: arbitrary bytes.
            source_host: a numeric address on one of our links, the caller has seen to that.
            now: seconds, monotonic.
        """
        if not self._may_cost(source_host, now):
            self.counters.limited += 1
            return []
        try:
            heard = decode_announcement(data)
        except DecodeError:
            self.counters.malformed += 1
            return []
        if heard.cookie == self._cookie:
            self.counters.own += 1
            return []
        self.counters.accepted += 1
        ours = [infohash for infohash in dict.fromkeys(heard.infohashes) if infohash in self]
        for infohash in ours:
            self._answer(infohash, now)
        address = Address(source_host, heard.port)
        return [Found(infohash, address) for infohash in ours]

    def answer_early(self, found: Found, now: float) -> None:
        """Answers a peer that is not connected yet, although the minute may not be over."""
        entry = self._entries.get(found.infohash)
        if (
            entry is not None
            and entry.count > len(REPEAT_DELAYS)  # else it is announced soon in any case
            and now >= entry.announced_at + EARLY_AGE
            and found.infohash not in self._answers
            and self._early_limits.allow(found.address.host.encode(), 1.0, now)
            and self._all_early_limit.allow(_ALL_SOURCES, 1.0, now)
        ):
            self._queue_answer(found.infohash, now)

    def messages_to_send(self, now: float) -> list[Announcement]:
        """What to send to every group now: one datagram, or none."""
        if now < self._send_at or not self._entries:
            return []
        due = chain(
            self._take_new(),
            self._take_answers(now),
            self._take_repeats(now),
            self._take_oldest(now),
        )
        infohashes = []
        for infohash in islice(due, MAX_SENT_INFOHASHES):
            self._announced(infohash, now)  # before the next one is chosen
            infohashes.append(infohash)
        if not infohashes:
            return []
        self._send_at = now + MIN_SPACING
        share = len(infohashes) / len(self._entries)
        self._rotate_at = max(self._rotate_at, now + ROTATION * share)
        return [Announcement(tuple(infohashes), self._cookie)]

    def next_deadline(self) -> float | None:
        """When there may be something to send; None while there are no infohashes."""
        if not self._entries:
            return None
        if self._new:
            return self._send_at
        times = [repeats[0].due for repeats in self._repeats if repeats]
        if self._answers:
            times.append(self._answer_at)
        times.append(self._oldest_due())
        return max(min(times), self._send_at)

    def _may_cost(self, source_host: str, now: float) -> bool:
        """One source alone cannot use up what all together may cost."""
        of_source = self._source_limits.allow(source_host.encode(), 1.0, now)
        return of_source and self._total_limit.allow(_ALL_SOURCES, 1.0, now)

    def _answer(self, infohash: bytes, now: float) -> None:
        entry = self._entries[infohash]
        # The first repeat may as well come now; the last one keeps its time, against losses.
        is_due = entry.count == 1 or now >= entry.announced_at + MIN_AGE
        if infohash not in self._new and is_due:
            self._queue_answer(infohash, now)

    def _queue_answer(self, infohash: bytes, now: float) -> None:
        if not self._answers:
            self._answer_at = now + ANSWER_DELAY * self._chance()
        self._answers[infohash] = None

    def _announced(self, infohash: bytes, now: float) -> None:
        self._new.pop(infohash, None)
        self._answers.pop(infohash, None)
        entry = self._entries[infohash]
        self._entries.move_to_end(infohash)
        entry.announced_at = now
        if entry.count < len(REPEAT_DELAYS):
            due = now + REPEAT_DELAYS[entry.count]
            self._repeats[entry.count].append(_Repeat(due, infohash, entry))
        elif entry.is_awaited:
            self._listening.append(_Listening(now + LISTEN_SECONDS, infohash, entry))
        entry.count += 1

    # Each of these takes what it yields out of its queue; `_announced` is called in between.

    def _take_new(self) -> Iterator[bytes]:
        """The newest first: after a start with thousands somebody waits for the one just added."""
        while self._new:
            yield self._new.popitem()[0]

    def _take_answers(self, now: float) -> Iterator[bytes]:
        if now >= self._answer_at:
            while self._answers:
                yield self._answers.popitem()[0]

    def _take_repeats(self, now: float) -> Iterator[bytes]:
        for number, repeats in enumerate(self._repeats, 1):
            while repeats and repeats[0].due <= now:
                repeat = repeats.popleft()
                is_same = self._entries.get(repeat.infohash) is repeat.entry
                if is_same and repeat.entry.count == number:
                    yield repeat.infohash

    def _take_oldest(self, now: float) -> Iterator[bytes]:
        if now < self._oldest_due():
            return
        for _ in range(len(self._entries)):
            infohash, entry = next(iter(self._entries.items()))
            if now < entry.announced_at + MIN_AGE:
                return
            yield infohash

    def _oldest_due(self) -> float:
        """When the rotation goes on."""
        oldest = next(iter(self._entries.values())).announced_at
        return min(max(self._rotate_at, oldest + MIN_AGE), oldest + MAX_AGE)
