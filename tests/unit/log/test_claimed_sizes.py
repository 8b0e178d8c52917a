"""What the owner of a followed feed signs can be any size: no check takes memory or time by it."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from protozorfs.log.checking import MAX_BLOCK_BYTES
from protozorfs.log.feed import Log
from protozorfs.log.hashing import leaf_node, parent_node, sign_head
from protozorfs.log.proof_types import (
    BlockProof,
    BlockRequest,
    Proof,
    Request,
    UpgradeProof,
    UpgradeRequest,
)
from protozorfs.store import FeedDirectory, FilePool
from protozorfs.store.files import RealFiles
from protozorfs.types import TreeHash, TreeIndex, TreeNode
from tests.unit.log.feed_tools import FEED_ID, PAIR

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = b"behind a hole\n"
HOLE_BYTES = 2**40  # what the block before it claims to have


def test_a_block_that_claims_to_be_a_terabyte_is_not_looked_for_after_a_kill(
    tmp_path: Path,
) -> None:
    directory = FeedDirectory(FilePool(RealFiles(tmp_path)), FEED_ID)
    log = Log.create(directory)
    claimed = TreeNode(TreeIndex(0), HOLE_BYTES, TreeHash(bytes(range(32))))
    root = parent_node(claimed, leaf_node(1, BLOCK))
    head = sign_head([root], 2, 0, PAIR.secret_key)
    upgrade = UpgradeProof(0, 2, (root,), (), head.signature)
    log.apply(Request(upgrade=UpgradeRequest(0, 2)), Proof(0, upgrade=upgrade))
    block = BlockProof(1, BLOCK, (claimed,))
    log.apply(Request(block=BlockRequest(1, 1)), Proof(0, block=block))

    tracemalloc.start()  # it is not closed: as after a kill
    again = Log.open(FeedDirectory(FilePool(RealFiles(tmp_path)), FEED_ID))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MAX_BLOCK_BYTES
    assert (again.length, again.byte_length) == (2, HOLE_BYTES + len(BLOCK))
    assert list(again.held.ranges(0, 2)) == [(1, 2)]
    assert again.read(HOLE_BYTES, 100) == BLOCK
