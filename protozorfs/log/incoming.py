"""Answers from peers, as a batch: verified in order, then written as few runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import InvalidProof
from protozorfs.log.tree import TreeState
from protozorfs.log.verify import verify_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from protozorfs.log.node_store import NodeStore
    from protozorfs.log.proof_types import Proof, Request
    from protozorfs.log.verify import VerifiedBlock
    from protozorfs.types import Head


PAGE_BYTES = 4096  # in which common file systems give out and take back the space of a file


class Applied(NamedTuple):
    """What one answer brought: a block that is held now, a newer head, or neither."""

    block_index: int | None
    new_head: Head | None


class VerifiedBatch(NamedTuple):
    """What the good answers of a batch prove together.

    Attributes:
        state: the tree after them.
        head: the newest head, if it changed.
        blocks: in the order in which they came.
        results: one per answer, or why it counts for nothing.
    """

    state: TreeState
    head: Head | None
    blocks: list[VerifiedBlock]
    results: list[Applied | InvalidProof]


class Run(NamedTuple):
    """Blocks that follow one another, [start, end), and their bytes from `offset` on."""

    start: int
    end: int
    offset: int
    values: list[bytes]

    @property
    def size(self) -> int:
        """Bytes; counted anew each time."""
        return sum(map(len, self.values))

    @property
    def allocated_bytes(self) -> int:
        """What the run takes on the disk if nothing is there yet: whole pages."""
        end = self.offset + self.size
        return -(-end // PAGE_BYTES) * PAGE_BYTES - self.offset // PAGE_BYTES * PAGE_BYTES


def verify_batch(
    state: TreeState, nodes: NodeStore, pairs: Iterable[tuple[Request, Proof]]
) -> VerifiedBatch:
    """Verifies answers one after another, each against the tree that those before it left.

    What they prove is put into `nodes`, where it waits for `flush`.
    """
    head: Head | None = None
    blocks: list[VerifiedBlock] = []
    results: list[Applied | InvalidProof] = []
    for request, proof in pairs:
        try:
            verified = verify_proof(state, nodes, request, proof)
        except InvalidProof as error:
            results.append(error)
            continue
        nodes.put(verified.nodes)
        if verified.head is not None and verified.roots is not None:
            head = verified.head
            state = TreeState(state.public_key, head.fork, head.length, verified.roots)
        index = None
        if verified.block is not None:
            index = verified.block.block_index
            blocks.append(verified.block)
        results.append(Applied(index, verified.head))
    return VerifiedBatch(state, head, blocks, results)


def runs_of(blocks: Iterable[VerifiedBlock], offset_of: Callable[[int], int]) -> Iterator[Run]:
    """Joins blocks that follow one another; `offset_of` is asked for the first of each run."""
    run: Run | None = None
    for index, value in blocks:
        if run is not None and index == run.end:
            run.values.append(value)
            run = run._replace(end=index + 1)
            continue
        if run is not None:
            yield run
        run = Run(index, index + 1, offset_of(index), [value])
    if run is not None:
        yield run
