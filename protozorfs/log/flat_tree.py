"""The numbering of tree nodes: leaf (block) i is node 2 * i, inner nodes are odd, between children.

Indexes, depths, offsets and lengths are non-negative; lengths count blocks. A node exists in a tree
of `length` blocks if `right_span(index) < 2 * length`. Source: the flat-tree package.
"""

from __future__ import annotations

from functools import lru_cache

# Peaks of that many recent lengths (0.3 MB) are kept: a feed asks for the same few again and again.
PEAKS_CACHE_LENGTHS = 512


def depth(index: int) -> int:
    """Levels above the leaves: the count of trailing one bits."""
    return (~index & (index + 1)).bit_length() - 1


def offset(index: int) -> int:
    """Position among the nodes of the same depth, from the left."""
    return index >> (depth(index) + 1)


def node(depth: int, offset: int) -> int:
    """The index of the node at a depth and offset."""
    return ((2 * offset + 1) << depth) - 1


def parent(index: int) -> int:
    """The node above."""
    level = (index + 1) & ~index  # 2 ** depth
    return (index | level) & ~(level << 1)


def sibling(index: int) -> int:
    """The other child of the same parent."""
    return index ^ (((index + 1) & ~index) << 1)


def children(index: int) -> tuple[int, int]:
    """The two nodes below an inner node.

    Raises:
        ValueError: the node is a leaf.
    """
    if index & 1 == 0:
        raise ValueError("a leaf has no children")
    half = ((index + 1) & ~index) >> 1
    return index - half, index + half


def left_span(index: int) -> int:
    """The first leaf below, as a tree index."""
    return index & (index + 1)


def right_span(index: int) -> int:
    """The last leaf below, as a tree index."""
    return index + ((index + 1) & ~index) - 1


def leaf_count(index: int) -> int:
    """How many blocks are below."""
    return (index + 1) & ~index


def contains(index: int, other: int) -> bool:
    """True if `other` is the node itself or below it."""
    span = ((index + 1) & ~index) - 1
    return index - span <= other <= index + span


def exists(index: int, length: int) -> bool:
    """True if the node is one of a tree of `length` blocks."""
    return right_span(index) < 2 * length


@lru_cache(maxsize=PEAKS_CACHE_LENGTHS)
def peaks(length: int) -> tuple[int, ...]:
    """The roots of a tree of `length` blocks, left to right: one for each set bit of the length."""
    found = []
    start = 0  # first leaf that no peak covers yet, as a tree index
    while length:
        width = 1 << (length.bit_length() - 1)
        found.append(start + width - 1)
        start += 2 * width
        length -= width
    return tuple(found)


def peak_above(index: int, length: int) -> int:
    """The peak of a tree of `length` blocks that is or covers the node.

    Raises:
        ValueError: the tree has no such node.
    """
    for peak in peaks(length):
        if index <= peak or index <= right_span(peak):
            if contains(peak, index):
                return peak
            break
    raise ValueError(f"node {index} is not in a tree of {length} blocks")


def climb(index: int, levels: int, length: int) -> tuple[list[int], int]:
    """The siblings on the way some levels up from a node, and the node that the way leads to.

    Raises:
        ValueError: it leads out of a tree of `length` blocks.
    """
    level = leaf_count(index)  # 2 ** depth of index
    beside = []
    for _ in range(levels):
        if index + level > 2 * length:
            break
        beside.append(index ^ (level << 1))
        index = (index | level) & ~(level << 1)
        level <<= 1
    if index + level > 2 * length:
        raise ValueError(f"node {index} is not in a tree of {length} blocks")
    return beside, index


def missing_peaks(start: int, end: int) -> list[int]:
    """Tree indexes that turn the peaks of `start` blocks into those of `end` blocks.

    They are in the order of an upgrade proof.
    """
    held = peaks(start)
    missing = []
    for peak in peaks(end):
        if peak in held:
            continue
        if held and contains(peak, held[-1]):
            index = held[-1]
            while index != peak:
                beside = sibling(index)
                if beside > index:  # those to the left are held
                    missing.append(beside)
                index = parent(index)
        else:
            missing.append(peak)
    return missing
