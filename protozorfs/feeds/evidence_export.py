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
from protozorfs.errors import StoreError
from protozorfs.feeds.evidence import load_later_fork, load_proofs, load_two_heads
from protozorfs.ids import public_key_of
from protozorfs.log.conflict import proven_histories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protozorfs.feeds.evidence import LaterFork, TwoHeads
    from protozorfs.log.conflict import Evidence, History
    from protozorfs.store.layout import FeedDirectory
    from protozorfs.types import Head, PublicKey, TreeNode

FORMAT = "protozorfs evidence 1"


class NoEvidence(StoreError):
    """Nothing is kept that shows a second history."""


def export_evidence(directory: FeedDirectory) -> str:
    """All evidence that is kept of a feed, checked again.

    The files are only read: a store that is open elsewhere may be asked.

    Raises:
        NoEvidence
        StoreCorrupt: a file is there and proves nothing.
    """
    proofs = list(_proofs(directory))
    if not proofs:
        raise NoEvidence(
            f"no evidence of a fork is kept of feed {ids.format_hex(directory.feed_id)}"
        )
    document = {"format": FORMAT, "feed": ids.format_hex(directory.feed_id), "proofs": proofs}
    return json.dumps(document, indent=2)


def _proofs(directory: FeedDirectory) -> Iterator[dict[str, object]]:
    evidence = load_proofs(directory)
    if evidence is not None:
        yield _two_histories(evidence, public_key_of(directory.feed_id))
    heads = load_two_heads(directory)
    if heads is not None:
        yield _two_heads(heads)
    later = load_later_fork(directory)
    if later is not None:
        yield _later_fork(later)


def _two_histories(evidence: Evidence, public_key: PublicKey) -> dict[str, object]:
    histories = proven_histories(public_key, evidence)
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


def _two_heads(heads: TwoHeads) -> dict[str, object]:
    return {
        "kind": "two heads",
        "sentence": (
            f"The key signed two heads of fork {heads.own.fork} and length {heads.own.length},"
            " with different trees."
        ),
        "held": _head(heads.own),
        "other": _head(heads.other),
    }


def _later_fork(fork: LaterFork) -> dict[str, object]:
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
