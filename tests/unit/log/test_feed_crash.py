"""Stops, power cuts, full and failing disks at every single file operation of a feed's life.

Two promises are tried: what returned survives a kill, what was synced survives a power cut; and no
head that a sync returned, which may have been published, is ever contradicted by a later one.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from protozorfs.errors import StoreCorrupt, StoreFull
from protozorfs.log.format import NODE, NODE_BYTES, encode_head_slot
from protozorfs.log.hashing import leaf_node, tree_hash
from protozorfs.log.tree import roots_of
from protozorfs.store import MemoryFiles
from protozorfs.store.heads import PAGE_BYTES, HeadKind, slot_offset, write_slot
from protozorfs.store.memory_files import Stopped
from tests.unit.log.feed_tools import (
    block_pair,
    check_all,
    check_whole,
    content,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    upgrade,
    upgrade_pair,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protozorfs.log.feed import Log
    from protozorfs.types import Head

pytestmark = pytest.mark.crash

# Sizes around the sector, an empty block, and commits of several blocks.
COMMITS = [
    [b"a" * 100],
    [b"b" * 511, b"", b"c" * 700],
    [b"d"],
    [b"e" * 1300],
    [b"f" * 20] * 5,
    [b"g" * 513],
]
SYNC_AFTER = {1, 3}  # positions in COMMITS after which the feed is synced
MARKER = b"appended after the crash"


class Life:
    """What an owner was told before its machine stopped."""

    def __init__(self, files: MemoryFiles) -> None:
        self.files = files
        self.returned: list[bytes] = []  # blocks of appends that returned
        self.tried: list[bytes] = []  # and of the one that did not
        self.synced: list[bytes] = []
        self.published: list[Head] = []

    def live(self) -> None:
        """Appends, syncs, closes cleanly, opens again, appends."""
        log = reopen(self.files)
        for number, blocks in enumerate(COMMITS):
            self.append(log, blocks)
            if number in SYNC_AFTER:
                self.sync(log)
            if number == 4:
                self.close(log)
                log = reopen(self.files)
        self.sync(log)
        self.append(log, [b"the end"])

    def append(self, log: Log, blocks: list[bytes]) -> None:
        self.tried = self.returned + blocks
        log.append(blocks)
        self.returned = self.tried

    def sync(self, log: Log) -> None:
        head = log.sync()
        assert head is not None
        self.synced = list(self.returned)
        self.published.append(head)

    def close(self, log: Log) -> None:
        log.close()
        self.synced = list(self.returned)

    def check(self, log: Log, at_least: list[bytes]) -> None:
        """Checks that a reopened feed is a prefix of what was tried, and holds at least this."""
        blocks = content(log)
        assert blocks == self.tried[: len(blocks)]
        assert len(blocks) >= len(at_least)
        check_whole(log, blocks)
        self.check_published(log)

    def check_published(self, log: Log) -> None:
        for head in self.published:
            roots = roots_of(log.nodes, head.length)
            assert roots is not None
            assert tree_hash(roots) == head.tree_hash


def operations_of(live: Callable[[MemoryFiles], None]) -> int:
    files = MemoryFiles()
    create_owned(files)
    before = files.operations
    live(files)
    return files.operations - before


OPERATIONS = operations_of(lambda files: Life(files).live())


def stopped_life(operation: int) -> Life:
    """A life that stops at its n-th changing file operation."""
    files = MemoryFiles()
    create_owned(files)
    life = Life(files)
    files.fail_at(files.operations + operation)
    with pytest.raises(Stopped):
        life.live()
    return life


@pytest.mark.parametrize("operation", range(OPERATIONS))
def test_a_kill_anywhere_keeps_all_that_returned(operation: int) -> None:
    life = stopped_life(operation)
    life.files.kill()
    log = reopen(life.files)
    life.check(log, life.returned)
    log.append([MARKER])
    life.files.kill()
    assert content(reopen(life.files))[-1] == MARKER


@pytest.mark.parametrize("operation", range(OPERATIONS))
def test_a_power_cut_anywhere_keeps_all_that_was_synced(operation: int) -> None:
    for seed in range(6):
        life = stopped_life(operation)
        life.files.power_cut(random.Random(seed))
        log = reopen(life.files)
        life.check(log, life.synced)
        kept = content(log)
        log.append([MARKER])
        head = log.sync()
        assert head is not None
        life.published.append(head)
        log.append([b"unsynced"])
        # What the first cut left behind must not come back after a second one.
        life.files.power_cut(random.Random(seed + 100))
        log = reopen(life.files)
        blocks = content(log)
        assert blocks[: len(kept) + 1] == [*kept, MARKER]
        assert blocks[len(kept) + 1 :] in ([], [b"unsynced"])
        life.check_published(log)


@pytest.mark.parametrize("operation", range(OPERATIONS))
def test_a_power_cut_during_recovery_changes_nothing(operation: int) -> None:
    for second in range(8):
        life = stopped_life(operation)
        choice = random.Random(operation * 8 + second)
        life.files.power_cut(choice)
        life.files.fail_at(life.files.operations + second)
        try:
            log = reopen(life.files)
        except Stopped:
            life.files.power_cut(choice)
            log = reopen(life.files)
        life.check(log, life.synced)


@pytest.mark.parametrize("failure", ["full", "io"])
@pytest.mark.parametrize("operation", range(OPERATIONS))
def test_a_failing_write_anywhere_leaves_what_was_there(operation: int, failure: str) -> None:
    files = MemoryFiles()
    create_owned(files)
    life = Life(files)
    files.fail_at(files.operations + operation, failure)
    try:
        life.live()
    except (StoreFull, OSError):
        pass
    else:
        assert failure == "full"  # at the opening: the next change has made that good
    files.fail_at(None)
    files.kill()
    log = reopen(files)
    life.check(log, life.returned)
    log.append([MARKER])
    assert log.sync() == log.head
    files.power_cut(random.Random(operation))
    assert content(reopen(files))[-1] == MARKER


def test_a_full_disk_at_each_write_of_an_append_changes_nothing_in_the_open_feed() -> None:
    log = owned_with([])
    files = log.directory.files
    assert isinstance(files, MemoryFiles)
    blocks: list[bytes] = []
    for number in range(40):
        block = b"%d" % number * 90
        head = log.head
        failed = 0
        for operation in range(3):  # data, tree, head
            files.fail_at(files.operations + operation, "full")
            with pytest.raises(StoreFull):
                log.append([block, b"second"])
            failed += 1
            assert log.head == head
            check_whole(log, blocks)
        assert failed == 3
        files.fail_at(None)
        log.append([block])
        blocks.append(block)
        check_whole(log, blocks)
    data = files.open(f"{log.directory.path}/data")
    assert data.size() == len(b"".join(blocks))
    files.kill()
    check_whole(reopen(files), blocks)


@pytest.mark.parametrize("is_closed_between", [False, True])
def test_no_power_cut_shows_what_a_failed_append_left(is_closed_between: bool) -> None:
    for seed in range(60):
        files = MemoryFiles()
        log = create_owned(files)
        log.append([b"a"])
        log.sync()
        files.fail_at(files.operations + 2, "full")
        with pytest.raises(StoreFull):
            log.append([b"", b"failed"])
        files.fail_at(None)
        if is_closed_between:
            log.close()
            log = reopen(files)
        right = [b"right", b"", b"right" * 120, b"more"]
        log.append(right)
        files.power_cut(random.Random(seed))
        blocks = content(reopen(files))
        assert blocks == [b"a", *right][: len(blocks)]


def test_what_a_recovery_cut_off_does_not_come_back_behind_it() -> None:
    for seed in range(120):
        choice = random.Random(seed)
        files = MemoryFiles()
        log = create_owned(files)
        log.append([b"a"])
        log.sync()
        log.append([b"q" * 600, b"", b"o" * 10])
        log.append([b"", b"p" * 600, b""])
        files.power_cut(choice)
        log = reopen(files)
        expected = [*content(log), b"n" * 600, b"", b"m", b"k" * 600]
        log.append(expected[log.length :])
        files.power_cut(choice)
        blocks = content(reopen(files))
        assert blocks == expected[: len(blocks)]


def test_blocks_that_fit_their_leaves_but_no_signature_do_not_count() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"durable"])
    log.sync()
    log.append([b"signed"])
    offset = log.byte_length
    log.append([b"right"])
    files.kill()
    path = directory(files).path
    files.open(f"{path}/data").pwrite(b"wrong", offset)
    leaf = leaf_node(2, b"wrong")
    files.open(f"{path}/tree").pwrite(NODE.pack(leaf.size, leaf.hash), 4 * NODE_BYTES)
    log = reopen(files)
    check_whole(log, [b"durable", b"signed"])  # the head before the newest one confirms so much


def test_a_slot_from_before_an_earlier_recovery_is_no_evidence() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"durable"])
    log.sync()
    log.append([b"x"])
    log.append([b"old"] * 5)  # signed head 5
    files.kill()
    path = directory(files).path
    odd = slot_offset(HeadKind.SIGNED, 1)
    old_slot = files.open(f"{path}/head").pread(PAGE_BYTES, odd)
    files.open(f"{path}/data").truncate(len(b"durablex"))
    log = reopen(files)  # signs head 6, of length 2
    assert log.length == 2
    for block in (b"new 5", b"new 6", b"new 7", b"new 8", b"new 9", b"new 10"):
        log.append([block])
    files.kill()
    files.open(f"{path}/head").pwrite(old_slot, odd)  # as if the write of head 11 was lost
    check_whole(
        reopen(files),
        [b"durable", b"x", b"new 5", b"new 6", b"new 7", b"new 8", b"new 9", b"new 10"],
    )


def test_rule_1_nothing_counts_as_durable_before_data_tree_and_head_are_synced() -> None:
    """Tries to break: nothing is published that is not durable."""
    steps = 6  # data, tree, the first head again, that synced, the head, that synced
    for stop in range(steps + 1):
        for seed in range(12):
            files = MemoryFiles()
            log = create_owned(files)
            log.append([b"x" * 2000])
            pending = log.begin_sync()
            files.fail_at(files.operations + stop)
            try:
                pending.run()
            except Stopped:
                assert stop < steps
                assert log.durable_head is None
            else:
                assert stop == steps
                files.fail_at(None)
                assert log.end_sync() is not None
            files.power_cut(random.Random(seed))
            log = reopen(files)
            assert log.durable_head is None
            if stop == steps:
                assert content(log) == [b"x" * 2000]
            log.append([b"y"])
            assert not log.damaged


def test_rule_2_what_is_below_durable_is_damage_and_never_signed_again() -> None:
    """Tries to break: an owned feed whose durable part is gone must not sign a shorter history."""
    files = MemoryFiles()
    log = create_owned(files)
    blocks = [b"%d" % number * 30 for number in range(12)]
    for block in blocks:
        log.append([block])
    head = log.sync()
    offset = log.block_span(5)[0]
    files.kill()
    files.open(f"{directory(files).path}/data").pwrite(b"rotten", offset)
    for _ in range(2):  # also after a clean stop
        log = check_all(reopen(files))
        assert log.damaged
        assert log.head == head
        with pytest.raises(StoreCorrupt):
            log.read(offset, 1)
        with pytest.raises(StoreCorrupt):
            log.block(5)
        assert log.read(0, 10_000) == b"".join(blocks[:5])
        assert log.read(log.block_span(6)[0], 10_000) == b"".join(blocks[6:])
        log.close()
    log.append([b"goes on"])
    assert log.block(12) == b"goes on"
    roots = roots_of(log.nodes, 12)
    assert roots is not None
    assert head is not None
    assert tree_hash(roots) == head.tree_hash


@pytest.mark.parametrize("slot", range(4))
def test_a_whole_slot_that_the_key_did_not_sign_counts_for_nothing(slot: int) -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"a"])
    log.sync()
    assert log.head is not None
    forged = replace(log.head, length=2)
    files.kill()
    kind = HeadKind(slot // 2)
    record = encode_head_slot(kind, 100 + slot % 2, forged)
    write_slot(files.open(f"{directory(files).path}/head"), kind, slot % 2, record)
    log = reopen(files)
    check_whole(log, [b"a"])
    log.append([b"b"])
    log.sync()
    files.power_cut(random.Random(slot))
    check_whole(reopen(files), [b"a", b"b"])


def damaged_tree(change: Callable[[bytearray], None]) -> tuple[Log, list[bytes]]:
    files = MemoryFiles()
    log = create_owned(files)
    blocks = [b"%d" % number * 30 for number in range(13)]
    for block in blocks:
        log.append([block])
    log.sync()
    files.kill()
    tree = files.open(f"{directory(files).path}/tree")
    content = bytearray(tree.pread(tree.size(), 0))
    change(content)
    tree.pwrite(content, 0)
    return reopen(files), blocks


def test_lost_inner_nodes_at_the_top_are_made_again() -> None:
    def lose_roots(tree: bytearray) -> None:
        for index in (7, 3, 19):
            tree[index * NODE_BYTES : (index + 1) * NODE_BYTES] = bytes(NODE_BYTES)

    log, blocks = damaged_tree(lose_roots)
    check_whole(log, blocks)


def test_a_tree_of_garbage_is_damage_in_which_nothing_can_be_read() -> None:
    def garbage(tree: bytearray) -> None:
        tree[:] = random.Random(1).randbytes(len(tree))

    log, blocks = damaged_tree(garbage)
    assert log.damaged
    assert log.length == len(blocks)
    with pytest.raises(StoreCorrupt):
        log.read(0, 1)
    with pytest.raises(StoreCorrupt):
        log.block(0)
    with pytest.raises(StoreCorrupt):
        log.append([b"x"])
    log.close()
    files = log.directory.files
    assert isinstance(files, MemoryFiles)
    assert reopen(files).damaged


def test_a_truncated_data_file_is_damage_of_the_blocks_that_are_gone() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"abc", b"def", b"ghi"])
    log.sync()
    files.kill()
    files.open(f"{directory(files).path}/data").truncate(5)
    log = reopen(files)
    assert log.damaged
    assert log.read(0, 9) == b"abc"
    with pytest.raises(StoreCorrupt):
        log.read(3, 1)


@pytest.mark.parametrize("slot", range(4))
def test_one_damaged_head_slot_loses_nothing_that_was_synced(slot: int) -> None:
    files = MemoryFiles()
    log = create_owned(files)
    for number in range(4):
        log.append([b"%d" % number])
        log.sync()
    files.kill()
    head_file = files.open(f"{directory(files).path}/head")
    head_file.pwrite(b"\xff" * 1000, slot_offset(HeadKind(slot // 2), slot % 2) + 50)
    log = reopen(files)
    check_whole(log, [b"0", b"1", b"2", b"3"])
    log.append([b"4"])
    files.kill()
    check_whole(reopen(files), [b"0", b"1", b"2", b"3", b"4"])


@pytest.mark.parametrize("damage", ["torn", "missing", "stale"])
def test_a_bad_bitfield_beside_a_clean_mark_is_found_out(damage: str) -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"abc"])
    log.close()
    path = f"{directory(files).path}/bitfield"
    old = files.read(path)
    if damage == "torn":
        files.open(path).truncate(30)
    elif damage == "missing":
        files.remove(path)
    else:
        log = reopen(files)
        log.append([b"def"])
        log.close()
        files.replace(path, old)
    log = reopen(files)
    assert not directory(files).is_marked_clean()
    check_whole(log, [b"abc", b"def"][: log.length])
    assert log.length == (2 if damage == "stale" else 1)


def change_by_append(files: MemoryFiles) -> None:
    reopen(files).append([b"x"])


def change_by_upgrade(files: MemoryFiles) -> None:
    upgrade(owned_with(SOURCE_BLOCKS), reopen(files))


def change_by_block(files: MemoryFiles) -> None:
    fetch(owned_with(SOURCE_BLOCKS[:6]), reopen(files), 5)


def change_by_drop(files: MemoryFiles) -> None:
    reopen(files).drop(3, 4)


def change_by_finding_damage(files: MemoryFiles) -> None:
    log = reopen(files)
    log.read(100, 1)
    assert log.take_lost()


@pytest.mark.parametrize(
    "change",
    [
        change_by_append,
        change_by_upgrade,
        change_by_block,
        change_by_drop,
        change_by_finding_damage,
    ],
)
def test_the_clean_mark_is_gone_for_good_before_anything_changes(
    change: Callable[[MemoryFiles], None],
) -> None:
    for operation in range(4):
        files = MemoryFiles()
        log = create_owned(files) if change is change_by_append else create_followed(files)
        if not log.is_owned:
            source = owned_with(SOURCE_BLOCKS[:6])
            upgrade(source, log)
            for index in range(5):
                fetch(source, log, index)
        log.close()
        if change is change_by_finding_damage:
            data = files.open(f"{log.directory.path}/data")
            data.pwrite(b"!", 100)
            data.fdatasync()
        before = {name: files.read(f"{log.directory.path}/{name}") for name in ("data", "head")}
        files.fail_at(files.operations + operation)
        with suppress(Stopped):
            change(files)
        files.power_cut(random.Random(operation))
        if operation < 2:  # the mark is removed, its directory synced
            for name, content_before in before.items():
                assert files.read(f"{log.directory.path}/{name}") == content_before
        else:
            assert not directory(files).is_marked_clean()


SOURCE_BLOCKS = [b"%d" % number * (number * 13 % 300) for number in range(14)]
FETCH_ORDER = [3, 4, 0, 13, 9, 10, 11, 1]


def replicate(files: MemoryFiles, done: list[int]) -> None:
    """A follower's life: heads in two steps, blocks singly and in a batch, a drop, a close."""
    source = owned_with(SOURCE_BLOCKS[:6])
    log = reopen(files)
    upgrade(source, log)
    for index in (3, 4, 0):
        fetch(source, log, index)
        done.append(index)
    log.sync()
    source.append(SOURCE_BLOCKS[6:])
    upgrade(source, log)
    fetch(source, log, 13)
    done.append(13)
    log.close()
    log = reopen(files)
    log.apply_all([block_pair(source, log, index) for index in (9, 10, 11)])
    done += [9, 10, 11]
    done.remove(4)
    log.drop(4, 5)
    fetch(source, log, 1)
    done.append(1)


def replication_operations() -> int:
    """A followed feed begins without files, so that their making is part of it."""
    files = MemoryFiles()
    replicate(files, [])
    return files.operations


@pytest.mark.parametrize("operation", range(replication_operations()))
@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_follower_stopped_anywhere_shows_only_what_is_right(
    operation: int, is_power_cut: bool
) -> None:
    for seed in range(4 if is_power_cut else 1):
        files = MemoryFiles()
        done: list[int] = []
        files.fail_at(files.operations + operation)
        with pytest.raises(Stopped):
            replicate(files, done)
        if is_power_cut:
            files.power_cut(random.Random(seed))
        else:
            files.kill()
        log = check_all(reopen(files))
        held = [index for index in range(14) if log.held.get(index)]
        assert all(log.block(index) == SOURCE_BLOCKS[index] for index in held)
        assert log.held_bytes == sum(len(SOURCE_BLOCKS[index]) for index in held)
        if not is_power_cut:
            assert set(done) <= set(held)
        source = owned_with(SOURCE_BLOCKS)
        if log.length < 14:
            log.apply(*upgrade_pair(source, log))
        for index in range(14):
            if not log.held.get(index):
                fetch(source, log, index)
        check_whole(log, SOURCE_BLOCKS)
        log.close()
        check_whole(reopen(files), SOURCE_BLOCKS)


def test_a_follower_on_a_full_disk_keeps_what_it_had() -> None:
    source = owned_with(SOURCE_BLOCKS)
    files = MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    fetch(source, log, 2)
    source.append([b"more"])
    pairs = [block_pair(source, log, 5), block_pair(source, log, 8), upgrade_pair(source, log)]
    # The clean mark, notes, two runs of data, two pages of the tree, the head.
    for operation in range(13):
        files.fail_at(files.operations + operation, "full")
        before = files.operations
        try:
            log.apply_all(pairs)
        except StoreFull:
            assert log.length == 14
            assert [index for index in range(15) if log.held.get(index)] == [2]
            assert log.block(2) == SOURCE_BLOCKS[2]
            files.fail_at(None)
            log.close()
            log = reopen(files)
            for index in range(28):  # no half of a node was left
                assert log.nodes.node(index) in (None, source.nodes.node(index))
            continue
        assert operation >= files.operations - before
        break
    files.fail_at(None)
    assert log.length == 15
    assert log.block(8) == SOURCE_BLOCKS[8]


def test_a_lost_bit_of_a_block_that_is_right_does_not_count() -> None:
    """Blocks that came after the last clean stop are in no bitfield, and are held all the same."""
    source = owned_with(SOURCE_BLOCKS)
    files = MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    log.close()
    log = reopen(files)
    fetch(source, log, 7)
    files.kill()
    assert reopen(files).block(7) == SOURCE_BLOCKS[7]


def test_nodes_that_no_root_covers_are_erased() -> None:
    source = owned_with(SOURCE_BLOCKS)
    files = MemoryFiles()
    log = reopen(files)
    upgrade(source, log)
    fetch(source, log, 6)
    files.kill()
    tree = files.open(f"{directory(files).path}/tree")
    for index in (0, 2, 1, 900):
        tree.pwrite(b"\x05" * NODE_BYTES, index * NODE_BYTES)
    log = reopen(files)
    assert all(log.nodes.node(index) is None for index in (0, 2, 1, 900))
    assert log.block(6) == SOURCE_BLOCKS[6]
    for index in range(14):
        if not log.held.get(index):
            fetch(source, log, index)
    check_whole(log, SOURCE_BLOCKS)
