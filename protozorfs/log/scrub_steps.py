"""Reading again what is held, in steps: what may be done in another thread.

Nothing is believed that this run or an earlier one has found out: the nodes of the tree are read
from the file and compared with the roots, the blocks with their leaves. What does not fit is a
suspicion only, since the feed goes on changing meanwhile: its log looks at it once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protozorfs.log import flat_tree
from protozorfs.log.check_steps import wrong_or_unreadable
from protozorfs.log.checking import STEP_BYTES, Leaf
from protozorfs.log.content_check import TreeCheck
from protozorfs.log.node_store import PAGE_NODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protozorfs.store import File, PooledFile
    from protozorfs.types import TreeNode


class ScrubStep:
    """Some blocks that were held when this was made, in order.

    Attributes:
        end: the block behind those that were looked at, once `run` has returned.
        size: their bytes.
        wrong: blocks that are not what was written, or to which no right way leads.
        pages: of the tree, with nodes that are not what they must be, or on the way to such blocks.
    """

    def __init__(
        self,
        data: PooledFile,
        tree: PooledFile,
        roots: tuple[TreeNode, ...],
        held: Sequence[tuple[int, int]],
    ) -> None:
        """`held`: ranges of blocks, at least one."""
        self.end = held[-1][1]
        self.size = 0
        self.wrong: frozenset[int] = frozenset()
        self.pages: frozenset[int] = frozenset()
        self._roots = roots
        self._held = {block for start, end in held for block in range(start, end)}
        self._first = held[0][0]
        self._pinned: list[PooledFile] = []
        self._files: list[File] = []
        try:
            for file in (data, tree):
                self._files.append(file.pin())
                self._pinned.append(file)
        except BaseException:
            self.release()
            raise

    def run(self) -> None:
        """Looks at as many of the blocks as one step takes; for any thread.

        Raises:
            OSError: the tree cannot be read.
        """
        data, tree_file = self._files
        tree = TreeCheck(tree_file, data, self._roots)
        leaves: list[Leaf] = []
        for leaf in tree.leaves(self._first, self.end):
            if leaf.block_index in self._held:
                leaves.append(leaf)
                self.size += leaf.size
            if self.size >= STEP_BYTES:
                self.end = leaf.block_index + 1
                break
        wrong = {leaf.block_index for leaf in wrong_or_unreadable(data, leaves)}
        known = {leaf.block_index for leaf in leaves}
        unreachable = {block for block in self._held if block < self.end} - known
        pages = {
            number
            for start, end in tree.made_again.ranges(0, 2 * tree.length)
            for number in range(start // PAGE_NODES, (end - 1) // PAGE_NODES + 1)
        }
        self.wrong = frozenset(wrong | unreachable)
        self.pages = frozenset(pages | self._pages_on_the_way_to(unreachable))

    def _pages_on_the_way_to(self, blocks: set[int]) -> set[int]:
        roots = {root.tree_index for root in self._roots}
        seen: set[int] = set(roots)
        for block in blocks:
            index = 2 * block
            while index not in seen:
                seen |= {index, flat_tree.sibling(index)}
                index = flat_tree.parent(index)
        return {index // PAGE_NODES for index in seen} if blocks else set()

    def release(self) -> None:
        """Lets the files be closed again, in the feed's thread. A second call does nothing."""
        pinned, self._pinned = self._pinned, []
        for file in pinned:
            file.unpin()
