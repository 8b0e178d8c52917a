"""Which nodes answer a request, in small trees that can be drawn by hand."""

from __future__ import annotations

import pytest

from protozorfs.errors import BlockUnavailable, InvalidRequest, LocalProtocolError, ProofUnavailable
from protozorfs.log.proof_types import (
    BlockRequest,
    HashRequest,
    Request,
    SeekRequest,
    UpgradeRequest,
)
from protozorfs.log.prove import hint, make_proof, promised_by
from tests.unit.log.log_tools import Nodes, Writer

# Blocks of 1 to 8 bytes; block i begins at byte i * (i + 1) / 2, and ends before the next.
BLOCKS = [b"x" * (number + 1) for number in range(8)]
WRITER = Writer(BLOCKS)
SEVEN = Writer(BLOCKS[:7])  # its peaks are 3, 9 and 12


def indexes(nodes: object) -> list[int]:
    assert isinstance(nodes, tuple)
    return [node.tree_index for node in nodes]


@pytest.mark.parametrize(
    ("block", "levels", "path"),
    [
        (0, 0, []),
        (0, 1, [2]),
        (0, 3, [2, 5, 11]),
        (5, 3, [8, 13, 3]),
        (6, 2, [14, 9]),
        (7, 3, [12, 9, 3]),
    ],
)
def test_a_block_comes_with_the_siblings_on_its_way(
    block: int, levels: int, path: list[int]
) -> None:
    proof = WRITER.prove(Request(block=BlockRequest(block, levels)))
    assert proof.block is not None
    assert proof.block.value == BLOCKS[block]
    assert indexes(proof.block.nodes) == path
    assert proof[2:] == (None, None, None)


@pytest.mark.parametrize(
    ("index", "levels", "path"), [(5, 0, [5]), (5, 2, [5, 1, 11]), (13, 2, [13, 9, 3])]
)
def test_a_node_comes_before_the_siblings_on_its_way(
    index: int, levels: int, path: list[int]
) -> None:
    proof = WRITER.prove(Request(hash=HashRequest(index, levels)))
    assert proof.hash is not None
    assert proof.hash.tree_index == index
    assert indexes(proof.hash.nodes) == path


def test_a_seek_to_where_a_node_begins_needs_no_part_of_its_own() -> None:
    proof = WRITER.prove(Request(hash=HashRequest(11, 1), seek=SeekRequest(10, 0)))
    assert proof.hash is not None
    assert proof.seek is None
    assert indexes(proof.hash.nodes) == [11, 3]


@pytest.mark.parametrize(
    ("offset", "seek"),
    [(15, [8, 10, 13]), (12, [8, 10, 13]), (20, [10, 8, 13]), (21, [9, 13]), (30, [14, 12, 9])],
)
def test_a_seek_beside_the_way_of_a_block_leads_to_where_its_byte_falls(
    offset: int, seek: list[int]
) -> None:
    proof = WRITER.prove(Request(block=BlockRequest(0, 3), seek=SeekRequest(offset, 0)))
    assert proof.block is not None
    assert indexes(proof.block.nodes) == [2, 5]
    assert proof.seek is not None
    assert proof.seek.byte_offset == offset
    assert indexes(proof.seek.nodes) == seek


@pytest.mark.parametrize(("offset", "seek"), [(15, [8, 10]), (12, [8, 10]), (16, [10, 8])])
def test_a_seek_in_the_right_half_is_counted_from_where_that_begins(
    offset: int, seek: list[int]
) -> None:
    """The way of block 7 leads to node 11, which begins at byte 10."""
    proof = WRITER.prove(Request(block=BlockRequest(7, 2), seek=SeekRequest(offset, 0)))
    assert proof.block is not None
    assert proof.seek is not None
    assert indexes(proof.block.nodes) == [12]
    assert indexes(proof.seek.nodes) == seek


@pytest.mark.parametrize(("block", "offset"), [(0, 2), (4, 16), (2, 7)])
def test_a_seek_to_a_sibling_on_the_way_needs_no_part_of_its_own(block: int, offset: int) -> None:
    proof = WRITER.prove(Request(block=BlockRequest(block, 1), seek=SeekRequest(offset, 0)))
    assert proof.block is not None
    assert indexes(proof.block.nodes) == [2 * block + 2]
    assert proof.seek is None


@pytest.mark.parametrize(("padding", "seek"), [(0, [4, 6, 1]), (1, [6, 4, 1])])
def test_padding_is_not_counted_of_any_block(padding: int, seek: list[int]) -> None:
    """Byte 4 of blocks of 1, 2, 3 and 4 bytes, or of 0, 1, 2 and 3 without the padding."""
    proof = SEVEN.prove(Request(seek=SeekRequest(4, padding), upgrade=UpgradeRequest(0, 7)))
    assert proof.seek is not None
    assert indexes(proof.seek.nodes) == seek


@pytest.mark.parametrize("offset", [9, 36, 100])
def test_a_seek_beside_the_node_is_refused(offset: int) -> None:
    with pytest.raises(InvalidRequest, match="not below"):
        WRITER.prove(Request(block=BlockRequest(7, 2), seek=SeekRequest(offset, 0)))


@pytest.mark.parametrize(
    ("start", "length", "nodes", "additional"),
    [
        (0, 7, [3, 9, 12], []),
        (0, 4, [3], [9, 12]),
        (4, 3, [9, 12], []),
        (1, 3, [2, 5], [9, 12]),
        (5, 2, [10, 12], []),
        (6, 1, [12], []),
    ],
)
def test_an_upgrade_comes_with_the_nodes_that_are_missing(
    start: int, length: int, nodes: list[int], additional: list[int]
) -> None:
    upgrade = SEVEN.prove(Request(upgrade=UpgradeRequest(start, length))).upgrade
    assert upgrade is not None
    assert (upgrade.start, upgrade.length) == (start, length)
    assert upgrade.signature == SEVEN.head.signature
    assert indexes(upgrade.nodes) == nodes
    assert indexes(upgrade.additional_nodes) == additional


def test_a_block_of_the_new_part_takes_the_place_of_the_nodes_above_it() -> None:
    proof = SEVEN.prove(Request(block=BlockRequest(4, 0), upgrade=UpgradeRequest(0, 7)))
    assert proof.block is not None
    assert proof.upgrade is not None
    assert indexes(proof.block.nodes) == [10]
    assert indexes(proof.upgrade.nodes) == [3, 12]


def test_a_node_of_the_new_part_takes_the_place_of_the_nodes_above_it() -> None:
    proof = SEVEN.prove(Request(hash=HashRequest(5, 0), upgrade=UpgradeRequest(0, 7)))
    assert proof.hash is not None
    assert proof.upgrade is not None
    assert indexes(proof.hash.nodes) == [5, 1]
    assert indexes(proof.upgrade.nodes) == [9, 12]


def test_a_block_of_the_old_part_has_its_own_way_beside_an_upgrade() -> None:
    proof = SEVEN.prove(Request(block=BlockRequest(1, 2), upgrade=UpgradeRequest(4, 3)))
    assert proof.block is not None
    assert proof.upgrade is not None
    assert indexes(proof.block.nodes) == [0, 5]
    assert indexes(proof.upgrade.nodes) == [9, 12]


@pytest.mark.parametrize(
    ("offset", "seek", "nodes"),
    [(1, [0, 2, 5], [9, 12]), (4, [4, 6, 1], [9, 12]), (16, [10, 8], [3, 12]), (22, [12], [3, 9])],
)
def test_a_seek_of_an_upgrade_leads_down_from_its_roots(
    offset: int, seek: list[int], nodes: list[int]
) -> None:
    request = Request(seek=SeekRequest(offset, 0), upgrade=UpgradeRequest(0, 7))
    proof = SEVEN.prove(request)
    assert proof.seek is not None
    assert proof.upgrade is not None
    assert indexes(proof.seek.nodes) == seek
    assert indexes(proof.upgrade.nodes) == nodes


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(upgrade=UpgradeRequest(3, 0)), "to nothing"),
        (Request(upgrade=UpgradeRequest(5, 3)), "beyond the own length"),
        (Request(), "neither a node nor an upgrade"),
        (Request(seek=SeekRequest(3, 0)), "neither a node nor an upgrade"),
        (Request(BlockRequest(6, 0), None, None, UpgradeRequest(0, 5)), "beyond the end"),
        (Request(BlockRequest(5, 0), None, SeekRequest(3, 0), UpgradeRequest(4, 3)), "new part"),
        (Request(BlockRequest(1, 0), HashRequest(1, 0)), "a block and a hash"),
        (Request(hash=HashRequest(7, 0)), "node 7 is not in a tree"),
    ],
)
def test_what_cannot_be_proved_is_refused(request_: Request, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        SEVEN.prove(request_)


def test_nodes_and_blocks_that_a_relay_lacks_are_told_apart() -> None:
    nodes = Nodes(node for node in SEVEN.nodes.values() if node.tree_index != 10)

    def proof_of(block: int) -> object:
        request = Request(block=BlockRequest(block, 1))
        return make_proof(nodes, 7, 0, b"", request, lambda index: b"x" if index < 6 else None)

    with pytest.raises(ProofUnavailable, match="tree node 10"):
        proof_of(4)
    with pytest.raises(BlockUnavailable, match="block 6"):
        proof_of(6)


def test_a_relay_answers_a_seek_with_the_node_above_what_it_lacks() -> None:
    nodes = Nodes(node for node in SEVEN.nodes.values() if node.tree_index not in (4, 6))
    request = Request(seek=SeekRequest(4, 0), upgrade=UpgradeRequest(0, 7))
    proof = make_proof(nodes, 7, 0, b"", request, lambda _: None)
    assert proof.seek is not None
    assert indexes(proof.seek.nodes) == [5, 1]


@pytest.mark.parametrize(
    ("stored", "block", "levels"),
    [([7], 0, 3), ([3, 7], 0, 2), ([0], 0, 0), ([1], 1, 1), ([13, 11], 6, 1), ([11], 6, 2)],
)
def test_the_hint_is_how_far_up_a_node_is_stored(
    stored: list[int], block: int, levels: int
) -> None:
    nodes = Nodes(WRITER.nodes[index] for index in stored)
    assert hint(nodes, 8, block) == levels
    assert hint(Nodes(), 8, block, frozenset(stored)) == levels
    assert hint(nodes, 8, 8) == 0


def test_there_is_no_hint_without_a_peak() -> None:
    for block in (0, 5, 6):
        with pytest.raises(LocalProtocolError, match=f"no peak above block {block}"):
            hint(Nodes(), 7, block)


@pytest.mark.parametrize(
    ("block", "levels", "promised"),
    [(0, 0, []), (0, 2, [0, 2, 1, 5]), (5, 3, [10, 8, 9, 13, 11, 3])],
)
def test_what_an_answer_will_store_is_the_way_and_what_stands_beside_it(
    block: int, levels: int, promised: list[int]
) -> None:
    assert promised_by(block, levels) == promised
