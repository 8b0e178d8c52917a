"""Tree nodes in a file: node i stands at 40 * i, zeros where none is held.

The file is read in pages of 102 nodes, and a page's changed part is written at once, so that
neither an append nor the proof of a block costs a call per node. Pages stand at multiples of 4080
bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log.format import NODE, NODE_BYTES
from protozorfs.types import TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protozorfs.store import File

PAGE_NODES = 102
PAGE_BYTES = PAGE_NODES * NODE_BYTES
# A path from a leaf to the top meets a page for each 7 levels or so, and readers move on slowly:
# 32 pages (128 KiB) serve many readers of one feed, and thousands of feeds can have them at once.
MAX_CACHED_PAGES = 32
_NO_HASH = bytes(32)


class NodeStore:
    """The nodes of one feed, a `TreeReader`.

    What is `put` is there at once, on disk by `flush`, and for good by `commit`; until then
    `discard` takes it back.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._pages: dict[int, bytearray] = {}
        self._dirty: dict[int, tuple[int, int]] = {}  # page -> changed slots, half-open
        self._written: dict[int, tuple[int, int]] = {}  # the same, flushed since the last commit
        self._before: dict[int, bytes] = {}  # what these pages were at the last commit

    def node(self, tree_index: int) -> TreeNode | None:
        """The stored node, or None."""
        number, slot = divmod(tree_index, PAGE_NODES)
        page = self._pages.get(number) or self._load(number)
        size, node_hash = NODE.unpack_from(page, slot * NODE_BYTES)
        if node_hash == _NO_HASH:
            return None
        return TreeNode(TreeIndex(tree_index), size, TreeHash(node_hash))

    def put(self, nodes: Iterable[TreeNode]) -> None:
        """Stores nodes, in memory until `flush`."""
        dirty, before = self._dirty, self._before
        for tree_index, size, node_hash in nodes:
            number, slot = divmod(tree_index, PAGE_NODES)
            page = self._pages.get(number) or self._load(number)
            if number not in before:
                before[number] = bytes(page)
            NODE.pack_into(page, slot * NODE_BYTES, size, node_hash)
            changed = dirty.get(number)
            if changed is None:
                dirty[number] = (slot, slot + 1)
            elif slot < changed[0]:
                dirty[number] = (slot, changed[1])
            elif slot >= changed[1]:
                dirty[number] = (changed[0], slot + 1)

    def flush(self) -> None:
        """Writes what changed, one write per page. Does not sync.

        Raises:
            StoreFull, OSError: some of it may be written; `discard` it or try again.
        """
        for number, (first, end) in self._dirty.items():
            self._written[number] = _union(self._written.get(number), (first, end))
            part = memoryview(self._pages[number])[first * NODE_BYTES : end * NODE_BYTES]
            self._file.pwrite(part, number * PAGE_BYTES + first * NODE_BYTES)
        self._dirty.clear()

    def commit(self) -> None:
        """Keeps what was put and flushed: `discard` does not take it back any more."""
        self._written.clear()
        self._before.clear()

    @property
    def dirty_pages(self) -> int:
        """How many pages wait for `flush`; they are kept beyond the limit of the cache."""
        return len(self._dirty)

    def discard(self) -> None:
        """Forgets what was put since the last `commit`; the old nodes wait for the next `flush`."""
        for number, content in self._before.items():
            self._pages[number] = bytearray(content)
        for number, slots in self._written.items():
            self._dirty[number] = _union(self._dirty.get(number), slots)
        self.commit()

    def erase(self, start: int, end: int) -> bool:
        """Drops the nodes of a range of tree indexes; whole pages become holes at once.

        The parts of pages at both ends need a `flush`. Returns whether there was anything.
        Nothing may wait for a `commit`.
        """
        first, first_slot = divmod(start, PAGE_NODES)
        last, last_slot = divmod(end, PAGE_NODES)
        if first == last:
            return self._erase_slots(first, first_slot, last_slot)
        found = self._erase_slots(first, first_slot, PAGE_NODES)
        if last > first + 1:
            for number in [number for number in self._pages if first < number < last]:
                del self._pages[number]
                self._dirty.pop(number, None)
            self._file.punch_hole((first + 1) * PAGE_BYTES, (last - first - 1) * PAGE_BYTES)
        return self._erase_slots(last, 0, last_slot) or found

    def truncate(self, end: int) -> bool:
        """Cuts the file behind the nodes below `end`. Returns whether there was anything."""
        if self._file.size() <= end * NODE_BYTES:
            return False
        self.flush()
        self._file.truncate(end * NODE_BYTES)
        self._pages.clear()
        return True

    def forget_pages(self) -> None:
        """Gives the memory of the cache back; what was not flushed stays."""
        for number in [number for number in self._pages if number not in self._dirty]:
            del self._pages[number]

    def _erase_slots(self, number: int, first: int, end: int) -> bool:
        if first == end:
            return False
        page = self._pages.get(number) or self._load(number)
        start, stop = first * NODE_BYTES, end * NODE_BYTES
        if page.count(0, start, stop) == stop - start:
            return False
        page[start:stop] = bytes(stop - start)
        self._dirty[number] = _union(self._dirty.get(number), (first, end))
        return True

    def _load(self, number: int) -> bytearray:
        if len(self._pages) - len(self._dirty) >= MAX_CACHED_PAGES:
            self._evict()
        content = self._file.pread(PAGE_BYTES, number * PAGE_BYTES)
        page = self._pages[number] = bytearray(content.ljust(PAGE_BYTES, b"\0"))
        return page

    def _evict(self) -> None:
        # The page loaded first; one that is in steady use is soon loaded again.
        for number in self._pages:
            if number not in self._dirty:
                del self._pages[number]
                return


def _union(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    """The smallest range that covers both."""
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))
