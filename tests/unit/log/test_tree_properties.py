"""Trees and offsets against naive models; readers in any order end with the same tree."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.errors import BlockUnavailable, InvalidProof, LocalProtocolError, UnanchoredProof
from protozorfs.log import flat_tree, hashing
from protozorfs.log.changeset import append_blocks
from protozorfs.log.proof_types import BlockRequest, HashRequest, Request, UpgradeRequest
from protozorfs.log.prove import hint, promised_by
from protozorfs.log.seek import (
    Located,
    Unknown,
    block_span,
    guess_block,
    locate,
)
from protozorfs.log.tree import TreeState, roots_of
from tests.unit.log.log_tools import KEY_PAIR, Nodes, Writer, empty_state, upgraded_reader
from tests.unit.log.seeking import first_request, next_request

BLOCK_LISTS = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


def seeded_blocks(seed: int, count: int) -> list[bytes]:
    """Blocks of 0 to 60 bytes, some empty, and a few of 3000."""
    dice = random.Random(seed)
    sizes = dice.choices([0, 1, dice.randrange(60), dice.randrange(60), 3000], k=count)
    return [dice.randbytes(size) for size in sizes]


def naive_node(blocks: list[bytes]) -> tuple[int, bytes]:
    """Size and hash of the full tree over 2**n blocks, by recursion."""
    if len(blocks) == 1:
        size = len(blocks[0])
        data = b"\0" + size.to_bytes(8, "little") + blocks[0]
    else:
        left_size, left_hash = naive_node(blocks[: len(blocks) // 2])
        right_size, right_hash = naive_node(blocks[len(blocks) // 2 :])
        size = left_size + right_size
        data = b"\1" + size.to_bytes(8, "little") + left_hash + right_hash
    return size, hashlib.blake2b(data, digest_size=32).digest()


def naive_roots(blocks: list[bytes]) -> list[tuple[int, int, bytes]]:
    """(tree index, size, hash) of the peaks: the widest power of two first, then the rest."""
    roots, at = [], 0
    while at < len(blocks):
        width = 1
        while at + 2 * width <= len(blocks):
            width *= 2
        roots.append((2 * at + width - 1, *naive_node(blocks[at : at + width])))
        at += width
    return roots


def check_against_naive(state: TreeState, blocks: list[bytes]) -> None:
    expected = naive_roots(blocks)
    assert [tuple(root) for root in state.roots] == expected
    data = b"\2" + b"".join(
        digest + index.to_bytes(8, "little") + size.to_bytes(8, "little")
        for index, size, digest in expected
    )
    assert hashing.tree_hash(state.roots) == hashlib.blake2b(data, digest_size=32).digest()
    assert state.byte_length == sum(map(len, blocks))


def test_the_tree_of_every_length_to_300_is_the_recursive_one() -> None:
    blocks = seeded_blocks(1, 300)
    state = empty_state()
    nodes = Nodes()
    for length in range(301):
        check_against_naive(state, blocks[:length])
        assert roots_of(nodes, length) == state.roots
        change = append_blocks(state, blocks[length : length + 1])
        nodes.add(change.new_nodes)
        state = state._replace(length=change.length, roots=change.roots)
    assert roots_of(Nodes(), 3) is None


@given(st.integers(0, 2**32), st.integers(300, 1500), st.integers(0, 300))
@settings(max_examples=15, deadline=None)
def test_the_tree_of_larger_lengths(seed: int, length: int, cut: int) -> None:
    blocks = seeded_blocks(seed, length)
    first = append_blocks(empty_state(), blocks[:cut])
    middle = TreeState(KEY_PAIR.public_key, 0, first.length, first.roots)
    second = append_blocks(middle, iter(blocks[cut:]))
    check_against_naive(middle._replace(length=length, roots=second.roots), blocks)
    assert second.byte_length == sum(map(len, blocks))
    # Every node is made once, and there are as many as the tree has.
    made = [node.tree_index for node in first.new_nodes + second.new_nodes]
    assert len(set(made)) == len(made) == 2 * length - len(second.roots)


@given(st.integers(0, 2**53), st.integers(1, 2**53))
def test_numbering(index: int, length: int) -> None:
    depth, offset = flat_tree.depth(index), flat_tree.offset(index)
    assert flat_tree.node(depth, offset) == index
    parent = flat_tree.parent(index)
    assert parent == flat_tree.node(depth + 1, offset >> 1)
    assert sorted((index, flat_tree.sibling(index))) == list(flat_tree.children(parent))
    assert flat_tree.right_span(index) - flat_tree.left_span(index) == 2 * 2**depth - 2
    assert flat_tree.leaf_count(index) == 2**depth
    peaks = flat_tree.peaks(length)
    assert [flat_tree.left_span(peak) for peak in peaks] == [
        0,
        *(flat_tree.right_span(peak) + 2 for peak in peaks[:-1]),
    ]
    assert flat_tree.right_span(peaks[-1]) == 2 * length - 2
    if flat_tree.exists(index, length):
        assert flat_tree.contains(flat_tree.peak_above(index, length), index)
    else:
        with pytest.raises(ValueError, match="is not in a tree"):
            flat_tree.peak_above(index, length)


def test_a_leaf_has_no_children() -> None:
    with pytest.raises(ValueError, match="leaf"):
        flat_tree.children(4)


@given(BLOCK_LISTS, st.data())
@settings(max_examples=60, deadline=None)
def test_every_kind_of_request_is_answered_and_verifies(
    blocks: list[bytes], data: st.DataObject
) -> None:
    writer = Writer(blocks)
    length = len(blocks)
    start = data.draw(st.integers(0, length - 1), label="start")
    end = data.draw(st.integers(start + 1, length), label="end")
    target = data.draw(st.integers(0, end - 1), label="target")
    reader = upgraded_reader(writer, start)
    requests = [
        Request(upgrade=UpgradeRequest(start, end - start)),
        Request(
            block=BlockRequest(target, hint(reader.nodes, start, target)),
            upgrade=UpgradeRequest(start, end - start),
        ),
        Request(
            hash=HashRequest(2 * target, hint(reader.nodes, start, target)),
            upgrade=UpgradeRequest(start, end - start),
        ),
    ]
    verified = reader.fetch(writer, data.draw(st.sampled_from(requests), label="request"))
    assert verified.head == writer.head
    assert reader.state == writer.state
    reader.fetch(writer, Request(block=BlockRequest(target, hint(reader.nodes, length, target))))
    assert reader.blocks == {target: blocks[target]}
    assert reader.nodes.items() <= writer.nodes.items()


@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_blocks_in_any_order_with_promised_hints(seed: int, length: int, in_flight: int) -> None:
    writer = Writer(seeded_blocks(seed, length))
    reader = upgraded_reader(writer)
    dice = random.Random(seed)
    order = dice.sample(range(length), length)
    while order:
        asked, order = order[:in_flight], order[in_flight:]
        promised: set[int] = set()
        requests = []
        for block_index in asked:
            levels = hint(reader.nodes, length, block_index, promised)
            promised.update(promised_by(block_index, levels))
            requests.append(Request(block=BlockRequest(block_index, levels)))
        before = set(reader.nodes)
        for request in requests:
            reader.fetch(writer, request)
        assert set(reader.nodes) - before == promised - before
        for block_index in asked:
            self_span = block_span(reader.nodes, reader.state.roots, block_index)
            start = sum(map(len, writer.blocks[:block_index]))
            assert self_span == (start, start + len(writer.blocks[block_index]))
    assert reader.nodes == writer.nodes
    assert [reader.blocks[i] for i in range(length)] == writer.blocks


def test_a_promise_that_fails_is_told_from_a_bad_proof() -> None:
    writer = Writer(seeded_blocks(3, 16))
    reader = upgraded_reader(writer)
    first = hint(reader.nodes, 16, 4)
    second = hint(reader.nodes, 16, 5, promised_by(4, first))
    request = Request(block=BlockRequest(5, second))
    assert (first, second) == (4, 0)
    with pytest.raises(UnanchoredProof):
        reader.fetch(writer, request)
    # The same answer to a request that hoped for nothing is the peer's fault.
    proof = writer.prove(request)
    with pytest.raises(InvalidProof) as caught:
        reader.apply(Request(block=BlockRequest(5, first)), proof)
    assert not isinstance(caught.value, UnanchoredProof)
    reader.fetch(writer, Request(block=BlockRequest(4, first)))
    reader.apply(request, proof)
    assert reader.blocks[5] == writer.blocks[5]


def test_a_second_upgrade_in_flight_is_no_fault_of_the_peer() -> None:
    writer = Writer(seeded_blocks(3, 16))
    reader = upgraded_reader(writer, 4)
    request = Request(upgrade=UpgradeRequest(4, 12))
    proof = writer.prove(request)
    reader.apply(request, proof)
    with pytest.raises(UnanchoredProof):
        reader.apply(request, proof)


def test_hint_without_a_peak() -> None:
    assert hint(Nodes(), 4, 4) == 0
    with pytest.raises(LocalProtocolError):
        hint(Nodes(), 4, 3)


@given(st.integers(0, 2**32), st.integers(1, 120), st.data())
@settings(max_examples=40, deadline=None)
def test_from_a_byte_to_its_block_by_guesses(seed: int, length: int, data: st.DataObject) -> None:
    blocks = seeded_blocks(seed, length)
    writer = Writer([*blocks, b"x"])
    length, byte_length = writer.state.length, writer.head.byte_length
    byte_offset = data.draw(st.integers(0, byte_length - 1))
    reader = upgraded_reader(writer, 0)
    reader.fetch(writer, first_request(length, byte_length, byte_offset))
    depth = max(map(flat_tree.depth, flat_tree.peaks(length)))
    for _ in range(depth + 2):
        found = locate(reader.nodes, reader.state.roots, byte_offset)
        if isinstance(found, Located) and found.block_index in reader.blocks:
            break
        if isinstance(found, Unknown):
            guess = guess_block(found)
            assert found.first_block <= guess < found.first_block + found.block_count
            assert guess not in reader.blocks
        request = next_request(reader.nodes, reader.state.roots, length, byte_offset)
        reader.fetch(writer, request)
    assert isinstance(found, Located)
    assert found.start <= byte_offset < found.end
    inside = byte_offset - found.start
    joined = b"".join(writer.blocks)
    assert writer.blocks[found.block_index][inside] == joined[byte_offset]
    assert (found.start, found.end) == block_span(
        writer.nodes, writer.state.roots, found.block_index
    )


def test_bytes_and_blocks_beyond_the_feed() -> None:
    writer = Writer([b"abc", b"", b"de"])
    roots = writer.state.roots
    assert [locate(writer.nodes, roots, at) for at in (0, 2, 3, 4)] == [
        Located(0, 0, 3),
        Located(0, 0, 3),
        Located(2, 3, 5),
        Located(2, 3, 5),
    ]
    assert block_span(writer.nodes, roots, 1) == (3, 3)
    for call in (
        lambda: locate(writer.nodes, roots, 5),
        lambda: next_request(writer.nodes, roots, 3, 5),
        lambda: first_request(3, 5, 5),
    ):
        with pytest.raises(ValueError, match="beyond"):
            call()
    with pytest.raises(BlockUnavailable):
        block_span(writer.nodes, roots, 3)
    with pytest.raises(BlockUnavailable):
        block_span(upgraded_reader(writer).nodes, roots, 0)
