"""The tree and the blocks of one feed are compared with its roots, in large reads."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from protozorfs.log.bitfield import Bitfield
from protozorfs.log.checking import STEP_BYTES
from protozorfs.log.content_check import BlockCheck, TreeCheck
from protozorfs.log.format import NODE_BYTES
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import create_owned, directory

if TYPE_CHECKING:
    from protozorfs.store.memory_files import MemoryFile
    from protozorfs.types import TreeNode

SMALL = [b"%d" % number * (number % 9) for number in range(100)]
LARGE = [bytes([number]) * 100_000 for number in range(1, 41)]
MOST = STEP_BYTES + 100_000  # that one step of these reads


class Written:
    """The files of a feed that was written, and its roots."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.files = MemoryFiles()
        log = create_owned(self.files)
        log.append(blocks)
        log.close()
        self.roots: tuple[TreeNode, ...] = log.roots
        self.starts = [sum(map(len, blocks[:number])) for number in range(len(blocks))]

    def file(self, name: str) -> MemoryFile:
        return self.files.open(f"{directory(self.files).path}/{name}")

    def tree(self, *, is_mended: bool = False) -> TreeCheck:
        return TreeCheck(self.file("tree"), self.file("data"), self.roots, is_mended=is_mended)

    def blocks(self, claimed: Bitfield | None, *, is_owned: bool) -> tuple[BlockCheck, list[int]]:
        """The check, and the bytes of each of its steps."""
        check = BlockCheck(self.file("data"), self.tree(), claimed, is_owned=is_owned)
        return check, [progress.byte_count for progress in check.check()]

    def spoil(self, name: str, offset: int) -> None:
        self.files.flip_bit(f"{directory(self.files).path}/{name}", 8 * offset)


def bits(*ranges: tuple[int, int]) -> Bitfield:
    found = Bitfield()
    for start, end in ranges:
        found.set_range(start, end)
    return found


def set_in(found: Bitfield) -> list[tuple[int, int]]:
    return list(found.ranges(0, 1000))


@pytest.mark.parametrize(
    ("first", "end"), [(0, None), (0, 1), (7, 8), (60, 70), (95, 100), (3, 97)]
)
def test_the_leaves_that_are_asked_for_come_in_order(first: int, end: int | None) -> None:
    written = Written(SMALL)
    check = written.tree()
    leaves = list(check.leaves(first, end))
    wanted = range(first, 100 if end is None else end)
    assert [leaf.block_index for leaf in leaves] == list(wanted)
    assert [leaf.start for leaf in leaves] == [written.starts[index] for index in wanted]
    assert [leaf.size for leaf in leaves] == [len(SMALL[index]) for index in wanted]
    assert check.length == 100
    assert not check.made_again.segments
    assert not check.unreachable.segments


@pytest.mark.parametrize("node", [0, 8, 63, 64, 65, 95, 131, 198, 195])
def test_a_wrong_node_is_made_again_from_others(node: int) -> None:
    written = Written(SMALL)
    written.spoil("tree", node * NODE_BYTES + 20)
    wrong = written.file("tree").pread(1 << 20, 0)
    check = written.tree()
    assert len(list(check.leaves())) == 100
    assert set_in(check.made_again) == [(node, node + 1)]
    assert not check.unreachable.segments
    assert written.file("tree").pread(1 << 20, 0) == wrong, "it only looks"
    mended = written.tree(is_mended=True)
    assert len(list(mended.leaves())) == 100
    assert written.file("tree").pread(1 << 20, 0) == Written(SMALL).file("tree").pread(1 << 20, 0)


def test_nodes_that_follow_from_nothing_are_erased_with_what_is_below_them() -> None:
    written = Written(SMALL)
    for node in (8, 10):  # the leaves of blocks 4 and 5, whose bytes are wrong as well
        written.spoil("tree", node * NODE_BYTES + 20)
    written.spoil("data", written.starts[4])
    written.spoil("data", written.starts[5])
    before = written.file("tree").pread(1 << 20, 0)
    check = written.tree()
    found = [leaf.block_index for leaf in check.leaves()]
    assert found == [index for index in range(100) if index not in (4, 5)]
    assert set_in(check.unreachable) == [(4, 6)]
    written.tree(is_mended=True).mend()
    after = written.file("tree").pread(1 << 20, 0)
    for node in range(199):
        content = after[node * NODE_BYTES : (node + 1) * NODE_BYTES]
        is_erased = node in (8, 10)
        expected = before[node * NODE_BYTES : (node + 1) * NODE_BYTES]
        assert content == (bytes(NODE_BYTES) if is_erased else expected)


def test_small_blocks_are_read_together() -> None:
    check, sizes = Written(SMALL).blocks(None, is_owned=True)
    assert sizes == [sum(map(len, SMALL))]
    assert not check.damaged().segments


def test_large_blocks_are_read_in_steps() -> None:
    check, sizes = Written(LARGE).blocks(None, is_owned=True)
    assert sum(sizes) == 4_000_000
    assert all(STEP_BYTES <= size < MOST for size in sizes[:-1])
    assert len(sizes) > 2
    assert not check.damaged().segments


def test_every_wrong_block_of_an_owner_is_damage() -> None:
    written = Written(SMALL)
    for block in (1, 50, 98):
        written.spoil("data", written.starts[block])
    check, _ = written.blocks(None, is_owned=True)
    assert set_in(check.damaged()) == [(1, 2), (50, 51), (98, 99)]


def test_only_what_is_claimed_of_a_follower_is_damage() -> None:
    written = Written(SMALL)
    for block in (1, 50, 98):
        written.spoil("data", written.starts[block])
    check, sizes = written.blocks(bits((40, 60), (90, 96)), is_owned=False)
    assert set_in(check.damaged()) == [(50, 51)]
    assert sizes == [sum(map(len, [*SMALL[40:60], *SMALL[90:96]]))]


def test_where_nothing_is_claimed_a_hole_is_no_damage() -> None:
    written = Written(SMALL)
    written.file("data").pwrite(bytes(len(SMALL[50])), written.starts[50])
    written.spoil("data", written.starts[60])
    check, _ = written.blocks(None, is_owned=False)
    assert set_in(check.damaged()) == [(60, 61)]
    check, _ = written.blocks(bits((0, 100)), is_owned=False)
    assert set_in(check.damaged()) == [(50, 51), (60, 61)]


def test_a_sector_that_cannot_be_read_takes_its_blocks_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = Written(SMALL)
    bad = written.starts[70] + 3
    data = written.file("data")
    pread = data.pread

    def read(size: int, offset: int) -> bytes:
        if offset <= bad < offset + size:
            raise OSError(errno.EIO, "bad sector")
        return pread(size, offset)

    monkeypatch.setattr(data, "pread", read)
    for claimed, is_owned in ((None, True), (None, False), (bits((0, 100)), False)):
        check = BlockCheck(data, written.tree(), claimed, is_owned=is_owned)
        list(check.check())
        assert set_in(check.damaged()) == [(70, 71)]
