"""What to drop of followed feeds when the space that they may take is used up, and who waits first.

Recency is kept for *chunks*, aligned pieces of a feed's bytes, not for blocks: a read touches a few
entries whatever the size of the blocks, and what is dropped together lies together, so that whole
pages come free. A block lies in one or more chunks, and is dropped with the last of them.

Readers that wait are let in by turns, in the order they came, as many as fit together: if all were
at once, each could lose what it has before it has all it waits for. Nothing here does I/O or knows
the time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from protozorfs.feeds.wants import Want

MIN_CHUNK_BYTES = 64 * 1024  # the largest block that an append makes here
CHUNKS_IN_CACHE = 16_384  # of a full cache: chunks grow with it, so that memory does not
MAX_CHUNKS = 4 * CHUNKS_IN_CACHE  # entries in all: reads of single small blocks fill few bytes each
MIN_DROP_CHUNKS = 8  # dropped together: fewer, longer runs, and fewer messages to peers

Key = TypeVar("Key")


class Chunk(NamedTuple, Generic[Key]):
    """One aligned piece of a feed: bytes `[number * chunk_bytes, (number + 1) * chunk_bytes)`."""

    key: Key
    number: int


class Victim(NamedTuple, Generic[Key]):
    """Neighbouring chunks `[first_chunk, end_chunk)` to be dropped, and the blocks in them.

    Blocks `[start, end)` include those that reach into chunks on either side.
    """

    key: Key
    first_chunk: int
    end_chunk: int
    start: int
    end: int


def chunk_bytes_for(cache_bytes: int) -> int:
    """The size of chunks: a power of two, so that a full cache has at most CHUNKS_IN_CACHE."""
    size = MIN_CHUNK_BYTES
    while size * CHUNKS_IN_CACHE < cache_bytes:
        size *= 2
    return size


class Recency(Generic[Key]):
    """The chunks that hold something, the least recently used first; keys name feeds."""

    def __init__(self, chunk_bytes: int) -> None:
        self.chunk_bytes = chunk_bytes
        self._blocks: OrderedDict[Chunk[Key], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._blocks

    def chunks_of(self, start: int, end: int) -> range:
        """The numbers of the chunks that bytes `[start, end)` lie in."""
        if start >= end:
            return range(0)
        return range(start // self.chunk_bytes, -(-end // self.chunk_bytes))

    def put(self, chunk: Chunk[Key], start: int, end: int, *, is_unread: bool = False) -> None:
        """Blocks `[start, end)` lie in that chunk, wholly or in part; it is the newest now.

        With `is_unread` it is the oldest: it was here before anything was read.
        """
        known = self._blocks.pop(chunk, None)
        if known is not None:
            start, end = min(start, known[0]), max(end, known[1])
        self._blocks[chunk] = (start, end)
        if is_unread:
            self._blocks.move_to_end(chunk, last=False)

    def touch(self, chunk: Chunk[Key]) -> bool:
        """The chunk was used just now; False if nothing of it is known."""
        try:
            self._blocks.move_to_end(chunk)
        except KeyError:
            return False
        return True

    def forget(self, key: Key) -> None:
        """Nothing of that feed is here any more."""
        for chunk in [chunk for chunk in self._blocks if chunk.key == key]:
            del self._blocks[chunk]

    def takes(self, key: Key, numbers: range, block: int) -> bool:
        """Leaves a block to one of these chunks, to go with it; False if none of them is kept."""
        for number in numbers:
            known = self._blocks.get(Chunk(key, number))
            if known is not None:
                self._blocks[Chunk(key, number)] = min(block, known[0]), max(block + 1, known[1])
                return True
        return False

    def take_oldest(self, count: int, pinned: Collection[Chunk[Key]]) -> list[Victim[Key]]:
        """Removes up to `count` chunks, the oldest first, none of the pinned, joined to runs."""
        taken: dict[Chunk[Key], tuple[int, int]] = {}
        for chunk, blocks in self._blocks.items():
            if len(taken) == count:
                break
            if chunk not in pinned:
                taken[chunk] = blocks
        for chunk in taken:
            del self._blocks[chunk]
        return list(_joined(taken))


def _joined(taken: dict[Chunk[Key], tuple[int, int]]) -> Iterator[Victim[Key]]:
    """Neighbours as one. A run comes at the place of its oldest chunk."""
    left = dict(taken)
    for key, number in taken:
        if Chunk(key, number) not in left:
            continue
        first, end = number, number + 1
        while Chunk(key, first - 1) in left:
            first -= 1
        while Chunk(key, end) in left:
            end += 1
        spans = [left.pop(Chunk(key, one)) for one in range(first, end)]
        yield Victim(key, first, end, min(s for s, _ in spans), max(e for _, e in spans))


class Turns(Generic[Key]):
    """Which of the waiting readers may have their blocks fetched, and keep what they have.

    In the order they came, as many as need no more than `budget_bytes` together, one at least.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._admitted: dict[Want, tuple[Key, int]] = {}
        self._queue: OrderedDict[Want, tuple[Key, int]] = OrderedDict()
        self._admitted_bytes = 0
        self._max_admitted: int | None = None

    def __len__(self) -> int:
        return len(self._admitted)

    @property
    def admitted(self) -> Iterator[tuple[Want, Key]]:
        """Those whose turn it is, who came first first."""
        return ((want, key) for want, (key, _) in self._admitted.items())

    def enter(self, want: Want, key: Key, need_bytes: int) -> None:
        """A reader comes; sets its `is_admitted`."""
        want.is_admitted = False
        self._queue[want] = (key, need_bytes)
        self._admit()

    def leave(self, want: Want) -> list[Key]:
        """It waits no longer; returns the feeds of those whose turn comes by that."""
        entry = self._admitted.pop(want, None)
        if entry is None:
            self._queue.pop(want, None)
            return self._admit()  # it may have been the first, and too large
        self._admitted_bytes -= entry[1]
        if self._max_admitted is not None:
            self._max_admitted *= 2
            if self._max_admitted > len(self._admitted) + len(self._queue):
                self._max_admitted = None
        return self._admit()

    def only_first(self) -> Want | None:
        """Blocks are larger than was thought: sends all back but the first, until it is served.

        Returns the first if it was alone before, so that nobody else can be in its way.
        """
        if len(self._admitted) <= 1:
            return next(iter(self._admitted), None)
        self._max_admitted = 1
        for want in list(self._admitted)[:0:-1]:
            want.is_admitted = False
            self._queue[want] = self._admitted.pop(want)
            self._queue.move_to_end(want, last=False)
            self._admitted_bytes -= self._queue[want][1]
        return None

    def _admit(self) -> list[Key]:
        keys: list[Key] = []
        while self._queue:
            want, (key, need_bytes) = next(iter(self._queue.items()))
            if self._admitted and (
                self._admitted_bytes + need_bytes > self._budget_bytes
                or len(self._admitted) == self._max_admitted
            ):
                break
            self._admitted[want] = self._queue.pop(want)
            self._admitted_bytes += need_bytes
            want.is_admitted = True
            keys.append(key)
        return keys
