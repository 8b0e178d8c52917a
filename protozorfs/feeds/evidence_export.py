"""Evidence that a feed's key signed another history, as a text that anyone can verify.

The text is JSON (docs/formats.md, "Exported evidence"); `scripts/verify-evidence` verifies it with
nothing of this package. Of a history it has the roots that the signature covers, and the path from
a node that the other history has differently up to one of them. What no signature covers is left
out: the byte length of a head whose tree was never seen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from protozorfs import ids
from protozorfs.errors import StoreCorrupt, StoreError
from protozorfs.feeds.evidence import load_later_fork, load_proofs, load_two_heads
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import proven_histories

if TYPE_CHECKING:
    from protozorfs.log.conflict import History
    from protozorfs.store.layout import FeedDirectory
    from protozorfs.types import Head, TreeNode

FORMAT = "protozorfs evidence 1"


class NoEvidence(StoreError):
    """Nothing is kept that shows a second history."""


def export_evidence(directory: FeedDirectory) -> str:
    """All evidence that is kept of a feed and whole, checked again.

    The files are only read: a store that is open elsewhere may be asked.

    Raises:
        NoEvidence
        StoreCorrupt: what is there proves nothing.
    """
    proofs, damage = [], []
    for proof_of in (_two_histories, _two_heads, _later_fork):
        try:
            proof = proof_of(directory)
        except StoreCorrupt as error:
            damage.append(error)
        else:
            proofs += [] if proof is None else [proof]
    if damage and not proofs:
        raise damage[0]
    if not proofs:
        raise NoEvidence(
            f"no evidence of a fork is kept of feed {ids.format_hex(directory.feed_id)}"
        )
    document = {"format": FORMAT, "feed": ids.format_hex(directory.feed_id), "proofs": proofs}
    return json.dumps(document, indent=2)


def _two_histories(directory: FeedDirectory) -> dict[str, object] | None:
    evidence = load_proofs(directory)
    if evidence is None:
        return None
    histories = proven_histories(public_key_of(directory.feed_id), evidence)
    assert histories is not None  # as when it was loaded
    held, other = histories
    lengths = f"{held.head.length} and {other.head.length}"
    difference = f"nodes {held.path[0].tree_index}" if held.path else "trees"
    return {
        "kind": "two histories",
        "sentence": (
            f"The key signed two histories of fork {held.head.fork}, of lengths {lengths},"
            f" with different {difference}."
        ),
        "held": _history(held),
        "other": _history(other),
    }


def _two_heads(directory: FeedDirectory) -> dict[str, object] | None:
    heads = load_two_heads(directory)
    if heads is None:
        return None
    return {
        "kind": "two heads",
        "sentence": (
            f"The key signed two heads of fork {heads.own.fork} and length {heads.own.length},"
            " with different trees."
        ),
        "held": _head(heads.own),
        "other": _head(heads.other),
    }


def _later_fork(directory: FeedDirectory) -> dict[str, object] | None:
    fork = load_later_fork(directory)
    if fork is None:
        return None
    own, later = fork.own, fork.later
    before = "" if own is None else f"fork {own.fork} up to length {own.length}, and the later "
    return {
        "kind": "later fork",
        "sentence": f"The key signed {before}fork {later.fork} up to length {later.length}.",
        "held": None if own is None else _head(own),
        "other": _head(later),
    }


def _head(head: Head) -> dict[str, object]:
    return {
        "fork": head.fork,
        "length": head.length,
        "tree_hash": head.tree_hash.hex(),
        "signature": head.signature.hex(),
    }


def _history(history: History) -> dict[str, object]:
    return {
        **_head(history.head),
        "byte_length": history.head.byte_length,
        "roots": [_node(node) for node in history.roots],
        "path": [_node(node) for node in history.path],
    }


def _node(node: TreeNode) -> dict[str, object]:
    return {"index": node.tree_index, "size": node.size, "hash": node.hash.hex()}
