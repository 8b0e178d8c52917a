"""The check of the blocks that an unclean stop has left in doubt: what is next, what came of it.

Nothing of the log is changed here but what is in doubt: what was found is for the log to take in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import BlockUnavailable
from protozorfs.log import seek
from protozorfs.log.check_steps import MAX_STEP_BLOCKS, CheckStep, wrong_or_unreadable
from protozorfs.log.checking import STEP_BYTES, Leaf
from protozorfs.log.held_log import Change, Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.log.bitfield import Bitfield
    from protozorfs.log.tree import TreeReader
    from protozorfs.store import PooledFile
    from protozorfs.types import TreeNode


class Next(NamedTuple):
    """What is to be looked at next: a step, and blocks `[start, end)` to which no way leads."""

    step: CheckStep
    unreachable: list[tuple[int, int]]


class Finding(NamedTuple):
    """A block that is not what counts of it: `is_here`, though not held; or held, but wrong."""

    leaf: Leaf
    is_here: bool


class DoubtCheck:
    """How far the check of one feed is.

    Attributes:
        blocks: those in doubt.
    """

    def __init__(self, blocks: Bitfield, nodes: TreeReader, data: PooledFile) -> None:
        self.blocks = blocks
        self._nodes = nodes
        self._data = data
        self._checked: list[tuple[int, int]] = []  # to be noted

    @property
    def has_progress(self) -> bool:
        """Something was checked that is not noted yet."""
        return bool(self._checked)

    def next(self, roots: tuple[TreeNode, ...], length: int, changes: int) -> Next | None:
        """What is to be looked at next of a tree; None if nothing is left. Raises OSError."""
        start = self.blocks.first_set(0, length)
        if start is None:
            return None
        end = min(self.blocks.first_unset(start), length)
        leaves: list[Leaf] = []
        unreachable: list[tuple[int, int]] = []
        at, size = start, 0
        while at < end and len(leaves) < MAX_STEP_BLOCKS and size < STEP_BYTES:
            known = known_leaves(self._nodes, roots, at, min(end, at + MAX_STEP_BLOCKS))
            for leaf in known:
                leaves.append(leaf)
                at, size = leaf.block_index + 1, size + leaf.size
                if size >= STEP_BYTES:
                    break
            if not known:
                unknown = seek.unknown_around(self._nodes, roots, at) or (at, at + 1)
                unreachable.append(unknown)
                at = min(end, unknown[1])
                if not leaves:
                    break
        return Next(CheckStep(self._data, start, at, leaves, changes), unreachable)

    def findings(self, step: CheckStep, held: Bitfield, changes: int) -> Iterator[Finding]:
        """What came of a step that has run, as far as it is so still; then `end` it.

        Each finding is to be taken in before the next is asked for.
        """
        has_changed = step.changes != changes
        for leaf in step.leaves:
            is_held, is_right = held.get(leaf.block_index), leaf.block_index not in step.wrong
            if is_held != is_right:
                if not is_right or has_changed:  # it may have come since, or gone
                    is_right = not wrong_or_unreadable(self._data, [leaf])
                if is_held != is_right:
                    yield Finding(leaf, is_here=is_right)

    def end(self, step: CheckStep) -> None:
        """The blocks of a step are not in doubt any more."""
        self.blocks.clear_range(step.start, step.end)
        if self._checked and self._checked[-1][1] == step.start:
            self._checked[-1] = (self._checked[-1][0], step.end)
        else:
            self._checked.append((step.start, step.end))

    def progress(self) -> Iterator[Note]:
        """What was checked, to be noted: a note counts as made when the next is asked for."""
        while self._checked:
            yield Note(Change.CHECKED, *self._checked[0])
            del self._checked[0]


def known_leaves(
    nodes: TreeReader, roots: tuple[TreeNode, ...], start: int, end: int
) -> list[Leaf]:
    """The leaves of blocks from `start` on, up to the first that is not known."""
    leaves: list[Leaf] = []
    try:
        at = seek.block_span(nodes, roots, start)[0]
    except BlockUnavailable:
        return leaves
    for block_index in range(start, end):
        leaf = nodes.node(2 * block_index)
        if leaf is None:
            break
        leaves.append(Leaf(block_index, at, leaf.size, leaf.hash))
        at += leaf.size
    return leaves
