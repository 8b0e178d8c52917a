from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protozorfs.errors import StoreFull
from protozorfs.log.node_store import MAX_CACHED_PAGES, PAGE_NODES, NodeStore
from protozorfs.log.sums import SumFile
from protozorfs.store import MemoryFiles
from protozorfs.types import TreeHash, TreeIndex, TreeNode

if TYPE_CHECKING:
    from protozorfs.store import File
    from protozorfs.store.memory_files import MemoryFile


def stored_in(file: File) -> NodeStore:
    """Nothing is trusted: the blocks and the sums do not matter."""
    return NodeStore(file, file, SumFile(file, bytes(16), least=0))


def node(index: int, size: int = 5) -> TreeNode:
    return TreeNode(TreeIndex(index), size, TreeHash((index + 1).to_bytes(4, "big") * 8))


def make() -> tuple[MemoryFiles, MemoryFile, NodeStore]:
    files = MemoryFiles()
    file = files.open("tree", create=True)
    return files, file, stored_in(file)


def test_nodes_of_one_page_are_one_write() -> None:
    files, file, store = make()
    before = files.operations
    store.put([node(index) for index in (4, 3, 7, 50, 6)])
    assert store.node(3) == node(3)
    assert store.node(5) is None
    assert files.operations == before
    store.flush()
    store.flush()
    assert files.operations == before + 1
    assert stored_in(file).node(50) == node(50)
    assert stored_in(file).node(5) is None


def test_an_erasure_is_not_taken_back_with_what_came_after_it() -> None:
    _, file, store = make()
    store.put([node(1), node(3), node(500)])
    store.flush()
    store.commit()
    store.erase(2, 4)
    store.flush()  # its sync then fails for want of space, and it is not committed
    store.forget_pages()
    store.put([node(501)])
    store.discard()
    store.flush()
    assert [stored_in(file).node(index) for index in (1, 3, 501)] == [node(1), None, None]


def test_what_is_discarded_was_never_there() -> None:
    files, file, store = make()
    store.put([node(1), node(500)])
    store.flush()
    store.commit()
    store.put([node(2), node(1, size=9)])
    store.discard()
    assert store.node(1) == node(1)
    assert store.node(2) is None
    store.put([node(2), node(501)])
    files.fail_at(files.operations + 1, "full")
    with pytest.raises(StoreFull):
        store.flush()
    store.discard()
    for present in (store, stored_in(file)):
        assert present.node(1) == node(1)
        assert present.node(500) == node(500)
    assert store.node(2) is None
    assert store.node(501) is None
    assert stored_in(file).node(501) not in (None, node(501))  # torn
    files.fail_at(None)
    store.put([node(700)])
    store.discard()
    store.flush()
    assert stored_in(file).node(501) is None  # the old content was written over it
    assert stored_in(file).node(700) is None


def test_what_was_flushed_can_still_be_taken_back_until_the_commit() -> None:
    _, file, store = make()
    store.put([node(4)])
    store.flush()
    for number in range(1, 2 * MAX_CACHED_PAGES):  # the page leaves the cache
        store.node(number * PAGE_NODES)
    store.discard()
    assert store.node(4) is None
    store.flush()
    store.commit()
    assert stored_in(file).node(4) is None


def test_the_cache_is_bounded_but_for_what_waits_to_be_written() -> None:
    _, _, store = make()
    for page in range(3 * MAX_CACHED_PAGES):
        store.put([node(page * PAGE_NODES)])
    assert store.dirty_pages == 3 * MAX_CACHED_PAGES
    store.forget_pages()
    assert all(store.node(page * PAGE_NODES) for page in range(3 * MAX_CACHED_PAGES))
    store.flush()
    store.forget_pages()
    for page in range(3 * MAX_CACHED_PAGES):
        assert store.node(page * PAGE_NODES) == node(page * PAGE_NODES)
    assert len(store._pages) <= MAX_CACHED_PAGES


def test_the_cache_shrinks_again_after_many_pages_were_dirty_at_once() -> None:
    """Pages of one large change do not stay in memory as long as the feed is in use."""
    _, _, store = make()
    store.put([node(number * PAGE_NODES) for number in range(3 * MAX_CACHED_PAGES)])
    store.flush()
    store.commit()
    store.node(3 * MAX_CACHED_PAGES * PAGE_NODES)
    assert len(store._pages) <= MAX_CACHED_PAGES


def test_a_node_far_away_takes_no_space_between() -> None:
    _, file, store = make()
    store.put([node(3), node(100_000)])
    store.flush()
    assert store.erase(4, 100_000) is False
    store.flush()
    assert store.node(3) == node(3)
    assert store.node(100_000) == node(100_000)
    assert file.allocated_bytes() < 100_000


@settings(max_examples=80)
@given(
    indexes=st.sets(st.integers(0, 700), max_size=60),
    start=st.integers(0, 700),
    count=st.integers(0, 700),
    is_flushed=st.booleans(),
)
def test_erasing_takes_the_range_and_nothing_else(
    indexes: set[int], start: int, count: int, is_flushed: bool
) -> None:
    _, file, store = make()
    store.put(map(node, sorted(indexes)))
    if is_flushed:
        store.flush()
    store.erase(start, start + count)
    left = indexes - set(range(start, start + count))
    assert {index for index in range(701) if store.node(index)} == left
    store.flush()
    assert {index for index in range(701) if stored_in(file).node(index)} == left


def test_cutting_the_file_drops_what_is_behind() -> None:
    _, file, store = make()
    store.put([node(index) for index in range(300)])
    assert store.truncate(300) is False  # nothing written is that long
    store.flush()
    assert store.truncate(250) is True
    assert store.node(249) == node(249)
    assert store.node(250) is None
    assert file.size() == 250 * 40
