"""What is kept of a feed after an unclean stop: its newest head, or a whole beginning."""

from __future__ import annotations

import pytest

from protozorfs.log.files import LogFiles
from protozorfs.log.format import NODE_BYTES
from protozorfs.log.hashing import UNSIGNED, tree_hash, verify_head
from protozorfs.log.recovery import Recovery
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import SLOT_BYTES, HeadKind, slot_offset
from protozorfs.types import PublicKey
from tests.unit.log.feed_tools import (
    PAIR,
    check_all,
    check_whole,
    content,
    create_owned,
    directory,
    owned_with,
    reopen,
    upgrade,
)

BLOCKS = [b"%d" % number * (number % 5) for number in range(40)]
KEY = PublicKey(PAIR.public_key)
MAX_OPERATIONS = 12  # of an opening, however many blocks are taken back


def path(files: MemoryFiles, name: str) -> str:
    return f"{directory(files).path}/{name}"


def owner_with_a_tail(durable: int, *tail: int) -> MemoryFiles:
    """So many blocks are durable; others were appended behind them, and the owner was killed."""
    files = MemoryFiles()
    log = create_owned(files)
    at = 0
    if durable:
        log.append(BLOCKS[:durable])
        log.sync()
        at = durable
    for count in tail:
        log.append(BLOCKS[at : at + count])
        at += count
    files.kill()
    return files


def byte_length(blocks: int) -> int:
    return sum(map(len, BLOCKS[:blocks]))


def recovery_of(files: MemoryFiles) -> tuple[LogFiles, Recovery]:
    log_files = LogFiles(directory(files), is_owned=True)
    return log_files, Recovery(log_files, KEY)


@pytest.mark.parametrize(
    ("durable", "tail"), [(0, (3,)), (0, (1, 1, 1)), (5, (4,)), (5, (1, 2, 30)), (7, ())]
)
def test_a_whole_tail_is_taken_back_under_the_head_that_was_signed(
    durable: int, tail: tuple[int, ...]
) -> None:
    length = durable + sum(tail)
    files = owner_with_a_tail(durable, *tail)
    assert reopen(files).length == length
    files.kill()  # what was recovered is signed
    log_files, recovery = recovery_of(files)
    heads = log_files.heads.load()
    found = recovery.owned(heads, PAIR)
    assert found.head == heads.signed[0].head
    assert found.head is not None
    assert found.head.length == found.state.length == length
    assert tree_hash(found.state.roots) == found.head.tree_hash
    assert not found.must_write_head
    assert not recovery.cut(found.state)
    check_whole(check_all(reopen(files)), BLOCKS[:length])


def test_many_blocks_are_taken_back_at_a_time() -> None:
    files = owner_with_a_tail(3, 37)
    before = files.operations
    log = reopen(files)
    assert log.length == 40
    assert files.operations - before <= MAX_OPERATIONS


@pytest.mark.parametrize("wrong", [8, 12, 17])
def test_a_tail_is_kept_up_to_the_first_wrong_block(wrong: int) -> None:
    files = owner_with_a_tail(5, 5, 5, 5)
    files.flip_bit(path(files, "data"), 8 * byte_length(wrong))
    log_files, recovery = recovery_of(files)
    found = recovery.owned(log_files.heads.load(), PAIR)
    assert found.state.length == wrong
    assert found.must_write_head
    assert found.head is not None
    assert found.head.length == wrong
    verify_head(found.head, KEY)
    assert tree_hash(found.state.roots) == found.head.tree_hash
    assert recovery.cut(found.state)
    assert log_files.data.size() == byte_length(wrong)
    assert log_files.tree.size() <= (2 * wrong - 1) * NODE_BYTES
    check_whole(check_all(reopen(files)), BLOCKS[:wrong])


def test_a_tail_is_kept_up_to_the_first_missing_leaf() -> None:
    files = owner_with_a_tail(5, 10)
    files.open(path(files, "tree")).pwrite(bytes(NODE_BYTES), 2 * 9 * NODE_BYTES)
    check_whole(check_all(reopen(files)), BLOCKS[:9])


def test_a_tail_is_kept_as_far_as_it_was_written() -> None:
    files = owner_with_a_tail(5, 10)
    files.open(path(files, "data")).truncate(byte_length(12) + 1)
    log = check_all(reopen(files))
    check_whole(log, BLOCKS[:12])
    log.append(BLOCKS[12:20])
    files.kill()
    check_whole(check_all(reopen(files)), BLOCKS[:20])


def test_blocks_of_another_append_under_a_signed_head_do_not_count() -> None:
    """A power cut left blocks and leaves of one tail, and the heads of another."""
    files = owner_with_a_tail(5, 3, 4)
    other = MemoryFiles()
    log = create_owned(other)
    log.append(BLOCKS[:5])
    log.append(BLOCKS[5:8])
    log.append([block + b"?" for block in BLOCKS[8:12]])
    other.kill()
    for name in ("data", "tree"):
        files.replace(path(files, name), other.read(path(other, name)))
    check_whole(check_all(reopen(files)), BLOCKS[:8])


def test_nothing_counts_of_blocks_that_no_head_confirms() -> None:
    files = owner_with_a_tail(5, 3)
    other = owned_with([*BLOCKS[:5], b"other", *BLOCKS[6:8]])
    for name in ("data", "tree"):
        files.replace(
            path(files, name), other.directory.files.read(f"{other.directory.path}/{name}")
        )
    check_whole(check_all(reopen(files)), BLOCKS[:5])


def test_a_head_that_was_yet_to_be_signed_is_signed() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.commit(BLOCKS[:4])
    files.kill()
    log_files, recovery = recovery_of(files)
    heads = log_files.heads.load()
    assert heads.signed[0].head.signature == UNSIGNED
    found = recovery.owned(heads, PAIR)
    assert found.must_write_head
    assert found.head is not None
    verify_head(found.head, KEY)
    assert found.head.length == 4
    reopen(files)
    assert recovery_of(files)[0].heads.load().signed[0].head == found.head


def test_an_owner_of_nothing_has_a_head_of_length_0() -> None:
    files = MemoryFiles()
    create_owned(files)
    files.kill()
    log_files, recovery = recovery_of(files)
    found = recovery.owned(log_files.heads.load(), PAIR)
    assert found.head is not None
    assert (found.head.length, found.state.length, found.must_write_head) == (0, 0, False)


def test_a_follower_keeps_the_newest_head_whose_roots_are_there() -> None:
    source = owned_with(BLOCKS[:4])
    files = MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    source.append(BLOCKS[4:8])
    upgrade(source, log)
    files.kill()
    log_files, recovery = recovery_of(files)
    heads = log_files.heads.load()
    found = recovery.followed(heads)
    assert (found.head, found.must_write_head) == (heads.signed[0].head, False)
    assert found.state.length == 8
    for index in (7, 3, 11):  # the root of all 8 blocks, and what is below it
        files.open(path(files, "tree")).pwrite(bytes(NODE_BYTES), index * NODE_BYTES)
    assert reopen(files).length == 0, "the root of 4 blocks is gone as well"
    assert not recovery_of(files)[1].followed(recovery_of(files)[0].heads.load()).must_write_head


def test_a_follower_goes_back_to_a_head_before_and_writes_it() -> None:
    source = owned_with(BLOCKS[:4])
    files = MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    source.append(BLOCKS[4:8])
    upgrade(source, log)
    files.kill()
    for index in (7, 11):
        files.open(path(files, "tree")).pwrite(bytes(NODE_BYTES), index * NODE_BYTES)
    log_files, recovery = recovery_of(files)
    found = recovery.followed(log_files.heads.load())
    assert found.must_write_head
    assert found.head is not None
    assert found.head.length == found.state.length == 4
    log = reopen(files)
    assert log.length == 4
    assert log_files.heads.newest_length() == 4
    upgrade(source, log)
    assert log.length == 8


@pytest.mark.parametrize(("lost", "left"), [(HeadKind.DURABLE, 8), (HeadKind.SIGNED, 5)])
def test_heads_of_one_kind_tell_what_is_whole_where_the_others_are_lost(
    lost: HeadKind, left: int
) -> None:
    files = owner_with_a_tail(5, 3)
    for sequence in (0, 1):
        at = slot_offset(lost, sequence)
        files.open(path(files, "head")).pwrite(b"?" * 2 * SLOT_BYTES, at)
    log = reopen(files)
    assert content(log) == BLOCKS[:left]
    assert log.may_lack_heads


def test_what_a_sync_had_no_space_for_is_written_again_if_it_is_as_it_was_signed() -> None:
    files = owner_with_a_tail(5, 3)
    log_files, recovery = recovery_of(files)
    heads = log_files.heads.load()
    log_files.data.fdatasync()
    assert recovery.rewrite(heads.durable[0].head, heads.signed[0].head)
    assert files.has_unsynced(path(files, "data"))
    log_files.data.fdatasync()
    assert recovery.rewrite(None, heads.signed[0].head)
    files.flip_bit(path(files, "data"), 8 * byte_length(6))
    assert not recovery.rewrite(heads.durable[0].head, heads.signed[0].head)
    assert not recovery.rewrite(None, heads.signed[0].head)
