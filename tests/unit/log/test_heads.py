"""The slots of a file `head`, of which each copy may be of another write."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from protozorfs import crypto
from protozorfs.log.format import encode_head_slot
from protozorfs.log.hashing import leaf_node, sign_head
from protozorfs.log.head_store import HeadStore
from protozorfs.store import FilePool, MemoryFiles
from protozorfs.store.heads import SLOT_BYTES, HeadKind, slot_offset

if TYPE_CHECKING:
    from protozorfs.types import Head

SECRET_KEY = crypto.key_pair(bytes(32)).secret_key
SHORT = sign_head([leaf_node(0, b"a")], 1, 0, SECRET_KEY)
LONG = sign_head([leaf_node(0, b"b")], 2, 0, SECRET_KEY)


def loaded(kind: HeadKind, copies: tuple[tuple[int, Head], ...]) -> list[Head]:
    file = FilePool(MemoryFiles()).file("head")
    for number, (sequence, head) in enumerate(copies):
        record = encode_head_slot(kind, sequence, head)
        file.pwrite(record, slot_offset(kind, copies[0][0]) + number * SLOT_BYTES)
    heads = HeadStore(file).load()
    return [slot.head for slot in (*heads.signed, *heads.durable)]


@pytest.mark.parametrize(
    ("kind", "copies", "counts"),
    [
        (HeadKind.SIGNED, ((3, SHORT), (3, SHORT)), SHORT),
        (HeadKind.SIGNED, ((1, SHORT), (3, LONG)), SHORT),  # a write that failed in the middle
        (HeadKind.SIGNED, ((3, SHORT), (3, LONG)), None),  # a refused one, and one that was torn
        (HeadKind.DURABLE, ((1, SHORT), (3, LONG)), LONG),
        (HeadKind.DURABLE, ((3, SHORT), (3, LONG)), LONG),  # all of each was synced before
    ],
)
def test_of_two_copies_in_any_order_counts(
    kind: HeadKind, copies: tuple[tuple[int, Head], ...], counts: Head | None
) -> None:
    for ordered in permutations(copies):
        assert loaded(kind, ordered) == ([] if counts is None else [counts])
