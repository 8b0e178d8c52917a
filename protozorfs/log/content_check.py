"""Compares the tree and the blocks of one feed with the roots of its head, and changes nothing.

The tree is compared page by page, from the roots down, with what it would be taken for when it is
used (`node_store`); the blocks with their leaves, in large reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log import flat_tree
from protozorfs.log.bitfield import Bitfield
from protozorfs.log.checking import MAX_BLOCK_BYTES, STEP_BYTES, Leaf, wrong_blocks
from protozorfs.log.format import NODE, NODE_BYTES
from protozorfs.log.node_store import PAGE_NODES, NodeStore, is_pair, placed
from protozorfs.log.sums import NoSums
from protozorfs.store.findings import Progress
from protozorfs.types import TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protozorfs.store import File

    Placed = tuple[TreeNode, int]
    Pair = tuple[TreeNode | None, TreeNode | None]

SUBTREE_BLOCKS = 64  # whose nodes are checked at one time: 5 KiB
MAX_RUN_BLOCKS = 1 << 14  # compared at one time, however small they are
MAX_DIRTY_PAGES = 64  # with nodes that were made again


class TreeCheck:
    """Walks down from the roots.

    Attributes:
        length: in blocks, of the tree.
        made_again: nodes that are wrong in the file, and follow from others.
        unreachable: blocks to which the way is wrong, and follows from nothing.
    """

    def __init__(
        self, tree: File, data: File, roots: tuple[TreeNode, ...], *, is_mended: bool = False
    ) -> None:
        """`is_mended`: nodes that can be made again are written; else nothing is."""
        self._tree = tree
        self._data = data
        self._roots = roots
        self._is_mended = is_mended
        self._stored = NodeStore(tree, data, NoSums())  # right or wrong
        self._nodes = self._trusting()
        self._compared = Bitfield()  # pages of the tree
        self.length = sum(flat_tree.leaf_count(root.tree_index) for root in roots)
        self.made_again = Bitfield()
        self.unreachable = Bitfield()

    def leaves(self, first: int = 0, end: int | None = None) -> Iterator[Leaf]:
        """Every leaf of blocks `[first, end)` that is held, in order; by default all of them.

        All nodes on the way are compared with the file.
        """
        last = (self.length if end is None else end) - 1
        for root in self._roots:
            if self._stored.node(root.tree_index) != root:
                self._compare_pages(root.tree_index, root.tree_index)
        wanted = (2 * first, 2 * last)
        above = list(placed(self._roots))
        for node, start in self._below(above, SUBTREE_BLOCKS, self._children, wanted):
            found = self._whole_leaves(node, start) or self._right_leaves(node, start)
            for leaf, at in found:
                if first <= leaf.tree_index >> 1 <= last:
                    yield Leaf(leaf.tree_index >> 1, at, leaf.size, leaf.hash)
        self._take_lost()
        if self._is_mended:
            self._nodes.flush()

    def mend(self) -> None:
        """Writes what can be made again, and erases what follows from nothing; does not sync."""
        for _ in self.leaves():
            pass
        stored = NodeStore(self._tree, self._data, NoSums())
        for start, end in self.unreachable.ranges(0, self.length):
            for index in range(2 * start, 2 * end - 1):
                if self._nodes.node(TreeIndex(index)) is None:
                    stored.erase(index, index + 1)
        stored.flush()

    def _below(
        self,
        above: list[Placed],
        blocks: int,
        children: Callable[[TreeNode], Pair],
        wanted: tuple[int, int],
    ) -> Iterator[Placed]:
        """The nodes below that have at most so many blocks, in order, with their offsets.

        `wanted`: tree indexes of the first and the last leaf that is asked for.
        """
        above.reverse()
        while above:
            node, start = above.pop()
            index = node.tree_index
            if flat_tree.right_span(index) < wanted[0] or flat_tree.left_span(index) > wanted[1]:
                continue
            if flat_tree.leaf_count(index) <= blocks:
                yield node, start
                continue
            left, right = children(node)
            if left is not None and right is not None:
                above.append((right, start + left.size))
                above.append((left, start))

    def _children(self, node: TreeNode) -> Pair:
        """The children of a right node: as they are stored if they fit, else as they must be."""
        left_index, right_index = flat_tree.children(node.tree_index)
        left, right = self._stored.node(left_index), self._stored.node(right_index)
        if left is not None and right is not None and is_pair(node, left, right):
            return left, right
        self._compare_pages(left_index, left_index)
        self._compare_pages(right_index, right_index)
        return self._right_children(node)

    def _right_children(self, node: TreeNode) -> Pair:
        left_index, right_index = flat_tree.children(node.tree_index)
        return self._nodes.node(left_index), self._nodes.node(right_index)

    def _whole_leaves(self, top: TreeNode, start: int) -> list[Placed]:
        """All leaves below a right node, if all nodes between fit; else none.

        Nearly all of a tree is checked so: a node at a time costs five times as much.
        """
        first = flat_tree.left_span(top.tree_index)
        count = 2 * flat_tree.leaf_count(top.tree_index) - 1
        stored = self._tree.pread(count * NODE_BYTES, first * NODE_BYTES)
        if len(stored) < count * NODE_BYTES:
            return []
        nodes = [
            TreeNode(TreeIndex(first + at), size, TreeHash(node_hash))
            for at, (size, node_hash) in enumerate(NODE.iter_unpack(stored))
        ]
        half = 1  # of the distance between two siblings
        while half <= count // 2:
            for at in range(half - 1, count, 4 * half):
                if not is_pair(nodes[at + half], nodes[at], nodes[at + 2 * half]):
                    return []
            half *= 2
        return list(placed(nodes[::2], start)) if nodes[count // 2] == top else []

    def _right_leaves(self, top: TreeNode, start: int) -> Iterator[Placed]:
        """The leaves below a right node to which right nodes lead, or such as can be made again."""
        index = top.tree_index
        span = flat_tree.left_span(index), flat_tree.right_span(index)
        self._compare_pages(*span)
        yield from self._below([(top, start)], 1, self._right_children, span)

    def _compare_pages(self, first: int, last: int) -> None:
        """Compares the pages with the nodes [first, last] with what they must be."""
        for number in range(first // PAGE_NODES, last // PAGE_NODES + 1):
            if not self._compared.get(number):
                self._compared.set(number)
                for index in self._nodes.made_again(number):
                    self.made_again.set(index)
        if self._nodes.dirty_pages > MAX_DIRTY_PAGES:
            self._take_lost()
            if self._is_mended:
                self._nodes.flush()
            else:
                self._nodes = self._trusting()  # what was made again is made again for others

    def _take_lost(self) -> None:
        for start, end in self._nodes.take_lost():
            self.unreachable.set_range(start, min(end, self.length))

    def _trusting(self) -> NodeStore:
        nodes = NodeStore(self._tree, self._data, NoSums())
        nodes.trust(self._roots)
        return nodes


class BlockCheck:
    """Compares the blocks that are held with the leaves of a tree."""

    def __init__(
        self, data: File, tree: TreeCheck, claimed: Bitfield | None, *, is_owned: bool
    ) -> None:
        """
        Args:
            data: the blocks.
            tree: not walked yet.
            claimed: which blocks are said to be held; None: only the blocks can tell.
            is_owned: all must be.
        """
        self._data = data
        self._tree = tree
        self._claimed = claimed
        self._is_owned = is_owned
        self._right = Bitfield()
        self._wrong = Bitfield()

    def check(self) -> Iterator[Progress]:
        """Reads all of it, in the order of the file."""
        run: list[Leaf] = []
        size = 0
        for leaf in self._tree.leaves():
            if self._claimed is not None and not self._claimed.get(leaf.block_index):
                continue
            run.append(leaf)
            size += leaf.size
            if size >= STEP_BYTES or len(run) >= MAX_RUN_BLOCKS:
                self._compare(run)
                yield Progress(size)
                run, size = [], 0
        self._compare(run)
        yield Progress(size)

    def damaged(self) -> Bitfield:
        """The blocks that should be here and are not right, but for those to which no way leads."""
        length = self._tree.length
        expected = self._wrong if self._claimed is None else self._claimed
        if self._is_owned:
            expected = Bitfield()
            expected.set_range(0, length)
        damaged = Bitfield()
        for start, end in expected.ranges(0, length):
            damaged.set_range(start, end)
        for good in (self._right, self._tree.unreachable):
            for start, end in good.ranges(0, length):
                damaged.clear_range(start, end)
        return damaged

    def _compare(self, run: list[Leaf]) -> None:
        wrong = {leaf.block_index for leaf in self._wrong_of(run)}
        for leaf in run:
            if leaf.block_index not in wrong:
                self._right.set(leaf.block_index)
            elif self._claimed is not None or self._has_bytes(leaf):
                self._wrong.set(leaf.block_index)

    def _wrong_of(self, run: list[Leaf]) -> list[Leaf]:
        try:
            return wrong_blocks(self._data, run)
        except OSError:  # a bad sector, perhaps: the other blocks of the run are read all the same
            if len(run) == 1:
                return run
            middle = len(run) // 2
            return self._wrong_of(run[:middle]) + self._wrong_of(run[middle:])

    def _has_bytes(self, leaf: Leaf) -> bool:
        """Whether there is anything where a block should be, or a hole: it was never here."""
        if leaf.size > MAX_BLOCK_BYTES:
            return False
        try:
            data = self._data.pread(leaf.size, leaf.start)
        except OSError:
            return True
        return data.count(0) != len(data)
