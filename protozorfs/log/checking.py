"""What an earlier run has left in the `data` file is checked before it is first used in this one.

Disks, controllers and memory change bits silently. What was appended or received in this run was
verified in it; all else is compared with the leaves of the tree before its first byte is shown to a
reader or a peer, in pieces of 64 KiB, so that the second reader of a piece pays nothing. A piece
whose sum is right (`sums`) needs no comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.log.bitfield import Bitfield
from protozorfs.log.hashing import leaf_hash
from protozorfs.log.sums import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from protozorfs.store import File
    from protozorfs.types import TreeHash

STEP_BYTES = 16 * PIECE_BYTES  # read and checked at one time
# Larger ones fit in no frame of the wire, and we make none. The size that a leaf claims may be that
# of a hole, as large as a file can be: who owns a followed feed signs what it likes.
MAX_BLOCK_BYTES = 2**24


class Leaf(NamedTuple):
    """What a block must be: `size` bytes of the feed from `start` on, of that hash."""

    block_index: int
    start: int
    size: int
    hash: TreeHash


class Unchecked:
    """The pieces of a feed's data in which there may be bytes that were not checked in this run."""

    def __init__(self, byte_length: int) -> None:
        """Nothing of the first `byte_length` bytes was."""
        self._pieces = Bitfield()
        self.add(0, byte_length)

    def __bool__(self) -> bool:
        return self._pieces.segments > 0

    def add(self, start: int, end: int) -> None:
        """Bytes `[start, end)` are in doubt."""
        self._pieces.set_range(start // PIECE_BYTES, -(-end // PIECE_BYTES))

    def discard(self, start: int, end: int) -> None:
        """Bytes `[start, end)` were verified: the pieces that are wholly among them are done."""
        self._pieces.clear_range(-(-start // PIECE_BYTES), end // PIECE_BYTES)

    def steps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges of whole pieces that `[start, end)` touches and that are to be checked, in bytes.

        None is longer than STEP_BYTES. What a step is about may be discarded before the next.
        """
        at, last = start // PIECE_BYTES, -(-end // PIECE_BYTES)
        while (first := self._pieces.first_set(at, last)) is not None:
            at = min(self._pieces.first_unset(first), last, first + STEP_BYTES // PIECE_BYTES)
            yield first * PIECE_BYTES, at * PIECE_BYTES


def wrong_blocks(
    file: File,
    leaves: Sequence[Leaf],
    verified: Callable[[int, memoryview], None] | None = None,
) -> list[Leaf]:
    """The blocks, given in their order, whose bytes in the file are not what their leaves say.

    What was found right is given to `verified`, as it was read: an offset, and all blocks that
    follow one another from there on. For any thread.
    """
    wrong = [leaf for leaf in leaves if leaf.size > MAX_BLOCK_BYTES]
    for run in _runs_of([leaf for leaf in leaves if leaf.size <= MAX_BLOCK_BYTES]):
        start = run[0].start
        data = memoryview(file.pread(run[-1].start + run[-1].size - start, start))
        wrong_here = [
            leaf
            for leaf in run
            if leaf_hash(data[leaf.start - start : leaf.start - start + leaf.size]) != leaf.hash
        ]
        if verified is not None:
            at = start
            for leaf in wrong_here:
                verified(at, data[at - start : leaf.start - start])
                at = leaf.start + leaf.size
            verified(at, data[at - start :])
        wrong += wrong_here
    return wrong


def _runs_of(leaves: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """Blocks that stand next to one another in the file, to be read at one time."""
    run: list[Leaf] = []
    end = size = 0
    for leaf in leaves:
        if run and (leaf.start != end or size + leaf.size > STEP_BYTES):
            yield run
            run, size = [], 0
        run.append(leaf)
        end = leaf.start + leaf.size
        size += leaf.size
    if run:
        yield run
