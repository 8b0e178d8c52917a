"""Heads of one feed are written where the one before is not, and are found again."""

from __future__ import annotations

import pytest

from protozorfs import crypto
from protozorfs.log.hashing import leaf_node, sign_head, unsigned_head
from protozorfs.log.head_store import HeadStore
from protozorfs.store import FilePool, MemoryFiles
from protozorfs.store.heads import PAGE_BYTES, SLOT_BYTES, HeadKind, slot_offset
from protozorfs.types import PublicKey

PAIR = crypto.key_pair(bytes(32))
HEADS = [sign_head([leaf_node(0, b"a")], length, 0, PAIR.secret_key) for length in range(6)]


def make() -> HeadStore:
    return HeadStore(FilePool(MemoryFiles()).file("head"))


def written(signed: int = 0, durable: int = 0) -> HeadStore:
    """A store with so many heads of each kind, of lengths 1, 2 and so on."""
    store = make()
    for head in HEADS[1 : signed + 1]:
        store.write_signed(head)
    for head in HEADS[1 : durable + 1]:
        store.write_durable(store.file, head)
        store.confirm_durable()
    return store


def spoil(store: HeadStore, kind: HeadKind, sequence: int) -> None:
    """No copy of that slot is whole any more."""
    store.file.pwrite(b"?" * 2 * SLOT_BYTES, slot_offset(kind, sequence))


@pytest.mark.parametrize("count", range(1, 6))
def test_the_two_newest_heads_of_each_kind_are_there(count: int) -> None:
    newest = HEADS[max(1, count - 1) : count + 1][::-1]
    heads = HeadStore(written(signed=count, durable=count).file).load()
    assert [slot.head for slot in heads.signed] == newest
    assert [slot.head for slot in heads.durable] == newest
    assert [slot.sequence for slot in heads.signed] == [head.length for head in newest]
    assert [slot.sequence for slot in heads.durable] == [head.length for head in newest]
    assert all(slot.is_paged for slot in (*heads.signed, *heads.durable))
    assert heads.lost_slots == 0


def test_what_is_written_goes_on_behind_what_was_loaded() -> None:
    store = HeadStore(written(signed=2, durable=2).file)
    store.load()
    store.write_signed(HEADS[3])
    store.write_durable(store.file, HEADS[3])
    store.confirm_durable()
    heads = store.load()
    assert [slot.head for slot in heads.signed] == [HEADS[3], HEADS[2]]
    assert [slot.head for slot in heads.durable] == [HEADS[3], HEADS[2]]
    assert [slot.sequence for slot in heads.durable] == [3, 2]


def test_a_durable_head_that_was_not_confirmed_is_written_over() -> None:
    store = written(durable=2)
    store.write_durable(store.file, HEADS[3])
    store.write_durable(store.file, HEADS[4])
    assert [slot.head for slot in store.load().durable] == [HEADS[4], HEADS[2]]


def test_an_empty_file_has_no_heads_and_has_lost_none() -> None:
    store = make()
    assert store.load() == ((), (), 0)
    assert store.newest_length() == 0
    assert not store.must_fill
    store.write_signed(HEADS[1])
    store.write_durable(store.file, HEADS[1])
    heads = store.load()
    assert [slot.sequence for slot in (*heads.signed, *heads.durable)] == [1, 1]


def test_slots_of_which_no_copy_is_whole_are_counted() -> None:
    store = written(signed=2, durable=2)
    spoil(store, HeadKind.SIGNED, 2)
    assert store.load().lost_slots == 1
    assert store.newest_length() == 1
    spoil(store, HeadKind.DURABLE, 1)
    heads = store.load()
    assert heads.lost_slots == 2
    assert [slot.head for slot in heads.signed] == [HEADS[1]]
    assert [slot.head for slot in heads.durable] == [HEADS[2]]


def test_the_newest_length_is_what_the_file_says_now() -> None:
    store = written(signed=3)
    assert store.newest_length() == 3
    HeadStore(store.file).write_signed(HEADS[1])  # another one, of sequence number 1
    assert store.newest_length() == 2


@pytest.mark.parametrize(("signed", "must_fill"), [(0, False), (1, True), (2, False), (3, False)])
def test_a_slot_that_was_never_written_is_filled_with_the_newest_head(
    signed: int, must_fill: bool
) -> None:
    store = HeadStore(written(signed=signed).file)
    store.load()
    assert store.must_fill == must_fill
    if must_fill:
        store.fill()
        assert store.must_fill, "that is yet to be synced"
        store.confirm_fill()
        assert not store.must_fill
        heads = store.load()
        assert [slot.head for slot in heads.signed] == [HEADS[1], HEADS[1]]
        assert not store.must_fill


def test_a_slot_with_one_copy_counts_as_never_written() -> None:
    store = written(signed=2)
    store.file.pwrite(bytes(SLOT_BYTES), slot_offset(HeadKind.SIGNED, 2))
    store.load()
    assert store.must_fill


def test_a_durable_head_in_doubt_is_written_again_where_it_is() -> None:
    store = written(durable=2)
    newest = store.load().durable[0]
    spoil(store, HeadKind.DURABLE, 2)
    store.distrust(newest)
    assert store.rewrite_unsure(store.file)
    assert store.load().durable[0] == newest
    store.confirm_unsure()
    assert not store.rewrite_unsure(store.file)


def test_a_durable_head_without_a_page_of_its_own_is_not_written_again() -> None:
    store = written(durable=2)
    newest = store.load().durable[0]
    for slot in (None, newest._replace(is_paged=False)):
        store.distrust(slot)
        assert not store.rewrite_unsure(store.file)


def test_only_what_the_key_has_signed_counts() -> None:
    store = make()
    other = crypto.key_pair(bytes([1]) * 32)
    foreign = sign_head([leaf_node(0, b"a")], 4, 0, other.secret_key)
    unsigned = unsigned_head([leaf_node(0, b"a")], 5, 0)
    for newest, is_owned, counts in (
        (foreign, True, False),
        (unsigned, True, True),
        (unsigned, False, False),
    ):
        store.write_signed(HEADS[1])
        store.write_signed(newest)
        store.write_durable(store.file, newest)
        store.confirm_durable()
        heads = store.load().verified(PublicKey(PAIR.public_key), is_owned=is_owned)
        expected = [newest, HEADS[1]] if counts else [HEADS[1]]
        assert [slot.head for slot in heads.signed] == expected
        assert heads.durable == ()


def test_both_copies_of_a_head_are_written() -> None:
    store = written(signed=1, durable=1)
    content = store.file.pread(5 * PAGE_BYTES, 0)
    for kind in HeadKind:
        start = slot_offset(kind, 1)
        first, second = (content[start + at : start + at + SLOT_BYTES] for at in (0, SLOT_BYTES))
        assert any(first)
        assert first == second
