"""The responder's side of proofs: which nodes answer a request.

Source: hypercore lib/merkle-tree.js (`generateProof` and what it calls); the checks are made in the
same order, since the reason of a refusal follows from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from protozorfs.errors import (
    BlockUnavailable,
    InvalidRequest,
    LocalProtocolError,
    ProofUnavailable,
)
from protozorfs.log import flat_tree
from protozorfs.log.proof_types import BlockProof, HashProof, Proof, SeekProof, UpgradeProof

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from protozorfs.log.proof_types import Request, SeekRequest
    from protozorfs.log.tree import TreeReader
    from protozorfs.types import TreeNode


def make_proof(
    reader: TreeReader,
    length: int,
    fork: int,
    signature: bytes,
    request: Request,
    read_block: Callable[[int], bytes | None],
) -> Proof:
    """The answer to a request of this fork, from a tree of `length` blocks.

    Args:
        reader: the stored nodes; some may be missing (a relay).
        signature: the one of the head of `length`.
        read_block: the bytes of a block, or None if it is not held.

    Raises:
        BlockUnavailable: the block is not held (no-data, reason 1).
        InvalidRequest: there is no such proof (reason 2); `ProofUnavailable` if only because nodes
            are missing here.
    """
    value = b""
    if request.block is not None:
        held = read_block(request.block.block_index)
        if held is None:
            raise BlockUnavailable(f"block {request.block.block_index} is not held")
        value = held
    builder = _ProofBuilder(reader, length, request)
    if request.block is not None and request[1:] == (None, None, None):
        # The common case, and the one whose cost counts.
        builder.add_path()
    else:
        builder.add_all()
    return builder.finish(fork, value, signature)


class _Target(NamedTuple):
    """The node that a block or hash request is about."""

    tree_index: int
    hint: int  # levels up to a node that the requester holds
    is_hash: bool


class _ProofBuilder:
    """Collects the node lists of one answer."""

    def __init__(self, reader: TreeReader, length: int, request: Request) -> None:
        self._node = reader.node
        self._length = length
        self._request = request
        upgrade = request.upgrade
        self._start = upgrade.start if upgrade else 0
        self._end = upgrade.start + upgrade.length if upgrade else length
        self._target = _target_of(request)
        self._path: list[TreeNode] | None = None
        self._seek: list[TreeNode] | None = None
        self._upgrade: list[TreeNode] = []
        self._additional: list[TreeNode] = []

    def add_all(self) -> None:
        """Answers any mix of parts."""
        request = self._request
        if self._start >= self._end or self._end > self._length:
            raise InvalidRequest("an upgrade to nothing, or beyond the own length")
        if self._target is None and request.upgrade is None:
            raise InvalidRequest("neither a node nor an upgrade is asked for")
        in_new_part = (
            request.upgrade is not None
            and self._target is not None
            and flat_tree.right_span(self._target.tree_index) >= 2 * self._start
        )
        if in_new_part and request.seek is not None:
            raise InvalidRequest("a seek together with a node of the new part")
        if self._target is not None and not in_new_part:
            self.add_path()
        if request.upgrade is not None:
            self._add_upgrade()
        if self._target is not None and self._path is None:
            raise InvalidRequest("the node is beyond the end of the upgrade")

    def add_path(self) -> None:
        """Adds the siblings from the target up to where its hint leads, and the seek beside it."""
        target = self._target
        assert target is not None
        try:
            beside, top = flat_tree.climb(target.tree_index, target.hint, self._end)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        if self._request.seek is not None:
            seek_root = self._seek_below(top, self._request.seek)
            self._path = self._path_with_seek(target, beside, seek_root)
        else:
            self._path = self._stored_all(beside)
        if target.is_hash:
            self._path.insert(0, self._stored(target.tree_index))

    def _path_with_seek(self, target: _Target, beside: list[int], seek_root: int) -> list[TreeNode]:
        path = []
        for index in beside:
            # A seek that ends on the path, or exactly on a sibling, needs no part of its own.
            if index != seek_root and flat_tree.contains(index, seek_root):
                self._seek = [self._stored(seek_root), *self._siblings(seek_root, index)]
            else:
                path.append(self._stored(index))
        return path

    def _add_upgrade(self) -> None:
        target, seek = self._target, self._request.seek
        below = None  # a node whose own path takes the place of the entry above it
        if self._path is None and target is not None:
            below = target.tree_index
        elif self._path is None and seek is not None:
            below = self._seek_from_roots(seek)
        for index in flat_tree.missing_peaks(self._start, self._end):
            if below is None or not flat_tree.contains(index, below):
                self._upgrade.append(self._stored(index))
                continue
            path = self._siblings(below, index)
            if target is None:
                self._seek = [self._stored(below), *path]
            else:
                self._path = [self._stored(below), *path] if target.is_hash else path
        self._additional = self._stored_all(flat_tree.missing_peaks(self._end, self._length))

    def _seek_below(self, top: int, seek: SeekRequest) -> int:
        """The node below `top` where a byte of the feed falls."""
        start = self._byte_offset(top)
        if seek.byte_offset == start:
            return top
        if not start < seek.byte_offset < start + self._stored(top).size:
            raise InvalidRequest("the byte is not below the node")
        return self._descend(top, seek.byte_offset - start, seek.padding)

    def _seek_from_roots(self, seek: SeekRequest) -> int | None:
        """The node below the peaks of the upgrade's end; None if the byte is beyond them."""
        inside = seek.byte_offset
        for index in flat_tree.peaks(self._end):
            size = self._stored(index).size
            if inside == size:
                return index
            if inside < size:
                return self._descend(index, inside, seek.padding)
            inside -= size
        return None

    def _descend(self, index: int, inside: int, padding: int) -> int:
        """Goes down to the leaf, or to the left child that ends exactly at the byte."""
        while inside and index & 1:
            left_index, right_index = flat_tree.children(index)
            left = self._node(left_index)
            if left is None:  # a relay knows no better than the node above
                return index
            size = left.size - padding * flat_tree.leaf_count(left_index)
            if size == inside:
                return left_index
            if size > inside:
                index = left_index
            else:
                inside -= size
                index = right_index
        return index

    def _byte_offset(self, index: int) -> int:
        """The sum of the sizes of all blocks left of the node."""
        total = 0
        peak = flat_tree.peak_above(index, self._length)
        for left in flat_tree.peaks(self._length):
            if left == peak:
                break
            total += self._stored(left).size
        while index != peak:
            beside = flat_tree.sibling(index)
            if beside < index:
                total += self._stored(beside).size
            index = flat_tree.parent(index)
        return total

    def _siblings(self, index: int, top: int) -> list[TreeNode]:
        """The siblings on the way from a node up to `top`."""
        nodes = []
        while index != top:
            nodes.append(self._stored(flat_tree.sibling(index)))
            index = flat_tree.parent(index)
        return nodes

    def _stored(self, index: int) -> TreeNode:
        node = self._node(index)
        if node is None:
            raise ProofUnavailable(f"tree node {index} is not held")
        return node

    def _stored_all(self, indexes: list[int]) -> list[TreeNode]:
        return [self._stored(index) for index in indexes]

    def finish(self, fork: int, value: bytes, signature: bytes) -> Proof:
        """The answer; its parts are those of the request, but a seek may need none."""
        block, hash_, seek, upgrade = self._request
        path = tuple(self._path or ())
        return Proof(
            fork,
            None if block is None else BlockProof(block.block_index, value, path),
            None if hash_ is None else HashProof(hash_.tree_index, path),
            None
            if seek is None or self._seek is None
            else SeekProof(seek.byte_offset, tuple(self._seek)),
            None
            if upgrade is None
            else UpgradeProof(
                upgrade.start,
                upgrade.length,
                tuple(self._upgrade),
                tuple(self._additional),
                signature,
            ),
        )


def hint(
    reader: TreeReader, length: int, block_index: int, assume: Container[int] = frozenset()
) -> int:
    """Levels from a block's leaf up to a node that is stored; 0 beyond the own length.

    Args:
        assume: tree indexes that count as stored because answers that were asked for earlier bring
            them (`promised_by`). If such an answer fails, this one's proof is unanchored.

    Raises:
        LocalProtocolError: not even the peak is stored.
    """
    if block_index >= length:
        return 0
    index, level, levels = 2 * block_index, 1, 0  # level: 2 ** depth of index
    while index not in assume and reader.node(index) is None:
        index = (index | level) & ~(level << 1)
        level <<= 1
        levels += 1
        if index + level > 2 * length:
            raise LocalProtocolError(f"no peak above block {block_index} is stored")
    return levels


def promised_by(block_index: int, nodes: int) -> list[int]:
    """Tree indexes that the answer to `BlockRequest(block_index, nodes)` will store."""
    index, level = 2 * block_index, 1
    promised: list[int] = []
    for _ in range(nodes):
        promised += (index, index ^ (level << 1))
        index = (index | level) & ~(level << 1)
        level <<= 1
    return promised


def _target_of(request: Request) -> _Target | None:
    if request.block is not None:
        if request.hash is not None:
            raise InvalidRequest("a block and a hash in one request")
        return _Target(2 * request.block.block_index, request.block.nodes, False)
    if request.hash is not None:
        return _Target(request.hash.tree_index, request.hash.nodes, True)
    return None
