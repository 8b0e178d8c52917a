"""One feed on disk, as it is used while nothing fails."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from protozorfs import crypto
from protozorfs.errors import (
    BlockUnavailable,
    InvalidProof,
    InvalidRequest,
    LocalProtocolError,
    NotWritable,
    StoreCorrupt,
    StoreError,
    StoreFull,
)
from protozorfs.log import seek
from protozorfs.log.feed import Log
from protozorfs.log.hashing import UNSIGNED, verify_head
from protozorfs.log.incoming import Applied
from protozorfs.log.proof_types import BlockRequest, Proof, Request, UpgradeRequest
from protozorfs.log.prove import promised_by
from protozorfs.log.seek import Located, Unknown
from protozorfs.store import FeedDirectory, FilePool, MemoryFiles, RealFiles
from protozorfs.types import FeedId
from tests.unit.log.feed_tools import (
    FEED_ID,
    PAIR,
    SEED,
    block_pair,
    check_whole,
    content,
    create_followed,
    create_owned,
    directory,
    fetch,
    owned_with,
    reopen,
    scrub,
    upgrade,
    upgrade_pair,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from protozorfs.log.tree import TreeReader
    from protozorfs.types import TreeNode

BLOCKS = [b"block %d " % number * (number % 7) for number in range(23)]


def test_an_empty_feed_opens_and_has_nothing() -> None:
    files = MemoryFiles()
    for log in (create_owned(files), reopen(files)):
        check_whole(log, [])
        assert log.feed_id == FEED_ID
        assert log.is_owned
        assert (log.head, log.durable_head, log.fork, log.roots) == (None, None, 0, ())
        assert log.read(0, 10) == b""
        assert log.sync() is None
        with pytest.raises(BlockUnavailable):
            log.proof(Request(upgrade=UpgradeRequest(0, 1)))
        with pytest.raises(BlockUnavailable):
            log.block(0)


def test_appends_are_signed_and_read_back() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    for number, block in enumerate(BLOCKS):
        head = log.append([block])
        verify_head(head, PAIR.public_key)
        assert head == log.head
        assert head.length == number + 1
    check_whole(log, BLOCKS)
    log.close()
    check_whole(reopen(files), BLOCKS)


def test_one_append_of_many_blocks_is_one_head_with_the_same_tree() -> None:
    log = create_owned(MemoryFiles())
    head = log.append(BLOCKS)
    assert head == owned_with(BLOCKS).head
    check_whole(log, BLOCKS)
    with pytest.raises(ValueError, match="needs a block"):
        log.append([])


def test_a_commit_is_signed_when_it_is_shown_and_after_a_kill() -> None:
    """The signature costs a third of a small append, and nobody sees the head before."""
    files = MemoryFiles()
    log = create_owned(files)
    log.commit([b"one"])
    log.commit([b"two", b"three"])
    slots = log.directory.file("head").pread(1024, 0)
    assert [slots[at + 80 : at + 144] for at in (0, 512)] == [UNSIGNED, UNSIGNED]
    assert log.shown_head is None
    files.kill()
    again = reopen(files)
    assert again.head is not None
    verify_head(again.head, PAIR.public_key)
    assert again.length == 3
    assert again.read(0, 100) == b"onetwothree"
    shown = again.sync()
    assert shown == again.head == again.shown_head
    again.commit([b"four"])
    newest = again.sync()
    assert newest is not None
    verify_head(newest, PAIR.public_key)
    assert newest.length == 4


def test_only_the_owner_appends() -> None:
    log = create_followed(MemoryFiles())
    assert not log.is_owned
    with pytest.raises(NotWritable):
        log.append([b"x"])


def test_the_secret_of_another_feed_is_refused() -> None:
    files = MemoryFiles()
    other = FeedDirectory(FilePool(files), FeedId(b"\x02" * 32))
    with pytest.raises(StoreCorrupt, match="not the key of this feed"):
        Log.create(other, SEED)


def test_a_real_store_holds_the_same(tmp_path: Path) -> None:
    pool = FilePool(RealFiles(tmp_path), limit=2)
    log = Log.create(FeedDirectory(pool, FEED_ID), SEED)
    log.append(BLOCKS)
    log.append([b"more" * 20_000])
    assert log.sync() == log.head
    log.close()
    assert pool.open_count == 0
    log = Log.open(FeedDirectory(pool, FEED_ID))
    check_whole(log, [*BLOCKS, b"more" * 20_000])
    log.append([b"unclean"])
    log.rest()
    assert pool.open_count == 0
    check_whole(Log.open(FeedDirectory(pool, FEED_ID)), [*BLOCKS, b"more" * 20_000, b"unclean"])


def test_a_clean_feed_opens_without_reading_its_blocks() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"right"])
    log.close()
    log.close()
    files.open(f"{directory(files).path}/data").pwrite(b"wrong", 0)
    log = reopen(files)
    assert not log.damaged  # nothing was looked at yet
    with pytest.raises(StoreCorrupt):
        log.read(0, 5)
    assert log.damaged
    with pytest.raises(StoreCorrupt):
        log.block(0)
    log.close()
    assert reopen(files).damaged  # remembered over a clean stop, too


def test_reading_opens_nothing_for_writing() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS)
    log.close()
    before = files.operations
    log = reopen(files)
    assert content(log) == BLOCKS
    log.proof(Request(upgrade=UpgradeRequest(0, 5)))
    log.close()
    assert files.operations == before


def test_reads_are_cut_at_the_end() -> None:
    log = owned_with([b"abc", b"", b"defg"])
    assert log.read(1, 3) == b"bcd"
    assert log.read(5, 100) == b"fg"
    assert log.read(7, 1) == log.read(8, 1) == log.read(2, 0) == b""
    assert log.held_until(3, 100) == 7
    assert log.held_until(9, 100) == 9
    assert log.block_span(1) == (3, 3)
    assert log.locate(3) == Located(2, 3, 7)
    with pytest.raises(ValueError, match="beyond"):
        log.locate(7)


def test_an_owner_proves_only_what_is_durable() -> None:
    log = owned_with([b"a", b"b"])
    with pytest.raises(BlockUnavailable):
        log.proof(Request(block=BlockRequest(0, 0)))
    log.sync()
    log.append([b"c", b"d"])
    assert log.shown_head == log.durable_head
    proof = log.proof(Request(upgrade=UpgradeRequest(0, 2)))
    reader = create_followed(MemoryFiles())
    reader.apply(Request(upgrade=UpgradeRequest(0, 2)), proof)
    assert reader.head == reader.shown_head == log.durable_head
    for request in (
        Request(upgrade=UpgradeRequest(0, 4)),
        Request(block=BlockRequest(2, 0)),
        Request(block=BlockRequest(0, 2)),
    ):
        with pytest.raises(InvalidRequest):
            log.proof(request)


def test_a_sync_covers_the_head_of_its_start_while_appends_go_on() -> None:
    log = owned_with([b"a"])
    pending = log.begin_sync()
    first = log.head
    thread = threading.Thread(target=pending.run)
    thread.start()
    log.append([b"b"])
    with pytest.raises(LocalProtocolError):
        log.begin_sync()
    thread.join()
    assert log.durable_head is None
    assert log.end_sync() == first == log.durable_head
    with pytest.raises(LocalProtocolError):
        log.end_sync()
    assert log.sync() == log.head
    assert log.sync() == log.head


def test_after_a_failed_sync_nothing_counts_as_durable_until_opened_again() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"a"])
    files.fail_at(files.operations, "io")
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    with pytest.raises(StoreError, match="failed"):
        log.sync()
    assert log.durable_head is None
    log.close()
    assert not directory(files).is_marked_clean()
    log = reopen(files)
    assert log.sync() == log.head


def test_a_reader_gets_any_block_in_any_order() -> None:
    source = owned_with(BLOCKS)
    order = list(range(len(BLOCKS)))
    random.Random(3).shuffle(order)
    files = MemoryFiles()
    reader = create_followed(files)
    assert upgrade(source, reader) == Applied(None, source.head)
    assert reader.head == source.head
    held: set[int] = set()
    for count, index in enumerate(order):
        assert fetch(source, reader, index) == Applied(index, None)
        held.add(index)
        assert reader.block(index) == BLOCKS[index]
        assert set(range(len(BLOCKS))) & held == {i for i in range(23) if reader.held.get(i)}
        assert reader.held_bytes == sum(len(BLOCKS[i]) for i in held)
        contiguous = next((i for i in range(23) if i not in held), 23)
        assert reader.contiguous_length == contiguous
        assert reader.contiguous_bytes == sum(map(len, BLOCKS[:contiguous]))
        if count % 5 == 0:
            reader.close()
            reader = reopen(files)
    check_whole(reader, BLOCKS)


def test_a_batch_counts_but_for_its_bad_answers() -> None:
    source = owned_with(BLOCKS)
    reader = create_followed(MemoryFiles())
    upgrade(source, reader)
    pairs = []
    promised: set[int] = set()
    for index in range(8, 16):
        nodes = reader.request_hint(index, promised)
        promised.update(promised_by(index, nodes))
        request = Request(block=BlockRequest(index, nodes))
        pairs.append((request, source.proof(request)))
    request, proof = pairs[5]
    assert proof.block is not None
    pairs[5] = (request, proof._replace(block=proof.block._replace(value=b"forged")))
    results = reader.apply_all([*pairs, pairs[0]])
    assert isinstance(results[5], InvalidProof)
    assert [r.block_index for r in results if isinstance(r, Applied)] == [
        8,
        9,
        10,
        11,
        12,
        14,
        15,
        8,
    ]
    assert [i for i in range(23) if reader.held.get(i)] == [8, 9, 10, 11, 12, 14, 15]
    assert reader.held_bytes == sum(len(BLOCKS[i]) for i in (8, 9, 10, 11, 12, 14, 15))
    with pytest.raises(InvalidProof):
        reader.apply(*pairs[5])


def test_an_answer_that_proves_nothing_writes_nothing() -> None:
    source = owned_with(BLOCKS)
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    request, proof = block_pair(source, reader, 4)
    assert proof.block is not None
    before = files.operations
    reader.apply_all([(request, proof._replace(block=proof.block._replace(value=b"forged")))])
    assert files.operations == before


def test_reads_stop_where_blocks_are_missing() -> None:
    source = owned_with([b"aaa", b"bbb", b"ccc", b"ddd", b"eee"])
    reader = create_followed(MemoryFiles())
    upgrade(source, reader)
    assert isinstance(reader.locate(4), Unknown)
    assert reader.read(0, 3) == b""
    for index in (0, 2, 3):
        fetch(source, reader, index)
    assert reader.read(0, 15) == b"aaa"
    assert reader.read(3, 15) == b""
    assert reader.read(7, 15) == b"ccddd"
    assert reader.held_until(7, 100) == 12
    assert reader.held_until(4, 100) == 4
    with pytest.raises(BlockUnavailable):
        reader.block(1)


def test_dropped_blocks_are_gone_and_can_come_again() -> None:
    source = owned_with([b"x" * 3000] * 10)
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in range(10):
        fetch(source, reader, index)
    data = files.open(f"{directory(files).path}/data")
    before = data.allocated_bytes()
    reader.drop(2, 8)
    assert data.allocated_bytes() <= before - 5 * 3000
    assert reader.held_bytes == 4 * 3000
    assert (reader.contiguous_length, reader.contiguous_bytes) == (2, 6000)
    reader.drop(0, 0)
    for is_clean in (True, False):
        if is_clean:
            reader.close()
        reader = reopen(files)
        assert [index for index in range(10) if reader.held.get(index)] == [0, 1, 8, 9]
        reader.drop(9, 20)
        fetch(source, reader, 9)
    assert fetch(source, reader, 5) == Applied(5, None)
    assert reader.block(5) == b"x" * 3000
    with pytest.raises(LocalProtocolError):
        source.drop(0, 1)


def test_a_follower_finds_a_bad_block_and_fetches_it_again() -> None:
    source = owned_with(BLOCKS)
    files = MemoryFiles()
    reader = create_followed(files)
    upgrade(source, reader)
    for index in range(23):
        fetch(source, reader, index)
    start = reader.block_span(9)[0]
    files.open(f"{directory(files).path}/data").pwrite(b"!", start)
    scrub(reader)
    assert reader.take_lost() == [(9, 10)]
    assert not reader.damaged
    with pytest.raises(BlockUnavailable):
        reader.block(9)
    fetch(source, reader, 9)
    check_whole(reader, BLOCKS)


def test_data_that_became_shorter_is_corrupt_not_zeros() -> None:
    files = MemoryFiles()
    log = create_owned(files)
    log.append([b"abc", b"def"])
    files.open(f"{directory(files).path}/data").truncate(4)
    assert log.read(0, 6) == b"abc"
    with pytest.raises(StoreCorrupt):
        log.read(3, 3)
    with pytest.raises(StoreCorrupt):
        log.block(1)
    assert log.block(0) == b"abc"


def test_growth_is_followed_in_steps_and_within_one_batch() -> None:
    files = MemoryFiles()
    source, reader = create_owned(MemoryFiles()), create_followed(files)
    blocks: list[bytes] = []
    for step in range(1, 9):
        new = [b"%d" % step] * step
        source.append(new)
        blocks += new
        before = reader.length
        up = upgrade_pair(source, reader)
        more = [(Request(block=BlockRequest(before, 0), upgrade=up[0].upgrade), None)]
        request = more[0][0]
        results = reader.apply_all([(request, source.proof(request)), up])
        assert results[0] == Applied(before, source.head)
        assert isinstance(results[1], InvalidProof)  # the length has changed by then
        for index in range(before + 1, len(blocks)):
            fetch(source, reader, index)
        assert content(reader) == blocks
    check_whole(reader, blocks)


def test_relays_serve_what_they_hold() -> None:
    source = owned_with(BLOCKS)
    relay, reader = create_followed(MemoryFiles()), create_followed(MemoryFiles())
    upgrade(source, relay)
    upgrade(relay, reader)
    fetch(source, relay, 13)
    fetch(relay, reader, 13)
    assert reader.block(13) == BLOCKS[13]
    with pytest.raises(BlockUnavailable):
        block_pair(relay, reader, 12)


def test_an_owner_without_its_newest_blocks_gets_them_back_and_goes_on() -> None:
    source = owned_with(BLOCKS)
    files = MemoryFiles()
    log = create_owned(files)
    log.append(BLOCKS[:1])
    pending = log.begin_sync()
    pair = upgrade_pair(source, log)
    with pytest.raises(LocalProtocolError):
        log.apply(*pair)
    pending.run()
    log.end_sync()
    log.apply(*pair)
    assert log.durable_head == log.head == source.head  # at once: what is known is never unlearnt
    for index in range(1, 23):
        fetch(source, log, index)
    log.append([b"new"])
    check_whole(log, [*BLOCKS, b"new"])


def of_fork(fork: int) -> Log:
    """What a Node owner has after truncations."""
    log = create_owned(MemoryFiles())
    log._state = log._state._replace(fork=fork)
    log.append(BLOCKS)
    return log


def test_a_feed_of_a_later_fork_is_followed_from_nothing() -> None:
    source = of_fork(3)
    files = MemoryFiles()
    reader = create_followed(files)
    request, proof = upgrade_pair(source, reader)
    with pytest.raises(InvalidProof, match="fork 3 instead of 0"):
        reader.apply(request, proof)
    reader.begin_history(proof)
    fetch(source, reader, 7)
    assert reader.fork == 3
    for clean in (False, True):
        if clean:
            reader.close()
        reader = reopen(files)
        assert (reader.fork, reader.head) == (3, source.head)
        assert reader.block(7) == BLOCKS[7]
    source.append([b"live"])
    upgrade(source, reader)
    assert (reader.fork, reader.head) == (3, source.head)


def test_what_has_a_history_of_its_own_takes_no_other() -> None:
    _, proof = upgrade_pair(of_fork(3), create_followed(MemoryFiles()))
    owned, follower = create_owned(MemoryFiles()), create_followed(MemoryFiles())
    upgrade(owned_with(BLOCKS[:1]), follower)
    for log in (owned, follower):
        head = log.head
        with pytest.raises(LocalProtocolError):
            log.begin_history(proof)
        assert (log.fork, log.head) == (0, head)


def test_a_history_that_cannot_be_begun_changes_nothing_in_the_open_feed() -> None:
    files = MemoryFiles()
    reader = create_followed(files)
    _, proof = upgrade_pair(of_fork(3), reader)
    assert proof.upgrade is not None
    unsigned = proof._replace(upgrade=proof.upgrade._replace(signature=bytes(64)))
    for bad in (Proof(3), proof._replace(fork=4), unsigned):
        with pytest.raises(InvalidProof):
            reader.begin_history(bad)
    writes = files.operations
    reader.begin_history(proof)
    writes = files.operations - writes
    for number in range(writes):
        files = MemoryFiles()
        reader = create_followed(files)
        files.fail_at(files.operations + number, "full")
        with pytest.raises(StoreFull):
            reader.begin_history(proof)
        files.fail_at(None)
        assert (reader.fork, reader.head) == (0, None)
        reopened = reopen(files)
        if reopened.head is None:  # else so much of it was written that it counts
            reopened.begin_history(proof)
        assert (reopened.fork, reopened.length) == (3, proof.upgrade.length)


def test_heads_of_others_are_not_believed() -> None:
    stranger = crypto.key_pair(b"\x07" * 32)
    files = MemoryFiles()
    path = FeedDirectory(FilePool(files), FeedId(stranger.public_key))
    other = Log.create(path, stranger.seed)
    other.append(BLOCKS)
    reader = create_followed(MemoryFiles())
    with pytest.raises(InvalidProof):
        upgrade(other, reader)
    assert reader.head is None


def test_an_empty_block_that_is_missing_hides_no_byte() -> None:
    source = owned_with([b"a" * 10, b"", b"b" * 10, b"", b"", b"c" * 10])
    reader = create_followed(MemoryFiles())
    upgrade(source, reader)
    for index in (0, 2, 5):
        fetch(source, reader, index)
    assert reader.contiguous_length == 1
    assert (
        reader.held_until(0, 100) == reader.held_until(10, 100) == reader.held_until(25, 100) == 30
    )
    assert reader.read(0, 100) == b"a" * 10 + b"b" * 10 + b"c" * 10


def test_a_read_looks_no_further_than_it_reads() -> None:
    """Where every second block is empty and missing, each byte is a look into the tree."""
    source = owned_with([b"a", b""] * 100)
    reader = create_followed(MemoryFiles())
    upgrade(source, reader)
    for index in range(0, 200, 2):
        fetch(source, reader, index)
    looks = 0
    locate = seek.locate

    def count(nodes: TreeReader, roots: Sequence[TreeNode], offset: int) -> Located | Unknown:
        nonlocal looks
        looks += 1
        return locate(nodes, roots, offset)

    with patch("protozorfs.log.seek.locate", count):
        assert reader.read(10, 5) == b"a" * 5
        assert reader.held_until(10, 15) == 15
    assert looks <= 10
