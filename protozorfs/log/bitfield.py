"""Which blocks there are: a set of indexes that costs memory by its texture, not by its length.

Bits live in pages of 4096. A page that is neither empty nor full is one Python int; full pages next
to each other are one run, however many. So a peer's claim to hold 2**52 blocks is one run, and
searches skip runs and gaps as wholes. The count of leading set bits is kept up to date.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE_SHIFT = 12
PAGE_BITS = 1 << PAGE_SHIFT
PAGE_BYTES = PAGE_BITS // 8
WORD_BITS = 32  # what the wire counts bitfields in

_FULL = (1 << PAGE_BITS) - 1
_LAST = PAGE_BITS - 1


class Bitfield:
    """A sparse set of indexes from 0 up. Ranges are half-open.

    Invariants: segments are disjoint and ordered; those that are single pages with some bits only
    have these in `_bits`; all others are runs of full pages, and no two runs touch.
    """

    def __init__(self, max_segments: int | None = None) -> None:
        """An empty set.

        Args:
            max_segments: for claims of others: beyond so many segments (of at most about 700 bytes)
                the highest are forgotten, which only makes the set smaller. None: no limit.
        """
        self._starts: list[int] = []  # first page of each segment
        self._ends: list[int] = []  # page after the last
        self._bits: dict[int, int] = {}
        self._max_segments = max_segments
        self._contiguous = 0

    @classmethod
    def from_bytes(cls, data: bytes, start: int = 0) -> Bitfield:
        """The set that `to_bytes` wrote."""
        bitfield = cls()
        bitfield.assign_bytes(start, data)
        return bitfield

    @property
    def contiguous_length(self) -> int:
        """How many bits are set from 0 on without a gap."""
        return self._contiguous

    @property
    def segments(self) -> int:
        """How many pieces the set is kept in; what memory it takes goes by this."""
        return len(self._starts)

    def get(self, index: int) -> bool:
        """True if the bit is set."""
        if index < self._contiguous:
            return True
        return bool(self._page(index >> PAGE_SHIFT) >> (index & _LAST) & 1)

    __contains__ = get

    def set(self, index: int) -> None:
        """Sets one bit."""
        page = index >> PAGE_SHIFT
        self._write_page(page, self._page(page) | 1 << (index & _LAST))
        if index == self._contiguous:
            self._contiguous = self.first_unset(index)

    def clear(self, index: int) -> None:
        """Clears one bit."""
        self.clear_range(index, index + 1)

    def set_range(self, start: int, end: int) -> None:
        """Sets all bits of a range, of any length at the same cost."""
        if start >= end:
            return
        first, last = start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT
        if first == last:
            self._write_page(first, self._page(first) | _mask(start, end))
        else:
            self._write_page(first, self._page(first) | _mask(start, (first + 1) << PAGE_SHIFT))
            self._fill(first + 1, last, _FULL)
            self._write_page(last, self._page(last) | _mask(last << PAGE_SHIFT, end))
        if start <= self._contiguous:
            self._contiguous = self.first_unset(self._contiguous)

    def clear_range(self, start: int, end: int) -> None:
        """Clears all bits of a range, of any length at the same cost."""
        if start >= end:
            return
        self._contiguous = min(self._contiguous, start)
        first, last = start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT
        if first == last:
            self._write_page(first, self._page(first) & ~_mask(start, end))
            return
        self._write_page(first, self._page(first) & ~_mask(start, (first + 1) << PAGE_SHIFT))
        self._fill(first + 1, last, 0)
        self._write_page(last, self._page(last) & ~_mask(last << PAGE_SHIFT, end))

    def first_unset(self, start: int) -> int:
        """The first index from `start` on whose bit is not set."""
        page = start >> PAGE_SHIFT
        free = ~self._page(page) & _FULL & -1 << (start & _LAST)
        while not free:
            page = max(page + 1, self._full_until(page + 1))
            free = ~self._page(page) & _FULL
        return (page << PAGE_SHIFT) + _lowest(free)

    def first_set(self, start: int, end: int) -> int | None:
        """The first index of the range whose bit is set, or None."""
        for first, _stop, page_bits in self._overlapping(start, end):
            if page_bits is None:
                return first
            if page_bits:
                return (first & -PAGE_BITS) + _lowest(page_bits)
        return None

    def next_missing(
        self,
        start: int,
        end: int,
        *,
        excluding: Bitfield | None = None,
        within: Bitfield | None = None,
    ) -> int | None:
        """The first index of the range that is not set here nor in `excluding`, but in `within`.

        With `within` left out, any index that is in neither of the others.
        """
        page, last = start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT
        while page <= last:
            wanted = _FULL if within is None else within._page(page)
            if within is not None and not wanted:
                following = bisect_right(within._starts, page)
                if following == len(within._starts):
                    return None
                page = within._starts[following]
                continue
            found = wanted & ~self._page(page) & _clip(page, start, end)
            if excluding is not None:
                found &= ~excluding._page(page)
            if found:
                return (page << PAGE_SHIFT) + _lowest(found)
            taken = self._full_until(page)
            if excluding is not None:
                taken = max(taken, excluding._full_until(page))
            page = max(page + 1, taken)
        return None

    def count(self, start: int, end: int) -> int:
        """How many bits of the range are set."""
        return sum(
            stop - first if page_bits is None else page_bits.bit_count()
            for first, stop, page_bits in self._overlapping(start, end)
        )

    def ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The runs of set bits in the range, as (start, end). The set must not change meanwhile."""
        at = self.first_set(start, end)
        while at is not None:
            stop = min(self.first_unset(at), end)
            yield at, stop
            at = self.first_set(stop, end)

    def to_bytes(self, start: int, length: int) -> bytes:
        """The bits of `length` indexes from `start` on, in whole 32-bit words, little-endian.

        Index `start + i` is bit `i % 8` of byte `i // 8`; bits behind the range are 0. `start` is a
        multiple of 32. Source: hypercore lib/bitfield.js.
        """
        assert start % WORD_BITS == 0
        end = start + length
        pages = range(start >> PAGE_SHIFT, (end + _LAST) >> PAGE_SHIFT)
        raw = b"".join(
            (self._page(page) & _clip(page, start, end)).to_bytes(PAGE_BYTES, "little")
            for page in pages
        )
        skipped = (start & _LAST) // 8
        words = -(-length // WORD_BITS)
        return raw[skipped : skipped + words * WORD_BITS // 8]

    def assign_bytes(self, start: int, data: bytes) -> None:
        """Sets and clears `8 * len(data)` bits from `start` on, as `to_bytes` wrote them."""
        assert start % WORD_BITS == 0
        at, end = start, start + 8 * len(data)
        while at < end:
            page = at >> PAGE_SHIFT
            stop = min(end, (page + 1) << PAGE_SHIFT)
            chunk = data[(at - start) // 8 : (stop - start) // 8]
            bits = int.from_bytes(chunk, "little") << (at & _LAST)
            self._write_page(page, self._page(page) & ~_mask(at, stop) | bits)
            at = stop
        if start <= self._contiguous:
            self._contiguous = self.first_unset(start)

    def _page(self, page: int) -> int:
        """The bits of one page."""
        bits = self._bits.get(page)
        if bits is None:
            return _FULL if self._full_until(page) > page else 0
        return bits

    def _full_until(self, page: int) -> int:
        """The page behind the run of full pages that this one is in; itself if it is in none."""
        at = bisect_right(self._starts, page) - 1
        if at < 0 or self._ends[at] <= page or self._starts[at] in self._bits:
            return page
        return self._ends[at]

    def _overlapping(self, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
        """Segments of the range: first and last index + 1 in it, bits in it (None: all)."""
        for at in range(bisect_right(self._ends, start >> PAGE_SHIFT), len(self._starts)):
            page = self._starts[at]
            first, stop = max(start, page << PAGE_SHIFT), min(end, self._ends[at] << PAGE_SHIFT)
            if first >= stop:
                return
            bits = self._bits.get(page)
            yield first, stop, None if bits is None else bits & _mask(first, stop)

    def _write_page(self, page: int, bits: int) -> None:
        old = self._page(page)
        if bits == old:
            return
        if page in self._bits and 0 < bits < _FULL:
            self._bits[page] = bits
        else:
            self._fill(page, page + 1, bits)

    def _fill(self, first: int, last: int, bits: int) -> None:
        """Makes pages [first, last) all empty or all full, or the only one have these bits."""
        if first >= last:
            return
        starts, ends = self._starts, self._ends
        low = bisect_right(ends, first)  # the first segment that reaches beyond `first`
        high = bisect_left(starts, last)  # the first one from `last` on
        # What stands out on both sides can only be of runs of full pages.
        left = (starts[low], first) if low < high and starts[low] < first else None
        right = (last, ends[high - 1]) if low < high and ends[high - 1] > last else None
        for page in starts[low:high]:
            self._bits.pop(page, None)
        if bits == _FULL:
            if low and ends[low - 1] == first and starts[low - 1] not in self._bits:
                low -= 1
                left = (starts[low], first)
            if high < len(starts) and starts[high] == last and last not in self._bits:
                right = (last, ends[high])
                high += 1
            pieces = [(left[0] if left else first, right[1] if right else last)]
        else:
            middle = (first, last) if bits else None
            if bits:
                self._bits[first] = bits
            pieces = [piece for piece in (left, middle, right) if piece is not None]
        starts[low:high] = [piece[0] for piece in pieces]
        ends[low:high] = [piece[1] for piece in pieces]
        self._forget()

    def _forget(self) -> None:
        """Drops the highest segments beyond the limit. Callers then renew `_contiguous`."""
        while self._max_segments is not None and len(self._starts) > self._max_segments:
            page = self._starts.pop()
            self._ends.pop()
            self._bits.pop(page, None)


def runs_of_indexes(indexes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The half-open ranges that indexes in any order make up, lowest first."""
    start = end = -1
    for index in sorted(indexes):
        if index != end:
            if start < end:
                yield start, end
            start = index
        end = index + 1
    if start < end:
        yield start, end


def _mask(start: int, end: int) -> int:
    """The bits of a range within one page."""
    return ((1 << (end - start)) - 1) << (start & _LAST)


def _clip(page: int, start: int, end: int) -> int:
    """The bits of a page that are in a range."""
    first = max(start, page << PAGE_SHIFT)
    return _mask(first, max(first, min(end, (page + 1) << PAGE_SHIFT)))


def _lowest(bits: int) -> int:
    """The position of the lowest set bit."""
    return (bits & -bits).bit_length() - 1
