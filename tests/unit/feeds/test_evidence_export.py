"""Exported evidence convinces a verifier that shares no code with us, and nothing else does."""

from __future__ import annotations

import ast
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from protozorfs import crypto
from protozorfs.errors import StoreCorrupt
from protozorfs.feeds.evidence import FILE_NAME, LaterFork, TwoHeads
from protozorfs.feeds.evidence_export import NoEvidence, export_evidence
from protozorfs.log.feed import Log
from protozorfs.log.hashing import sign_head
from protozorfs.store.layout import FeedDirectory
from protozorfs.store.memory_files import MemoryFiles
from protozorfs.store.pool import FilePool
from protozorfs.types import FeedId
from tests.evidence_verifier import VERIFIER, said_of
from tests.sizes import long_or_short
from tests.unit.feeds.evidence_texts import (
    FIRST,
    LATER,
    SAID,
    SECOND,
    TEXTS,
    evidence_between,
    exported,
)
from tests.unit.log.log_tools import (
    KEY_PAIR,
    Writer,
)
from tests.unit.swarm.fork_peers import THEIRS, connect, follower, owner_of

BITS = long_or_short(8, 1)  # changed of each byte of a text, one at a time


@pytest.mark.parametrize("kind", SAID)
def test_it_proves_what_it_says(kind: str) -> None:
    assert said_of(TEXTS[kind]) == [f"The key signed {SAID[kind]}."]


def test_all_that_is_kept_is_exported() -> None:
    assert said_of(TEXTS["two kinds"]) == [
        f"The key signed {SAID[kind]}." for kind in ("one length", "later fork")
    ]


@pytest.mark.parametrize("kind", TEXTS)
def test_one_changed_bit_anywhere_proves_nothing(kind: str) -> None:
    """What stays the same document, such as blanks between its parts, stays proven."""
    text, chance = TEXTS[kind].encode(), random.Random(8)
    document = json.loads(text)
    refused = 0
    for at in range(len(text)):
        for bit in chance.sample(range(8), BITS):
            changed = bytearray(text)
            changed[at] ^= 1 << bit
            try:
                is_same = json.loads(changed) == document
            except ValueError:
                is_same = False
            assert (said_of(bytes(changed)) is not None) == is_same, changed.decode(
                errors="replace"
            )
            refused += not is_same
    assert refused > len(text) / 2


def parts_of(value: Any) -> list[tuple[Any, Any]]:
    """Every place of a document: the container, and the key or index in it."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    places = [(value, key) for key in keys]
    nested = [value[key] for key in keys if isinstance(value[key], dict | list)]
    return places + [place for part in nested for place in parts_of(part)]


WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1 << 53,
    10**400,
    7.0,
    "",
    "00",
    [],
    {},
    [[]],
    "two heads",
)


@pytest.mark.parametrize("kind", TEXTS)
def test_values_of_other_kinds_prove_nothing(kind: str) -> None:
    for place in range(len(parts_of(json.loads(TEXTS[kind])))):
        for wrong in WRONG:
            document = json.loads(TEXTS[kind])
            container, key = parts_of(document)[place]
            if container[key] != wrong or type(container[key]) is not type(wrong):
                container[key] = wrong
                assert said_of(json.dumps(document)) is None, (key, wrong)
        document = json.loads(TEXTS[kind])
        container, key = parts_of(document)[place]
        del container[key]
        is_one_of_two = container is document.get("proofs") and container  # it is proven alone
        assert is_one_of_two or said_of(json.dumps(document)) is None, key


def test_what_one_history_may_have_signed_proves_nothing() -> None:
    document = json.loads(TEXTS["two lengths"])
    proof = document["proofs"][0]
    shorter = json.loads(TEXTS["one length"])["proofs"][0]["held"]  # a prefix of `held`
    for held, other in [(proof["held"], proof["held"]), (proof["held"], shorter)]:
        proof.update(held=held, other=other)
        for sentence in (proof["sentence"], proof["sentence"].replace("11 and 7", "11 and 11")):
            proof["sentence"] = sentence
            assert said_of(json.dumps(document)) is None
    same = exported(LaterFork(FIRST.head, LATER.head)).replace("later fork", "two heads")
    assert said_of(same) is None


def test_another_key_has_proven_nothing() -> None:
    stranger = crypto.key_pair(bytes(32)).public_key.hex()
    for text in TEXTS.values():
        assert said_of(text.replace(KEY_PAIR.public_key.hex(), stranger)) is None


def test_a_byte_length_that_nothing_covers_is_not_exported() -> None:
    moved = replace(SECOND.head, byte_length=1)
    assert exported(TwoHeads(FIRST.head, moved)) == TEXTS["two heads"]


def test_a_size_that_the_key_signed_differently_is_a_second_history() -> None:
    first, last = Writer([b"a", b"b", b"c"]).state.roots
    roots = (first._replace(size=first.size + 1), last)
    head = sign_head(roots, 3, 0, KEY_PAIR.secret_key)
    other = Writer([b"a", b"b", b"c"])
    other.nodes.update({int(root.tree_index): root for root in roots})
    other.head = head
    text = exported(evidence_between(Writer([b"a", b"b", b"c"]), other, 3))
    assert said_of(text) == [
        "The key signed two histories of fork 0, of lengths 3 and 3, with different trees."
    ]


def test_forks_that_peers_have_shown_are_exported() -> None:
    reader, rival, later = follower(), owner_of([b"x\n"], key=3), owner_of(THEIRS, fork=2, key=4)
    with pytest.raises(NoEvidence, match="no evidence of a fork is kept"):
        export_evidence(reader.feed.log.directory)
    connect(reader, rival).close(0.0)
    connect(reader, later).close(0.0)
    assert said_of(export_evidence(reader.feed.log.directory)) == [
        "The key signed two histories of fork 0, of lengths 3 and 1, with different nodes 0.",
        "The key signed fork 0 up to length 3, and the later fork 2 up to length 4.",
    ]
    reader.feed.log.keep_beside(FILE_NAME, b"damaged")
    assert said_of(export_evidence(reader.feed.log.directory)) == [
        "The key signed fork 0 up to length 3, and the later fork 2 up to length 4.",
    ]


def test_damaged_evidence_is_not_exported() -> None:
    log = Log.open(FeedDirectory(FilePool(MemoryFiles()), FeedId(KEY_PAIR.public_key)))
    log.keep_beside(FILE_NAME, b"damaged")
    with pytest.raises(StoreCorrupt, match="evidence"):
        export_evidence(log.directory)


def test_the_verifier_is_short_and_needs_nothing_of_ours() -> None:
    source = VERIFIER.read_text()
    assert len(source.splitlines()) <= 150
    tree = ast.parse(source)
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported == {
        *("__future__", "hashlib", "json", "sys", "typing"),
        *("nacl.bindings", "nacl.exceptions"),
    }
