"""Tree nodes in a file: node i stands at 40 * i, zeros where none is held.

The file is read in pages of 102 nodes, and a page's changed part is written at once, so that
neither an append nor the proof of a block costs a call per node. Pages stand at multiples of 4080
bytes.

What an earlier run has written is checked when its page is first loaded, once the store was told
the roots to `trust`: all of it counts if its sum is right (`sums`), else a node counts if the way
down from a root leads to it by right hashes. One that is wrong is made again from what is below it,
if that is right, or else counts as not held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log import flat_tree
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.checking import MAX_BLOCK_BYTES
from protozorfs.log.format import NODE, NODE_BYTES
from protozorfs.log.hashing import leaf_node, parent_hash, parent_node
from protozorfs.log.sums import Span
from protozorfs.types import MAX_SAFE_INTEGER, TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from protozorfs.log.sums import Sums
    from protozorfs.store import File

PAGE_NODES = 102
PAGE_BYTES = PAGE_NODES * NODE_BYTES
# A path from a leaf to the top meets a page for each 7 levels or so, and readers move on slowly:
# 32 pages (128 KiB) serve many readers of one feed, and thousands of feeds can have them at once.
MAX_CACHED_PAGES = 32
_NO_HASH = bytes(32)
_WHOLE_PAGE = Span(0, PAGE_BYTES)


class NodeStore:
    """The nodes of one feed, a `TreeReader`.

    What is `put` is there at once, on disk by `flush`, and for good by `commit`; until then
    `discard` takes it back.
    """

    def __init__(self, file: File, data: File, sums: Sums) -> None:
        """`data`: the blocks, from which a leaf can be made again; `sums`: those of the pages."""
        self._file = file
        self._data = data
        self._sums = sums
        self._unsummed: set[int] = set()  # pages in memory that are right, and have no such sum
        self._trusted: dict[int, tuple[TreeNode, int]] | None = None
        self._checked = Bitfield()  # pages
        self._wrong: dict[int, set[int]] = {}  # page -> slots of which the file says what is wrong
        self._lost: list[tuple[int, int]] = []
        self._pages: dict[int, bytearray] = {}
        self._dirty: dict[int, tuple[int, int]] = {}  # page -> changed slots, half-open
        self._written: dict[int, tuple[int, int]] = {}  # the same, flushed since the last commit
        self._before: dict[int, bytes] = {}  # what these pages were at the last commit

    def trust(self, roots: Iterable[TreeNode]) -> None:
        """Has everything checked from now on, by roots that were signed; nothing may be unflushed.

        Until then nodes are what the file says.
        """
        self._trusted = _by_index(roots)
        self._pages.clear()

    @property
    def has_lost(self) -> bool:
        """`take_lost` has something to tell."""
        return bool(self._lost)

    def take_lost(self) -> list[tuple[int, int]]:
        """Ranges of blocks to which the way was found wrong since the last call."""
        lost, self._lost = self._lost, []
        return lost

    def node(self, tree_index: int) -> TreeNode | None:
        """The stored node, or None."""
        number, slot = divmod(tree_index, PAGE_NODES)
        page = self._pages.get(number) or self._load(number)
        size, node_hash = NODE.unpack_from(page, slot * NODE_BYTES)
        if node_hash == _NO_HASH:
            return None
        return TreeNode(TreeIndex(tree_index), size, TreeHash(node_hash))

    def made_again(self, number: int) -> list[int]:
        """The nodes of a page that the file has wrong, and that others made good.

        Nothing was `put` there before.
        """
        page = self._pages.get(number) or self._load(number)
        stored = self._read_page(number)
        if page == stored:
            return []
        nodes = zip(NODE.iter_unpack(bytes(page)), NODE.iter_unpack(bytes(stored)), strict=True)
        return [
            number * PAGE_NODES + slot
            for slot, (node, found) in enumerate(nodes)
            if node != found and node[1] != _NO_HASH
        ]

    def look_again(self, numbers: Iterable[int], roots: Iterable[TreeNode]) -> int:
        """Compares pages with the file once more, whatever this run has found of them before.

        What is right in memory, or follows from other nodes, waits for a `flush`; what follows from
        nothing is lost. Returns how many nodes the file has wrong, and others made good. Nothing
        may wait for a `commit`.

        Args:
            numbers: of the pages.
            roots: of the tree as it is now.
        """
        self._trusted = _by_index(roots)
        count = 0
        for number in numbers:
            if number not in self._pages:
                self._load(number, anew=True)
            slots = [index - number * PAGE_NODES for index in self.made_again(number)]
            if slots:
                changed = min(slots), max(slots) + 1
                self._dirty[number] = _union(self._dirty.get(number), changed)
            count += len(slots)
        return count

    def put(self, nodes: Iterable[TreeNode]) -> None:
        """Stores nodes, in memory until `flush`."""
        dirty, before = self._dirty, self._before
        for tree_index, size, node_hash in nodes:
            number, slot = divmod(tree_index, PAGE_NODES)
            page = self._pages.get(number) or self._load(number)
            if number not in before:
                before[number] = bytes(page)
            NODE.pack_into(page, slot * NODE_BYTES, size, node_hash)
            if number in self._wrong:
                self._wrong[number].discard(slot)
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
        if self._trusted is not None:
            self._unsummed.update(self._before)
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
            if number in self._before:  # else nothing of it is taken back
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
            self._let_go(number)

    def _let_go(self, number: int) -> None:
        page = self._pages.pop(number)
        if number in self._unsummed:
            self._unsummed.discard(number)
            self._sums.put(number, _WHOLE_PAGE, page)

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

    def _load(self, number: int, *, anew: bool = False) -> bytearray:
        """Reads a page; `anew`: it is checked whatever is known of it, and no sum is believed."""
        while len(self._pages) - len(self._dirty) >= MAX_CACHED_PAGES:
            self._evict()  # more than one, where many were dirty at once
        self._sums.write_if_many()
        page = self._read_page(number)
        if anew:
            self._wrong.pop(number, None)
        for slot in self._wrong.get(number, ()):
            _erase(page, slot)
        if self._trusted is not None and (anew or not self._checked.get(number)):
            if anew or not self._sums.is_right(number, _WHOLE_PAGE, page):
                self._check_page(number, page, self._trusted)
                self._unsummed.add(number)
            self._checked.set(number)
        self._pages[number] = page
        return page

    def _read_page(self, number: int) -> bytearray:
        return bytearray(self._file.pread(PAGE_BYTES, number * PAGE_BYTES).ljust(PAGE_BYTES, b"\0"))

    def _check_page(
        self, number: int, page: bytearray, trusted: dict[int, tuple[TreeNode, int]]
    ) -> None:
        if page.count(0) == PAGE_BYTES:
            return
        first = number * PAGE_NODES
        check = _PathCheck(lambda index: self._as_stored(index, first, page), self._data, trusted)
        for slot, (size, node_hash) in enumerate(NODE.iter_unpack(bytes(page))):
            if node_hash == _NO_HASH and not size and not check.is_missed(first + slot):
                continue
            right = check.right_node(first + slot)
            if right is None:
                _erase(page, slot)
                self._wrong.setdefault(number, set()).add(slot)
            elif (right.size, right.hash) != (size, node_hash):
                NODE.pack_into(page, slot * NODE_BYTES, right.size, right.hash)
                self._dirty[number] = _union(self._dirty.get(number), (slot, slot + 1))
        self._lost += check.lost

    def _as_stored(self, index: int, first: int, page: bytearray) -> TreeNode | None:
        """A node that may be wrong, of the page that is checked or of another."""
        if first <= index < first + PAGE_NODES:
            content: bytes | bytearray = page
            slot = index - first
        elif index // PAGE_NODES in self._pages:
            content, slot = self._pages[index // PAGE_NODES], index % PAGE_NODES
        else:
            content, slot = self._file.pread(NODE_BYTES, index * NODE_BYTES), 0
        if len(content) < NODE_BYTES:
            return None
        size, node_hash = NODE.unpack_from(content, slot * NODE_BYTES)
        if node_hash == _NO_HASH:
            return None
        return TreeNode(TreeIndex(index), size, TreeHash(node_hash))

    def _evict(self) -> None:
        # The page loaded first; one that is in steady use is soon loaded again.
        for number in self._pages:
            if number not in self._dirty:
                self._let_go(number)
                return


def _erase(page: bytearray, slot: int) -> None:
    page[slot * NODE_BYTES : (slot + 1) * NODE_BYTES] = bytes(NODE_BYTES)


def _union(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    """The smallest range that covers both."""
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))


def placed(nodes: Iterable[TreeNode], start: int = 0) -> Iterator[tuple[TreeNode, int]]:
    """Nodes that stand next to one another, with the byte offsets of what is below them."""
    for node in nodes:
        yield node, start
        start += node.size


def _by_index(roots: Iterable[TreeNode]) -> dict[int, tuple[TreeNode, int]]:
    return {root.tree_index: (root, start) for root, start in placed(roots)}


class _PathCheck:
    """Finds out which nodes are right, by the ways that lead to them from trusted ones."""

    def __init__(
        self,
        stored: Callable[[int], TreeNode | None],
        data: File,
        trusted: dict[int, tuple[TreeNode, int]],
    ) -> None:
        """`trusted`: nodes, and the byte offsets of what is below them."""
        self._stored = stored
        self._data = data
        self._trusted = trusted
        self._known: dict[int, tuple[TreeNode, int] | None] = dict(trusted)
        self._end = max(map(flat_tree.right_span, trusted), default=-1)
        self.lost: list[tuple[int, int]] = []  # blocks, below nodes whose children are wrong

    def is_missed(self, index: int) -> bool:
        """A node that is not stored was: siblings are stored together, and parents with them."""
        return (
            index in self._trusted
            or self._stored(flat_tree.sibling(index)) is not None
            or bool(index & 1 and all(map(self._stored, flat_tree.children(index))))
        )

    def right_node(self, index: int) -> TreeNode | None:
        """The node as it must be; None if it is not known."""
        way: list[int] = []
        while index not in self._known:
            if flat_tree.right_span(index) > self._end:
                return None
            way.append(index)
            index = flat_tree.parent(index)
        for child in reversed(way):
            above = self._known[index]
            if above is None:
                return None
            self._descend(*above)
            index = child
        found = self._known[index]
        return None if found is None else found[0]

    def _descend(self, node: TreeNode, start: int) -> None:
        """Learns the children of a node that is right."""
        left_index, right_index = flat_tree.children(node.tree_index)
        pair = self._right_pair(node, start)
        if pair is None:
            self._known[left_index] = self._known[right_index] = None
            first, last = (
                flat_tree.left_span(node.tree_index),
                flat_tree.right_span(node.tree_index),
            )
            self.lost.append((first >> 1, (last >> 1) + 1))
        else:
            left, right = pair
            self._known[left_index] = (left, start)
            self._known[right_index] = (right, start + left.size)

    def _right_pair(self, node: TreeNode, start: int) -> tuple[TreeNode, TreeNode] | None:
        left_index, right_index = flat_tree.children(node.tree_index)
        left, right = self._stored(left_index), self._stored(right_index)
        if left is not None and right is not None and is_pair(node, left, right):
            return left, right
        # One of them is wrong, or both are.
        made_left = self._made(left_index, start, node.size - right.size if right else 0)
        if made_left and right and is_pair(node, made_left, right):
            return made_left, right
        for one in (left, made_left):
            if one is not None:
                made = self._made(right_index, start + one.size, node.size - one.size)
                if made and is_pair(node, one, made):
                    return one, made
        return None

    def _made(self, index: int, start: int, size: int) -> TreeNode | None:
        """A node from what is below it: its children, or a block at `start` of that size."""
        if not index & 1:
            if not 0 <= size <= MAX_BLOCK_BYTES:
                return None
            return leaf_node(index >> 1, self._data.pread(size, start))
        left_index, right_index = flat_tree.children(index)
        left, right = self._stored(left_index), self._stored(right_index)
        if left is None or right is None or left.size + right.size > MAX_SAFE_INTEGER:
            return None
        return parent_node(left, right)


def is_pair(node: TreeNode, left: TreeNode, right: TreeNode) -> bool:
    """Whether two nodes are the children that the hash and the size of a node say."""
    return left.size + right.size == node.size and parent_hash(left, right) == node.hash
