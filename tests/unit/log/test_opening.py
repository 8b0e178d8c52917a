"""A feed is opened as it was left beside a clean mark, and recovered without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protozorfs.log.opening import Opened, open_files
from protozorfs.store import MemoryFiles
from tests.unit.log.feed_tools import (
    block_pair,
    create_owned,
    directory,
    owned_with,
    reopen,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCKS = [b"one", b"three", b"seven"]


def path(files: MemoryFiles, name: str) -> str:
    return f"{directory(files).path}/{name}"


def owner(*, is_closed: bool) -> MemoryFiles:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.sync()
    if is_closed:
        log.close()
    files.kill()
    return files


def follower(*, is_closed: bool) -> MemoryFiles:
    source, files = owned_with(BLOCKS), MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.apply_all([block_pair(source, log, index) for index in (0, 2)])
    if is_closed:
        log.close()
    files.kill()
    return files


def is_intact(found: Opened) -> bool:
    return not any((found.is_damaged, found.has_unsynced_cut, found.may_lack_heads))


def synced_by(files: MemoryFiles, work: Callable[[], object]) -> list[str]:
    """The names of the files that something syncs."""
    names: list[str] = []

    def carry_out(kind: str, path: str, effect: Callable[[], None]) -> None:
        if kind == "sync":
            names.append(path.rpartition("/")[2])
        effect()

    files.carry_out_by(carry_out)
    work()
    files.carry_out_by(None)
    return names


def test_an_owned_feed_is_as_a_clean_stop_has_left_it() -> None:
    files = owner(is_closed=True)
    before = files.operations
    found = open_files(directory(files))
    assert files.operations == before
    assert found.head is not None
    assert found.durable_head is not None
    assert found.durable_head.tree_hash == found.head.tree_hash
    assert (found.head.length, found.state.length, found.state.byte_length) == (3, 3, 13)
    assert found.held_bytes == 13
    assert found.held.contiguous_length == 3
    assert not found.in_doubt.segments
    assert is_intact(found)
    assert found.written_ns is None
    assert found.key_pair is not None


def test_a_followed_feed_is_as_a_clean_stop_has_left_it() -> None:
    files = follower(is_closed=True)
    before = files.operations
    found = open_files(directory(files))
    assert files.operations == before
    assert found.key_pair is None
    assert found.held_bytes == 8
    assert list(found.held.ranges(0, 3)) == [(0, 1), (2, 3)]
    assert not found.in_doubt.segments
    assert is_intact(found)


def test_after_a_kill_nothing_of_an_owned_feed_is_sure() -> None:
    files = owner(is_closed=False)
    files.open(path(files, "head")).set_modified(77)
    found = open_files(directory(files))
    assert found.head is not None
    assert found.head.length == 3
    assert found.durable_head is None
    assert found.held_bytes == 13
    assert list(found.in_doubt.ranges(0, 3)) == [(0, 3)]
    assert found.has_unsynced_cut
    assert not found.is_damaged
    assert not found.may_lack_heads
    assert found.written_ns == 77


def test_after_a_kill_what_came_to_a_followed_feed_is_in_doubt() -> None:
    found = open_files(directory(follower(is_closed=False)))
    assert found.durable_head is None
    assert found.held_bytes == 8
    assert list(found.held.ranges(0, 3)) == list(found.in_doubt.ranges(0, 3)) == [(0, 1), (2, 3)]
    assert is_intact(found)


def test_a_followed_feed_of_which_nothing_is_here_has_no_files() -> None:
    files = MemoryFiles()
    found = open_files(directory(files))
    assert files.operations == 0
    assert (found.head, found.state.length, found.held_bytes) == (None, 0, 0)
    assert is_intact(found)
    assert not directory(files).exists()


def test_an_append_after_a_clean_stop_syncs_no_blocks() -> None:
    files = owner(is_closed=True)
    log = reopen(files)
    assert not {"data", "tree"} & set(synced_by(files, lambda: log.append([b"more"])))


def test_the_first_append_after_a_kill_syncs_what_was_cut_off_before() -> None:
    files = owner(is_closed=False)
    log = reopen(files)
    assert {"data", "tree"} <= set(synced_by(files, lambda: log.append([b"more"])))
    assert not {"data", "tree"} & set(synced_by(files, lambda: log.append([b"and more"])))


def test_what_a_kill_has_left_behind_the_newest_head_is_not_kept() -> None:
    files = owner(is_closed=False)
    data = files.open(path(files, "data"))
    data.pwrite(b"of an append that did not return", data.size())
    names = set(files.listdir(directory(files).path))
    log = reopen(files)
    assert data.size() == log.byte_length == 13
    assert set(files.listdir(directory(files).path)) <= names


@pytest.mark.parametrize("make", [owner, follower])
def test_a_mark_beside_a_damaged_list_of_blocks_is_not_believed(
    make: Callable[..., MemoryFiles],
) -> None:
    files = make(is_closed=True)
    files.flip_bit(path(files, "bitfield"), 8 * 40)
    log = reopen(files)
    assert log.in_doubt.segments
    log.check_in_doubt()
    assert log.length == 3
    assert log.held_bytes == (13 if make is owner else 8)
    assert not log.damaged
